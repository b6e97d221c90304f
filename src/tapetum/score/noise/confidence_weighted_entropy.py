"""Confidence-weighted entropy: distrust where the model is unsure and the given label improbable."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64

from tapetum.score.given import SMALLEST, Given, mean_member, of_given

__all__ = ["confidence_weighted_entropy"]


def confidence_weighted_entropy(probs: Float[np.ndarray, "*e n k"], labels: Given) -> Float64[np.ndarray, "n"]:
    """log(1 + c) / c, where c is the normalised entropy of the row divided by the given label's probability.

    It distrusts hard images, wrong or not: for a list of what to read again, not for throwing labels away.

    Args:
        probs: out of fold, rows add up to 1; epochs or networks are averaged.
        labels: the given class, 0 to k - 1.

    Returns:
        0..1, higher = trust the label more.

    Raises:
        DataError: NaN, logits, rows that do not add up to 1, or a label that is no column.

    Example:
        >>> confidence_weighted_entropy(np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([0, 0])).round(3).tolist()
        [0.549, 1.0]

    Source: Kuan and Mueller, ICML DataPerf workshop 2022, after cleanlab. Differs: nothing.
    """
    values, given = mean_member(probs, labels)
    entropy = -(values * np.log(np.clip(values, SMALLEST, None))).sum(axis=1) / np.log(values.shape[1])
    weighted = np.clip(entropy / np.clip(of_given(values, given), SMALLEST, None), SMALLEST, None)
    return np.clip(np.log1p(weighted) / weighted, 0.0, 1.0)
