"""Cohen's kappa between the calls and the labels, plain or weighted for grades."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float

from tapetum.core.errors import UsageError
from tapetum.score.decisions import decide
from tapetum.score.inputs import Labels

__all__ = ["cohen_kappa_score"]

TAKES = ("binary probabilities", "class probabilities")
NEEDS = "two classes"


def cohen_kappa_score(
    probs: Float[np.ndarray, "n"] | Float[np.ndarray, "n k"],
    labels: Labels,
    *,
    weights: Literal["none", "linear", "quadratic"] = "none",
    threshold: float = 0.5,
) -> float:
    """Agreement between calls and labels beyond that of their frequencies.

    Args:
        probs: `[n]` of the positive class, or `[n k]`, rows adding up to 1, columns in the order of the grades.
        labels: 0 or 1, or 0..k-1.
        weights: cost of a miss by d grades: 1, d or d squared.
        threshold: for `[n]`, positive means `prob >= threshold`; `[n k]` makes no use of it.

    Returns:
        At most 1, higher is better, 0 by chance; NaN when all labels are of one class.

    Raises:
        DataError: NaN, logits, rows that do not add up to 1, or labels that are no class.
        UsageError: unknown weights.

    Example:
        >>> cohen_kappa_score(np.array([0.9, 0.2, 0.6, 0.1]), np.array([1, 0, 0, 0]))
        0.5

    Source: Cohen, Educational and Psychological Measurement 1960; weighted: Cohen, Psychological Bulletin 1968.
    Differs: NaN for labels of one class, where scikit-learn gives 0 or NaN by the calls.
    """
    if weights not in ("none", "linear", "quadratic"):
        raise UsageError(f"weights={weights!r}", "none, linear or quadratic")
    called, truth, classes = decide(probs, labels, threshold)
    if len(np.unique(truth)) < 2:
        return float("nan")
    table = np.bincount(truth * classes + called, minlength=classes * classes).reshape(classes, classes)
    apart = np.abs(np.subtract.outer(np.arange(classes), np.arange(classes)))
    cost = {"none": (apart > 0).astype(np.int64), "linear": apart, "quadratic": apart**2}[weights]
    by_chance = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    return float(1 - np.sum(cost * table) / np.sum(cost * by_chance))
