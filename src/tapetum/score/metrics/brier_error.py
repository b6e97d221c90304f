"""Brier error: the squared distance of the probabilities from what came true."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from tapetum.score.inputs import Labels, binary_probabilities, class_probabilities

__all__ = ["brier_error"]

TAKES = ("binary probabilities", "class probabilities")
NEEDS = "any label"


def brier_error(probs: Float[np.ndarray, "n"] | Float[np.ndarray, "n k"], labels: Labels) -> float:
    """Mean squared difference between probability and outcome.

    Args:
        probs: `[n]` of the positive class, or `[n k]`, rows adding up to 1.
        labels: 0 or 1, or 0..k-1.

    Returns:
        Lower is better: 0..1 for `[n]`; for `[n k]` summed over the classes, 0..2. NaN without images.

    Raises:
        DataError: NaN, logits, rows that do not add up to 1, or labels that are no class.

    Example:
        >>> round(brier_error(np.array([0.9, 0.2]), np.array([1, 0])), 3)
        0.025

    Source: Brier, Monthly Weather Review 1950. Differs: for `[n]` half of Brier's sum over both outcomes, as is usual.
    """
    if probs.ndim == 1:
        values, truth = binary_probabilities(probs, labels)
        return float(np.mean((values - truth) ** 2)) if len(values) else float("nan")
    values, classes = class_probabilities(probs, labels)
    outcome = np.eye(values.shape[1])[classes]
    return float(np.mean(np.sum((values - outcome) ** 2, axis=1))) if len(values) else float("nan")
