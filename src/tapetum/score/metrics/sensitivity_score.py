"""Sensitivity at a stated threshold."""

from __future__ import annotations

import numpy as np
from jaxtyping import Real

from tapetum.score.inputs import Labels, binary_scores

__all__ = ["sensitivity_score"]

TAKES = ("binary scores",)
NEEDS = "positives"


def sensitivity_score(scores: Real[np.ndarray, "n"], labels: Labels, *, threshold: float) -> float:
    """Share of the positives that are called positive.

    Args:
        scores: any range, higher = more likely positive.
        labels: 0 or 1.
        threshold: on the scale of the scores; positive means `score >= threshold`. It has no default: choose it on
            validation data with `threshold_for_sensitivity`.

    Returns:
        0..1, higher is better; NaN without positives.

    Raises:
        DataError: NaN, unequal lengths, or labels other than 0 and 1.

    Example:
        >>> sensitivity_score(np.array([0.9, 0.3, 0.7]), np.array([1, 1, 0]), threshold=0.5)
        0.5

    Source: Altman and Bland, BMJ 1994 (diagnostic tests 1). Differs: nothing.
    """
    values, truth = binary_scores(scores, labels)
    return float(np.mean(values[truth] >= threshold)) if truth.any() else float("nan")
