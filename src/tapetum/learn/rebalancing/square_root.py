"""Classes as often as the square root of their number of rows."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from tapetum.learn.classifying.rarity import rarest

__all__ = ["square_root"]


def square_root(
    labels: Int[np.ndarray, "n"] | Float[np.ndarray, "n k"], *, rng: np.random.Generator, power: float = 0.5
) -> Int[np.ndarray, "n"]:
    """As many draws as rows, with replacement; a class with c rows is drawn in proportion to c ** power.

    Args:
        labels: see the family's protocol.
        rng: the generator.
        power: 1 = as they are, 0 = class-balanced.

    Returns:
        Row numbers.

    Source: Mahajan et al., ECCV 2018, arXiv 1805.00932, section 2.2; Kang et al., ICLR 2020, arXiv 1910.09217.
    """
    counted, which = rarest(labels)
    chance = counted[which] ** (power - 1)
    return rng.choice(len(which), size=len(which), p=chance / chance.sum())
