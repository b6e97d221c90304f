"""Wrong labels that were put there: what was flipped is known, so that finding it can be measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Real

from tapetum.core.errors import DataError, UsageError
from tapetum.score.inputs import known_labels, same_length


@dataclass(frozen=True)
class Planted:
    """Labels after planting.

    Attributes:
        labels: the class now given, in the shape and type of what was handed in; NaN stays NaN.
        flipped: whether it differs from the class before.
    """

    labels: Real[np.ndarray, "n *k"]
    flipped: Bool[np.ndarray, "n *k"]

    @property
    def rate(self) -> float:
        """Share of labels that were flipped, among those that are known; NaN where none is."""
        known = int((~np.isnan(self.labels)).sum())
        return float(self.flipped.sum() / known) if known else float("nan")


Maker = Callable[..., Planted]


def checked_classes(labels: Real[np.ndarray, "n"], classes: int, rate: float) -> Int[np.ndarray, "n"]:
    """Whole classes 0 to `classes` - 1 and a rate that can be planted.

    Raises:
        DataError: another label. UsageError: fewer than two classes, or a rate outside 0..1.
    """
    if classes < 2 or not 0 <= rate <= 1:
        raise UsageError(f"classes={classes}, rate={rate:g}", "at least 2 classes, a rate in 0..1")
    if not np.isin(labels, np.arange(classes)).all():
        raise DataError(f"labels {np.unique(labels)[:5].tolist()}", f"classes 0 to {classes - 1}")
    return labels.astype(np.int64)


def drawn_from(labels: Int[np.ndarray, "n"], chances: Float[np.ndarray, "n k"], rng: np.random.Generator) -> Planted:
    """One class per image, drawn with the chances of its row; one uniform number per image is used.

    Args:
        labels: the classes before.
        chances: rows add up to 1.
        rng: the generator.
    """
    edges = np.cumsum(chances, axis=1)
    drawn = (rng.random(len(labels))[:, None] >= edges / edges[:, -1:]).sum(axis=1)
    return Planted(drawn, drawn != labels)


def through(labels: Int[np.ndarray, "n"], transition: Float[np.ndarray, "k k"], rng: np.random.Generator) -> Planted:
    """Labels drawn from rows of P(given | true).

    Args:
        labels: the true classes.
        transition: rows the true class, columns the given one; rows add up to 1.
        rng: the generator.
    """
    return drawn_from(labels, transition[labels], rng)


def by_finding(
    maker: Maker,
    labels: Real[np.ndarray, "n k"],
    features: Float[np.ndarray, "n d"] | None,
    *,
    rng: np.random.Generator,
) -> Planted:
    """A noise maker on findings that occur together: every column on its own, as two classes.

    Args:
        maker: a built member of `score/planting`; `classes` is set here.
        labels: 1 present, 0 absent, NaN unknown (stays so).
        features: of the images, for makers that look at them.
        rng: the generator; columns draw from it in their order.

    Raises:
        DataError: other labels, unequal lengths.
    """
    truth = known_labels(labels)
    if features is not None:
        same_length(len(features), len(truth))
    after, flipped = truth.copy(), np.zeros(truth.shape, bool)
    for j, column in enumerate(truth.T):
        rows = np.flatnonzero(~np.isnan(column))
        if not len(rows):
            continue
        made = maker(column[rows].astype(np.int64), None if features is None else features[rows], classes=2, rng=rng)
        after[rows, j], flipped[rows, j] = made.labels, made.flipped
    return Planted(after, flipped)


def hardness(
    features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, "n"], classes: int
) -> Float64[np.ndarray, "n k"]:
    """How much nearer an image lies to each other class's mean than to its own, -inf for its own.

    Squared distances on features scaled to unit variance, divided by the number of features; above 0 = nearer to the
    other class. A class without images is nobody's neighbour (-inf).
    """
    values = features.astype(np.float64)
    spread = values.std(axis=0)
    values = (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    apart = np.full((len(labels), classes), np.inf)
    for c in np.unique(labels):
        apart[:, c] = ((values - values[labels == c].mean(axis=0)) ** 2).mean(axis=1)
    nearer = apart[np.arange(len(labels)), labels][:, None] - apart
    nearer[np.arange(len(labels)), labels] = -np.inf
    return nearer
