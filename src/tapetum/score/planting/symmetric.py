"""Symmetric noise: every other class is equally likely."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Real

from tapetum.score.planted import Planted, checked_classes, through

__all__ = ["symmetric"]


def symmetric(
    labels: Real[np.ndarray, "n"],
    features: Float[np.ndarray, "n d"] | None,
    *,
    rng: np.random.Generator,
    classes: int = 2,
    rate: float = 0.2,
) -> Planted:
    """Each label is flipped with the same chance, to any other class alike.

    On a rare finding most flips make it present where it is absent; `confusion` keeps how common it is.

    Args:
        labels: true classes.
        features: not looked at.
        rng: the generator.
        classes: how many there are.
        rate: chance of a flip, 0..1.

    Raises:
        DataError: other labels. UsageError: a rate outside 0..1.

    Example:
        >>> symmetric(np.array([0, 1, 1]), None, rng=np.random.default_rng(0), rate=1.0).labels.tolist()
        [1, 0, 0]

    Source: Natarajan et al., NeurIPS 2013; LNMBench (arXiv 2512.09315), noise pattern 1. Differs: nothing.
    """
    del features
    given = checked_classes(labels, classes, rate)
    chances = np.full((classes, classes), rate / (classes - 1))
    np.fill_diagonal(chances, 1 - rate)
    return through(given, chances, rng)
