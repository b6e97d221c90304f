"""Calls of several runs against the truth: recalls, accuracy and quadratic kappa with intervals over patients and runs.

All of them are sums over a table of true class and called class, so that a draw of patients needs that table only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from tapetum.core.errors import DataError
from tapetum.core.types import Interval
from tapetum.score.inputs import same_length
from tapetum.score.stats.bounds import Clusters, PairedDifference, drawn_difference, drawn_interval
from tapetum.score.stats.draws import cluster_weights
from tapetum.score.stats.runs import run_weights, runs_note

Tables = Float[np.ndarray, "*r k k"]
Statistic = Callable[[Tables], Float64[np.ndarray, "*r"]]


@dataclass(frozen=True)
class Confusions:
    """Tables of a method's runs, rows the true class, columns the called one.

    Attributes:
        whole: on all images. drawn: in every draw of patients. shares: how much each run counts in each draw.
        clusters: the patient of each image.
    """

    whole: Float64[np.ndarray, "s k k"]
    drawn: Float64[np.ndarray, "b s k k"]
    shares: Float64[np.ndarray, "b s"]
    clusters: np.ndarray

    def interval(self, statistic: Statistic) -> Interval:
        """The mean over runs of a statistic of the table."""
        estimate, drawn = self._means(statistic)
        return drawn_interval(estimate, drawn, self.clusters, level=0.95, note=runs_note(len(self.whole)))

    def minus(self, other: Confusions, statistic: Statistic) -> PairedDifference:
        """Itself minus another one, made with the same generator and equally many runs.

        Raises:
            DataError: other images, runs or draws.
        """
        if self.drawn.shape != other.drawn.shape or not np.array_equal(self.shares, other.shares):
            raise DataError("tables of other runs or draws", "the same images, runs and generator for both methods")
        (ours, drawn), (theirs, others) = self._means(statistic), other._means(statistic)
        note = runs_note(len(self.whole))
        return drawn_difference(ours - theirs, drawn - others, self.clusters, level=0.95, note=note)

    def _means(self, statistic: Statistic) -> tuple[float, Float64[np.ndarray, "b"]]:
        return float(statistic(self.whole).mean()), (statistic(self.drawn) * self.shares).sum(axis=-1)


def confusions(
    called: Int[np.ndarray, "s n"],
    labels: Int[np.ndarray, "n"],
    classes: int,
    clusters: Clusters,
    *,
    rng: np.random.Generator,
    draws: int = 2000,
) -> Confusions:
    """Count every run's calls, on all images and in draws of patients and of runs.

    Args:
        called: the class that each run gives to each image, 0 to classes - 1.
        labels: the true one.
        classes: how many there are.
        clusters: the patient of each image.
        rng: the generator; the same state gives the same draws.
        draws: of patients and runs.

    Raises:
        DataError: no run, unequal lengths, or a class out of range. UsageError: draws below 1.

    Example:
        >>> called, truth = np.array([[0, 0, 1, 1]]), np.array([0, 0, 0, 1])
        >>> made = confusions(called, truth, 2, ["a", "b", "c", "d"], rng=np.random.default_rng(0), draws=50)
        >>> made.whole[0].tolist(), round(made.interval(balanced_accuracy).estimate, 3)
        ([[2.0, 1.0], [0.0, 1.0]], 0.833)
    """
    if called.ndim != 2 or not len(called):
        raise DataError(f"calls of shape {called.shape}", "[runs, images], at least one run")
    same_length(called.shape[1], len(labels))
    same_length(len(labels), len(clusters), "clusters")
    cells = labels.astype(np.int64) * classes + called
    if min(labels.min(), called.min()) < 0 or max(labels.max(), called.max()) >= classes:
        raise DataError(f"classes {labels.min()} to {max(labels.max(), called.max())}", f"0 to {classes - 1}")
    marks = [np.eye(classes * classes, dtype=np.float32)[run] for run in cells]
    parts = [
        np.stack([block.astype(np.float32) @ mark for mark in marks], axis=1).astype(np.float64)
        for block in cluster_weights(clusters, draws, rng)
    ]
    whole = np.stack([mark.sum(axis=0, dtype=np.float64) for mark in marks])
    shape = (classes, classes)
    drawn = np.concatenate(parts)
    return Confusions(
        whole.reshape(len(called), *shape), drawn.reshape(draws, len(called), *shape),
        run_weights(len(called), draws, rng), np.asarray(clusters),
    )  # fmt: skip


def accuracy(tables: Tables) -> Float64[np.ndarray, "*r"]:
    """Share of images that are called right."""
    return np.trace(tables, axis1=-2, axis2=-1) / tables.sum(axis=(-2, -1))


def recalls(tables: Tables) -> Float64[np.ndarray, "*r k"]:
    """Share of each class's images that are called right; NaN for a class without any."""
    right, of = np.diagonal(tables, axis1=-2, axis2=-1), tables.sum(axis=-1)
    return np.divide(right, of, out=np.full(of.shape, np.nan), where=of > 0)


def balanced_accuracy(tables: Tables) -> Float64[np.ndarray, "*r"]:
    """Mean recall of the classes; NaN where one has no image."""
    return recalls(tables).mean(axis=-1)


def worst_recall(tables: Tables) -> Float64[np.ndarray, "*r"]:
    """The smallest recall of a class; NaN where one has no image."""
    return recalls(tables).min(axis=-1)


def mean_recall_of(of: Bool[np.ndarray, "k"]) -> Statistic:
    """Mean recall of some classes, for example of the rare ones."""

    def mean_recall(tables: Tables) -> Float64[np.ndarray, "*r"]:
        some: Any = recalls(tables)[..., of]
        return some.mean(axis=-1) if of.any() else np.full(tables.shape[:-2], np.nan)

    return mean_recall


def quadratic_kappa(tables: Tables) -> Float64[np.ndarray, "*r"]:
    """Agreement of grades beyond chance, a miss by d grades costs d squared; NaN where all labels are of one grade.

    Source: Cohen, Psychological Bulletin 1968. Differs: nothing.
    """
    grades = np.arange(tables.shape[-1])
    cost = np.subtract.outer(grades, grades) ** 2
    true, called = tables.sum(axis=-1), tables.sum(axis=-2)
    chance = (cost * true[..., :, None] * called[..., None, :]).sum(axis=(-2, -1)) / tables.sum(axis=(-2, -1))
    several = ((true > 0).sum(axis=-1) > 1) & (chance > 0)
    missed = (cost * tables).sum(axis=(-2, -1))
    return np.where(several, 1 - np.divide(missed, chance, out=np.zeros(missed.shape), where=chance > 0), np.nan)
