"""Balanced accuracy: the mean recall over classes."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from tapetum.score.decisions import decide
from tapetum.score.inputs import Labels

__all__ = ["balanced_accuracy_score"]

TAKES = ("binary probabilities", "class probabilities")
NEEDS = "every class"


def balanced_accuracy_score(
    probs: Float[np.ndarray, "n"] | Float[np.ndarray, "n k"], labels: Labels, *, threshold: float = 0.5
) -> float:
    """Mean over classes of the share of its images that are called right.

    Args:
        probs: `[n]` of the positive class, or `[n k]`, rows adding up to 1 (the largest column is the call).
        labels: 0 or 1, or 0..k-1.
        threshold: for `[n]`, positive means `prob >= threshold`; `[n k]` makes no use of it.

    Returns:
        0..1, higher is better, 1/k by chance; NaN when a class is absent.

    Raises:
        DataError: NaN, logits, rows that do not add up to 1, or labels that are no class.

    Example:
        >>> balanced_accuracy_score(np.array([0.9, 0.2, 0.6, 0.1]), np.array([1, 1, 0, 0]))
        0.5

    Source: Brodersen et al., ICPR 2010, extended to k classes as macro recall.
    Differs: NaN when one of the k classes has no image; scikit-learn averages over the others.
    """
    called, truth, classes = decide(probs, labels, threshold)
    of_class = np.bincount(truth, minlength=classes)
    if (of_class == 0).any():
        return float("nan")
    return float(np.mean(np.bincount(truth[called == truth], minlength=classes) / of_class))
