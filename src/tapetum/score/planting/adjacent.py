"""Noise between neighbouring grades: a reader is off by one."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Real

from tapetum.score.planted import Planted, checked_classes, through

__all__ = ["adjacent"]


def adjacent(
    labels: Real[np.ndarray, "n"],
    features: Float[np.ndarray, "n d"] | None,
    *,
    rng: np.random.Generator,
    classes: int = 2,
    rate: float = 0.2,
) -> Planted:
    """Each grade moves up or down by one with equal chance; the lowest and the highest have one neighbour only.

    Args:
        labels: true grades, 0 to `classes` - 1, in their order.
        features: not looked at.
        rng: the generator.
        classes: how many grades there are.
        rate: chance of a flip, 0..1, the same for all grades.

    Raises:
        DataError: other labels. UsageError: a rate outside 0..1.

    Example:
        >>> adjacent(np.array([0, 2]), None, rng=np.random.default_rng(0), classes=3, rate=1.0).labels.tolist()
        [1, 1]

    Source: own; wrong grades of diabetic retinopathy are mostly off by one. Differs: all of it.
    """
    del features
    given = checked_classes(labels, classes, rate)
    beside = np.eye(classes, k=1) + np.eye(classes, k=-1)
    return through(given, (1 - rate) * np.eye(classes) + rate * beside / beside.sum(axis=1, keepdims=True), rng)
