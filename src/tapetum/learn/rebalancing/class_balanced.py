"""Every class as often as every other."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from tapetum.learn.classifying.rarity import rarest

__all__ = ["class_balanced"]


def class_balanced(
    labels: Int[np.ndarray, "n"] | Float[np.ndarray, "n k"], *, rng: np.random.Generator
) -> Int[np.ndarray, "n"]:
    """As many draws as rows, with replacement: first the class, each as likely, then one of its rows.

    Args:
        labels: see the family's protocol.
        rng: the generator.

    Returns:
        Row numbers.

    Source: Kang et al., ICLR 2020, arXiv 1910.09217, section 3 (class-balanced sampling, q = 0).
    """
    counted, which = rarest(labels)
    chance = 1 / counted[which]
    return rng.choice(len(which), size=len(which), p=chance / chance.sum())
