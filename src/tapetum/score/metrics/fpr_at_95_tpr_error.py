"""False positives where 95 % of the positives are found."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Real

from tapetum.score.inputs import Labels, binary_scores

__all__ = ["fpr_at_95_tpr_error"]

TAKES = ("binary scores",)
NEEDS = "every class"


def fpr_at_95_tpr_error(scores: Real[np.ndarray, "n"], labels: Labels) -> float:
    """Share of the negatives called positive at the highest threshold that finds at least 95 % of the positives.

    Called positive is `score >= threshold`. With OOD as the positive class it is the share of known images refused
    when 95 % of the OOD images are; with known images as the positive class (scores and labels turned round) it is the
    share of OOD images accepted when 95 % of the known ones are. The two differ: say which one is meant.

    Args:
        scores: any range, higher = more likely positive.
        labels: 0 or 1.

    Returns:
        0..1, lower is better, about 0.95 by chance; NaN when a class is absent.

    Raises:
        DataError: NaN, unequal lengths, or labels other than 0 and 1.

    Example:
        >>> fpr_at_95_tpr_error(np.array([0.9, 0.7, 0.8, 0.1]), np.array([1, 1, 0, 0]))
        0.5

    Source: Liang, Li and Srikant, ICLR 2018 (known images positive); OpenOOD takes OOD as positive.
    Differs: the first threshold that reaches 95 %, not the one nearest to it; ties count as called.
    """
    values, truth = binary_scores(scores, labels)
    if not truth.any() or truth.all():
        return float("nan")
    found = np.sort(values[truth])[::-1]
    threshold = found[math.ceil(0.95 * len(found) - 1e-9) - 1]
    return float((values[~truth] >= threshold).mean())
