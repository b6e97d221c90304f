"""Normalised margin: the given label's probability less that of its strongest rival."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64

from tapetum.score.given import Given, best_other, mean_member, of_given, without_thresholds

__all__ = ["normalized_margin"]


def normalized_margin(
    probs: Float[np.ndarray, "*e n k"], labels: Given, *, adjusted: bool = False
) -> Float64[np.ndarray, "n"]:
    """(1 + probability of the given label − largest probability of another) / 2.

    With two classes it orders as `self_confidence` does; with more it forgives an image that is unlike every class.

    Args:
        probs: out of fold, rows add up to 1; epochs or networks are averaged.
        labels: the given class, 0 to k - 1.
        adjusted: take off what is usual for each class first.

    Returns:
        0..1, higher = trust the label more; below 0.5 another class is more probable.

    Raises:
        DataError: NaN, logits, rows that do not add up to 1, or a label that is no column.

    Example:
        >>> normalized_margin(np.array([[0.5, 0.25, 0.25]]), np.array([1])).tolist()
        [0.375]

    Source: Northcutt, Jiang and Chuang, JAIR 2021, section 3. Differs: nothing.
    """
    values, given = mean_member(probs, labels)
    values = without_thresholds(values, given) if adjusted else values
    return (1 + of_given(values, given) - best_other(values, given)) / 2
