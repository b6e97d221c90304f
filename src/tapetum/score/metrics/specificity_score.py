"""Specificity at a stated threshold."""

from __future__ import annotations

import numpy as np
from jaxtyping import Real

from tapetum.score.inputs import Labels, binary_scores

__all__ = ["specificity_score"]

TAKES = ("binary scores",)
NEEDS = "negatives"


def specificity_score(scores: Real[np.ndarray, "n"], labels: Labels, *, threshold: float) -> float:
    """Share of the negatives that are called negative.

    Args:
        scores: any range, higher = more likely positive.
        labels: 0 or 1.
        threshold: on the scale of the scores; positive means `score >= threshold`. It has no default: choose it on
            validation data with `threshold_for_sensitivity`.

    Returns:
        0..1, higher is better; NaN without negatives.

    Raises:
        DataError: NaN, unequal lengths, or labels other than 0 and 1.

    Example:
        >>> specificity_score(np.array([0.9, 0.3, 0.7]), np.array([1, 0, 0]), threshold=0.5)
        0.5

    Source: Altman and Bland, BMJ 1994 (diagnostic tests 1). Differs: nothing.
    """
    values, truth = binary_scores(scores, labels)
    return float(np.mean(values[~truth] < threshold)) if not truth.all() else float("nan")
