"""Average precision: the area under the precision-recall steps."""

from __future__ import annotations

import numpy as np
from jaxtyping import Real

from tapetum.score.inputs import Labels, binary_scores

__all__ = ["average_precision_score"]

TAKES = ("binary scores",)
NEEDS = "every class"


def average_precision_score(scores: Real[np.ndarray, "n"], labels: Labels) -> float:
    """Mean precision over the positives, each at the threshold that just admits it.

    Args:
        scores: any range, higher = more likely positive.
        labels: 0 or 1.

    Returns:
        0..1, higher is better; by chance about the prevalence. NaN when a class is absent.

    Raises:
        DataError: NaN, unequal lengths, or labels other than 0 and 1.

    Example:
        >>> round(average_precision_score(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])), 4)
        0.8333

    Source: the step-wise sum as in scikit-learn's `average_precision_score`, no interpolation.
    Differs: NaN without negatives, where precision is 1 whatever the scores are; scikit-learn gives 1.
    """
    values, truth = binary_scores(scores, labels)
    if not truth.any() or truth.all():
        return float("nan")
    order = np.argsort(-values, kind="stable")
    last_of_tie = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)
    found = np.cumsum(truth[order])[last_of_tie]
    precision = found / (last_of_tie + 1)
    return float(np.sum(np.diff(found, prepend=0) * precision) / truth.sum())
