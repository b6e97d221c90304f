"""From probabilities to calls: a threshold for one finding, the largest column for exclusive classes."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from tapetum.core.errors import UsageError
from tapetum.score.inputs import Labels, binary_probabilities, class_probabilities


def decide(
    probs: Float[np.ndarray, "n"] | Float[np.ndarray, "n k"], labels: Labels, threshold: float
) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "n"], int]:
    """Check, then call each image.

    Args:
        probs: of the positive class, or of exclusive classes.
        labels: 0 or 1, or 0..k-1.
        threshold: used for `[n]` only; positive means `prob >= threshold`.

    Returns:
        The calls, the labels, both as classes 0..k-1, and k (2 for `[n]`).

    Raises:
        DataError: what `binary_probabilities` and `class_probabilities` refuse.
        UsageError: a threshold outside 0..1.
    """
    if not 0 <= threshold <= 1:
        raise UsageError(f"threshold={threshold}", "a probability in 0..1")
    if probs.ndim == 1:
        values, truth = binary_probabilities(probs, labels)
        return (values >= threshold).astype(np.int64), truth.astype(np.int64), 2
    values, classes = class_probabilities(probs, labels)
    return np.argmax(values, axis=1), classes, values.shape[1]
