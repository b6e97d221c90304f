"""Drawing the handful of images that an adapter learns from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int


def draw_shots(
    labels: Float[np.ndarray, "n k"], patients: Sequence[str], shots: int, rng: np.random.Generator
) -> Int[np.ndarray, "m"]:
    """Row numbers with `shots` images with and `shots` without each finding, as far as there are so many.

    An image drawn for one finding counts for the others, too, so a common finding may get more. A second image of a
    patient is taken only when no other patient has one.

    Args:
        labels: 1, 0 or NaN unknown.
        patients: of each row.
        shots: per finding and class; 0 or less draws nothing.
        rng: gives the order in which rows are looked at; the same state and more shots go further down that order.

    Returns:
        Ascending row numbers.
    """
    order, who = rng.permutation(len(labels)), np.unique(np.asarray(patients), return_inverse=True)[1]
    taken, seen = np.zeros(len(labels), bool), np.zeros(len(labels), bool)
    for column in labels.T:
        for value in (1, 0):
            wanted = shots - int(((column == value) & taken).sum())
            candidates = order[column[order] == value]
            for strict in (True, False):  # other patients first
                for row in candidates:
                    if wanted <= 0:
                        break
                    if taken[row] or (strict and seen[who[row]]):
                        continue
                    taken[row] = seen[who[row]] = True
                    wanted -= 1
    return np.flatnonzero(taken)
