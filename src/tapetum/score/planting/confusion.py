"""Noise from a confusion matrix, or one that keeps every class as common as it was."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Real

from tapetum.core.errors import UsageError
from tapetum.score.planted import Planted, checked_classes, through

__all__ = ["confusion"]


def confusion(
    labels: Real[np.ndarray, "n"],
    features: Float[np.ndarray, "n d"] | None,
    *,
    rng: np.random.Generator,
    classes: int = 2,
    rate: float = 0.2,
    matrix: tuple[tuple[float, ...], ...] = (),
) -> Planted:
    """Labels drawn from the rows of P(given | true).

    Without a matrix, classes trade labels: as many are moved from a to b as from b to a, so that a rare finding stays
    rare. Pairs trade in proportion to the product of their sizes; a class that would have to give more than all it has
    gives all.

    Args:
        labels: true classes.
        features: not looked at.
        rng: the generator.
        classes: how many there are.
        rate: expected share of flipped labels, 0..1; a matrix has its own.
        matrix: rows the true class, columns the given one, rows add up to 1; empty = classes trade.

    Raises:
        DataError: other labels. UsageError: a rate outside 0..1, or a matrix that is none.

    Example:
        >>> swapped = ((0.0, 1.0), (1.0, 0.0))
        >>> confusion(np.array([0, 1, 1]), None, rng=np.random.default_rng(0), matrix=swapped).labels.tolist()
        [1, 0, 0]

    Source: Patrini et al., CVPR 2017 (class-dependent noise); the trade is our own. Differs: nothing else.
    """
    del features
    given = checked_classes(labels, classes, rate)
    if not matrix:
        return through(given, _traded(np.bincount(given, minlength=classes), rate), rng)
    chances = np.array(matrix, dtype=np.float64)
    if chances.shape != (classes, classes) or (chances < 0).any() or (np.abs(chances.sum(axis=1) - 1) > 1e-6).any():
        raise UsageError(
            f"a matrix of shape {chances.shape}", f"{classes} rows of {classes} chances that add up to 1", "matrix=()"
        )
    return through(given, chances, rng)


def _traded(counts: np.ndarray, rate: float) -> np.ndarray:
    """P(given | true) with equal flows between any two classes."""
    share = counts / max(1, counts.sum())
    flow = np.outer(share, share)
    np.fill_diagonal(flow, 0.0)
    if flow.sum() > 0:
        flow *= rate / flow.sum()
    chances = np.divide(flow, share[:, None], out=np.zeros(flow.shape), where=share[:, None] > 0)
    chances /= np.maximum(1.0, chances.sum(axis=1, keepdims=True))
    return chances + np.diag(1 - chances.sum(axis=1))
