"""Area under the receiver operating characteristic."""

from __future__ import annotations

import numpy as np
from jaxtyping import Real

from tapetum.score.inputs import Labels, binary_scores
from tapetum.score.ranking import rank

__all__ = ["auroc_score"]

TAKES = ("binary scores",)
NEEDS = "every class"


def auroc_score(scores: Real[np.ndarray, "n"], labels: Labels) -> float:
    """Probability that a positive scores higher than a negative, ties counted one half.

    Args:
        scores: any range, higher = more likely positive.
        labels: 0 or 1.

    Returns:
        0..1, higher is better, 0.5 by chance; NaN when a class is absent.

    Raises:
        DataError: NaN, unequal lengths, or labels other than 0 and 1.

    Example:
        >>> auroc_score(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1]))
        0.75

    Source: Hanley and McNeil, Radiology 1982, the Mann-Whitney form. Differs: nothing.
    """
    return rank(*binary_scores(scores, labels)).auroc
