"""Calibrators: logits in, probabilities out, fitted on validation data.

A column for which no calibrated probability exists (one class only, or logits that run against the labels) gives NaN,
and `uncalibrated` says why: an uncalibrated number dressed as a probability would be worse than none.

Each file declares `MODES`: `sigmoid` (columns are findings that occur together) or `softmax` (exclusive classes); one
that can do both has an option `mode`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from jaxtyping import Float, Real


class Calibrator(Protocol):
    """Fitted on one set of images, applied to another."""

    @property
    def preserves_order(self) -> bool:
        """Whether, within a column, a higher logit never gets a lower probability."""
        ...

    @property
    def preserves_argmax(self) -> bool:
        """Whether, within a row, the column of the largest logit gets the largest probability."""
        ...

    @property
    def uncalibrated(self) -> Mapping[int, str]:
        """Column → why it has no calibrated probability; its probabilities are NaN."""
        ...

    def fit(
        self, logits: Float[np.ndarray, "n k"], labels: Real[np.ndarray, "n k"] | Real[np.ndarray, "n"]
    ) -> Calibrator:
        """Fit and return itself; labels are 0, 1 or NaN (left out) per column, or the class 0..k-1 in softmax mode.

        Raises:
            DataError: NaN among the logits, shapes that do not fit, or other labels.
        """
        ...

    def __call__(self, logits: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
        """Probabilities in 0..1, NaN in uncalibrated columns.

        Raises:
            DataError: another number of columns, or NaN among the logits.
            UsageError: not fitted yet.
        """
        ...

    def state(self) -> dict[str, np.ndarray]:
        """What fitting found, as plain arrays to be stored in a checkpoint."""
        ...

    def restore(self, state: Mapping[str, np.ndarray]) -> Calibrator:
        """Take back what `state` gave, and return itself."""
        ...
