"""Label quality: probabilities that were made without the label, and the label in; trust in the label out."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool, Float, Float64, Real


class NoiseMethod(Protocol):
    """A function of the family, its options keyword-only.

    The probabilities of an image come from a model that did not learn from it or from its patient (out of fold): one
    that did repeats the label, right or wrong. A leading axis holds epochs or networks.
    """

    def __call__(
        self,
        probs: Float[np.ndarray, "*e n k"],
        labels: Real[np.ndarray, "n"] | Bool[np.ndarray, "n"],
        **options: Any,
    ) -> Float64[np.ndarray, "n"]:
        """How far each given label is to be trusted, 0..1, higher = more.

        Raises:
            DataError: NaN, logits, rows that do not add up to 1, or a label that is no column.
        """
        ...
