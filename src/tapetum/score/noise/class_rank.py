"""Rank within the class: the least trusted labels of every class, common or rare."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64
from scipy import stats

from tapetum.score.given import Given, mean_member, of_given

__all__ = ["class_rank"]


def class_rank(probs: Float[np.ndarray, "*e n k"], labels: Given) -> Float64[np.ndarray, "n"]:
    """Share of the labels of the same class that are less probable than this one, ties counted one half.

    One threshold for all classes throws a rare class away, as no model is sure of it; here every class loses the same
    share. It presumes that every class has the same share of wrong labels.

    Args:
        probs: out of fold, rows add up to 1; epochs or networks are averaged.
        labels: the given class, 0 to k - 1.

    Returns:
        0..1, higher = trust the label more.

    Raises:
        DataError: NaN, logits, rows that do not add up to 1, or a label that is no column.

    Example:
        >>> class_rank(np.array([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3]]), np.array([0, 0, 1])).tolist()
        [0.75, 0.25, 0.5]

    Source: after the class-balanced selection of MedSSL (LNMBench, arXiv 2512.09315), known from a summary.
    Differs: all of it is our own: ranks of self-confidence, no training.
    """
    values, given = mean_member(probs, labels)
    own, quality = of_given(values, given), np.empty(len(given))
    for c in np.unique(given):
        mine = given == c
        quality[mine] = (stats.rankdata(own[mine]) - 0.5) / mine.sum()
    return quality
