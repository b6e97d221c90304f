"""How far calls and grades agree, in every run and every draw of patients at once."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, Int, Integer

from tapetum.score.inputs import same_length


def kappa_draws(
    called: Int[np.ndarray, "r n"], grades: Int[np.ndarray, "n"], number: int, weights: Integer[np.ndarray, "b n"]
) -> Float64[np.ndarray, "b r"]:
    """Quadratic kappa of each run in each draw: agreement beyond chance, where a miss by d grades costs d squared.

    Args:
        called: the grade that each run gives to each image.
        grades: of the images, 0 to number - 1.
        number: of grades.
        weights: how often each image occurs in each draw; a row of ones is all images once.

    Returns:
        At most 1, higher is better, 0 by chance; NaN where a draw has images of one grade only.

    Raises:
        DataError: unequal lengths.

    Example:
        >>> called, grades = np.array([[0, 1, 2, 2]]), np.array([0, 1, 2, 1])
        >>> kappa_draws(called, grades, 3, np.array([[1, 1, 1, 1], [0, 1, 0, 0]])).round(3).tolist()
        [[0.8], [nan]]

    Source: Cohen, Psychological Bulletin 1968. Differs: nothing.
    """
    same_length(called.shape[1], len(grades))
    same_length(weights.shape[1], len(grades), "weights per draw")
    marks = np.eye(number)
    drawn = weights.astype(np.float64)
    truth = drawn @ marks[grades]
    cost = np.subtract.outer(np.arange(number), np.arange(number)) ** 2.0
    several = (truth > 0).sum(axis=1) > 1
    found = np.full((len(weights), len(called)), np.nan)
    for r, run in enumerate(called):
        missed = drawn @ cost[grades, run]
        chance = ((truth @ cost) * (drawn @ marks[run])).sum(axis=1) / drawn.sum(axis=1)
        found[several, r] = 1 - missed[several] / chance[several]
    return found
