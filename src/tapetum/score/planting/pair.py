"""Pair noise: each class is taken for one other."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Real

from tapetum.score.planted import Planted, checked_classes, through

__all__ = ["pair"]


def pair(
    labels: Real[np.ndarray, "n"],
    features: Float[np.ndarray, "n d"] | None,
    *,
    rng: np.random.Generator,
    classes: int = 2,
    rate: float = 0.2,
) -> Planted:
    """Each label moves to the next class with the same chance, the last one to the first.

    From a rate of 0.5 on the wrong class is as common as the right one, and nothing can tell them apart.

    Args:
        labels: true classes.
        features: not looked at.
        rng: the generator.
        classes: how many there are.
        rate: chance of a flip, 0..1.

    Raises:
        DataError: other labels. UsageError: a rate outside 0..1.

    Example:
        >>> pair(np.array([0, 1, 2]), None, rng=np.random.default_rng(0), classes=3, rate=1.0).labels.tolist()
        [1, 2, 0]

    Source: Han et al., NeurIPS 2018 (Co-teaching), pair flipping. Differs: nothing.
    """
    del features
    given = checked_classes(labels, classes, rate)
    chances = (1 - rate) * np.eye(classes) + rate * np.roll(np.eye(classes), 1, axis=1)
    return through(given, chances, rng)
