"""From rows as they are to every class as often, as the epochs go by."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from tapetum.learn.classifying.rarity import rarest

__all__ = ["progressive"]


def progressive(
    labels: Int[np.ndarray, "n"] | Float[np.ndarray, "n k"], *, rng: np.random.Generator, share: float = 1.0
) -> Int[np.ndarray, "n"]:
    """As many draws as rows, with replacement; a class's chance is (1 - share) · its rows + share · an equal part.

    Args:
        labels: see the family's protocol.
        rng: the generator.
        share: of the epochs that are over, which the trainer tells; 0 = as they are, 1 = class-balanced.

    Returns:
        Row numbers.

    Source: Kang et al., ICLR 2020, arXiv 1910.09217, equation 2 (progressively balanced). Differs: nothing.
    """
    counted, which = rarest(labels)
    present = int((counted > 0).sum())
    chance = (1 - share) / len(which) + share / (present * counted[which])
    return rng.choice(len(which), size=len(which), p=chance / chance.sum())
