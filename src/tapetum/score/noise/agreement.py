"""Agreement: how many epochs or networks call the given label."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64

from tapetum.score.given import Given, members, of_given

__all__ = ["agreement"]


def agreement(probs: Float[np.ndarray, "*e n k"], labels: Given) -> Float64[np.ndarray, "n"]:
    """Votes for the given label, the mean probability deciding between equal numbers: (votes + mean) / (members + 1).

    Meant for members that err differently (folds, seeds, towers, epochs); with one member it is its vote and its
    confidence.

    Args:
        probs: out of fold, rows add up to 1; a leading axis for the members.
        labels: the given class, 0 to k - 1.

    Returns:
        0..1, higher = trust the label more.

    Raises:
        DataError: NaN, logits, rows that do not add up to 1, or a label that is no column.

    Example:
        >>> agreement(np.array([[[0.8, 0.2]], [[0.4, 0.6]]]), np.array([0])).round(3).tolist()
        [0.533]

    Source: Brodley and Friedl, JAIR 1999 (majority and consensus filters). Differs: graded, ties by mean probability.
    """
    several, given = members(probs, labels)
    votes = (several.argmax(axis=-1) == given).sum(axis=0)
    return (votes + of_given(several, given).mean(axis=0)) / (len(several) + 1)
