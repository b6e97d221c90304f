"""Metrics: probabilities and labels in, one number out; `_score` is better upwards, `_error` downwards.

Undefined is NaN, never 0. Each file declares `TAKES` and `NEEDS`; `tapetum.score.inputs` says what they mean.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool, Float, Real


class Metric(Protocol):
    """A function of the family, its options keyword-only."""

    def __call__(
        self,
        probs: Float[np.ndarray, "n"] | Float[np.ndarray, "n k"],
        labels: Real[np.ndarray, "n"] | Bool[np.ndarray, "n"],
        /,
        **options: Any,
    ) -> float:
        """The metric's value; NaN when a label that it needs is absent.

        Raises:
            DataError: NaN, shapes that do not fit, logits where probabilities are needed, or unknown labels.
        """
        ...
