"""Self-confidence: how probable the given label is."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64

from tapetum.score.given import Given, mean_member, of_given, without_thresholds

__all__ = ["self_confidence"]


def self_confidence(
    probs: Float[np.ndarray, "*e n k"], labels: Given, *, adjusted: bool = False
) -> Float64[np.ndarray, "n"]:
    """Probability of the given label.

    Args:
        probs: out of fold, rows add up to 1; epochs or networks are averaged.
        labels: the given class, 0 to k - 1.
        adjusted: take off what is usual for each class first, so that a hard class is not distrusted as a whole.

    Returns:
        0..1, higher = trust the label more.

    Raises:
        DataError: NaN, logits, rows that do not add up to 1, or a label that is no column.

    Example:
        >>> self_confidence(np.array([[0.9, 0.1], [0.7, 0.3]]), np.array([0, 1])).tolist()
        [0.9, 0.3]

    Source: Northcutt, Jiang and Chuang, JAIR 2021, section 3. Differs: nothing.
    """
    values, given = mean_member(probs, labels)
    return of_given(without_thresholds(values, given) if adjusted else values, given)
