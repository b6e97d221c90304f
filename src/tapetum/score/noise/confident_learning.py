"""Confident learning: labels that the confident joint counts as wrong stand below all others."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from tapetum.core.errors import UsageError
from tapetum.score.given import Given, best_other, class_thresholds, confident_class, mean_member, of_given
from tapetum.score.noise_rate import by_confident_joint

__all__ = ["confident_learning"]


def confident_learning(
    probs: Float[np.ndarray, "*e n k"],
    labels: Given,
    *,
    prune: Literal["noise_rate", "class", "both", "confident"] = "noise_rate",
) -> Float64[np.ndarray, "n"]:
    """The normalised margin, halved; labels that are not pruned get 0.5 more.

    How many labels are pruned is estimated from the data, class by class; no rate is given.

    Args:
        probs: out of fold, rows add up to 1; epochs or networks are averaged.
        labels: the given class, 0 to k - 1.
        prune: what is thought wrong. `confident`: all off the diagonal of the confident joint. `class`: of each given
            class the least probable labels, as many as the joint says. `noise_rate`: of each pair of given and true
            class those with the largest margin, as many as the joint says. `both`: pruned by the last two.

    Returns:
        0..1, higher = trust the label more; below 0.5 the label is pruned.

    Raises:
        DataError: NaN, logits, rows that do not add up to 1, or a label that is no column.
        UsageError: another way to prune.

    Example:
        >>> probs = np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.3, 0.7], [0.1, 0.9]])
        >>> confident_learning(probs, np.array([0, 0, 0, 1, 1])).round(2).tolist()
        [0.95, 0.9, 0.1, 0.85, 0.95]

    Source: Northcutt, Jiang and Chuang, JAIR 2021, section 3.2. Differs: a quality instead of a yes or no; as many as
    the joint says, rounded down, and no class is kept at a least size.
    """
    values, given = mean_member(probs, labels)
    if prune == "confident":
        sure = confident_class(values, class_thresholds(values, given))
        pruned = (sure >= 0) & (sure != given)
    elif prune in ("noise_rate", "class", "both"):
        joint = by_confident_joint(values, given).joint * len(given)
        joint = np.nan_to_num(joint)
        pruned = np.ones(len(given), bool)
        if prune != "class":
            pruned &= _by_pair(values, given, joint)
        if prune != "noise_rate":
            pruned &= _by_class(values, given, joint)
    else:
        raise UsageError(f"prune={prune!r}", "noise_rate, class, both or confident")
    margin = (1 + of_given(values, given) - best_other(values, given)) / 2
    return margin / 2 + np.where(pruned, 0.0, 0.5)


def _by_pair(
    probs: Float64[np.ndarray, "n k"], given: Int[np.ndarray, "n"], joint: Float64[np.ndarray, "k k"]
) -> Bool[np.ndarray, "n"]:
    pruned = np.zeros(len(given), bool)
    for c in range(probs.shape[1]):
        rows = np.flatnonzero(given == c)
        for other in range(probs.shape[1]):
            many = 0 if other == c else int(joint[c, other] + 1e-9)
            lead = probs[rows, other] - probs[rows, c]
            pruned[rows[np.argsort(-lead, kind="stable")[:many]]] = True
    return pruned


def _by_class(
    probs: Float64[np.ndarray, "n k"], given: Int[np.ndarray, "n"], joint: Float64[np.ndarray, "k k"]
) -> Bool[np.ndarray, "n"]:
    pruned = np.zeros(len(given), bool)
    for c in range(probs.shape[1]):
        rows = np.flatnonzero(given == c)
        many = int(joint[c].sum() - joint[c, c] + 1e-9)
        pruned[rows[np.argsort(probs[rows, c], kind="stable")[:many]]] = True
    return pruned
