"""Tests that exchange what chance could have exchanged: the p value of a null, methods swapped patient by patient."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float64, Real
from scipy import stats

from tapetum.core.errors import UsageError
from tapetum.score.inputs import finite_scores, known_labels, same_length
from tapetum.score.ranking import rank
from tapetum.score.stats.bounds import ROUNDING, Clusters
from tapetum.score.stats.draws import cluster_codes

BLOCK = 256  # exchanges ranked at once


def permutation_p_value(
    observed: float,
    null: Float[np.ndarray, "b"],
    *,
    alternative: Literal["greater", "less", "two-sided"] = "greater",
) -> float:
    """Share of the null values at least as extreme as the observed one, the observed one counted among them.

    Args:
        observed: the real result.
        null: the same quantity after each permutation.
        alternative: which side is extreme; `two-sided` doubles the smaller side.

    Returns:
        In (0, 1], never below 1 / (b + 1); lower speaks against chance. NaN when a value is NaN or there is no null.

    Raises:
        UsageError: unknown alternative.

    Example:
        >>> permutation_p_value(0.9, np.array([0.4, 0.5, 0.6, 0.5]))
        0.2

    Source: Phipson and Smyth, Statistical Applications in Genetics and Molecular Biology 2010. Differs: nothing.
    """
    if alternative not in ("greater", "less", "two-sided"):
        raise UsageError(f"alternative={alternative!r}", "greater, less or two-sided")
    if math.isnan(observed) or not len(null) or np.isnan(null).any():
        return math.nan
    above = (1 + int((null >= observed).sum())) / (1 + len(null))
    below = (1 + int((null <= observed).sum())) / (1 + len(null))
    return {"greater": above, "less": below, "two-sided": min(1.0, 2 * min(above, below))}[alternative]


def paired_mean_permutation(
    first: Float[np.ndarray, "n"],
    second: Float[np.ndarray, "n"],
    clusters: Clusters,
    *,
    rng: np.random.Generator,
    draws: int = 10_000,
) -> float:
    """Two methods' mean values (hits, errors) on the same images, exchanged patient by patient.

    Args:
        first: a value per image; NaN leaves the image out of both.
        second: of the other method, in the same unit.
        clusters: the patient of each image; all its images are exchanged together.
        rng: the generator; unused where all exchanges can be listed.
        draws: random exchanges; where there are no more different ones than that, all are listed and p is exact.

    Returns:
        Two-sided p, lower speaks against "no difference"; NaN without a value.

    Raises:
        DataError: unequal lengths.
        UsageError: draws below 1.

    Example:
        >>> hits, misses = np.ones(4), np.array([0.0, 0.0, 0.0, 1.0])
        >>> paired_mean_permutation(hits, misses, ["a", "b", "c", "d"], rng=np.random.default_rng(0))
        0.25

    Source: Fisher, The Design of Experiments 1935; Phipson and Smyth 2010 for the random exchanges. Differs: whole
    patients are exchanged.
    """
    same_length(len(first), len(second), "values of the second method")
    same_length(len(first), len(clusters), "clusters")
    apart = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    known = ~np.isnan(apart)
    if not known.any():
        return math.nan
    sums = np.bincount(cluster_codes(np.asarray(clusters)[known]), weights=apart[known])
    sums = sums[np.abs(sums) > ROUNDING]  # exchanging equals changes nothing
    bar = abs(sums.sum()) - ROUNDING * max(1, len(sums))

    def reached(exchanged: Bool[np.ndarray, "b c"]) -> int:
        return int((np.abs(np.where(exchanged, -sums, sums).sum(axis=1)) >= bar).sum())

    return _p_value(reached, len(sums), draws, rng)


def paired_auroc_permutation(
    scores_a: Real[np.ndarray, "n"],
    scores_b: Real[np.ndarray, "n"],
    labels: Real[np.ndarray, "n"] | Bool[np.ndarray, "n"],
    clusters: Clusters,
    *,
    rng: np.random.Generator,
    draws: int = 2000,
) -> float:
    """Two methods' AUROCs on the same images, their ranks exchanged patient by patient.

    Args:
        scores_a: the first method, any range.
        scores_b: the second method, any range of its own: ranks are exchanged, not scores.
        labels: 0, 1 or NaN (left out).
        clusters: the patient of each image.
        rng: the generator.
        draws: random exchanges; all are listed where there are no more different ones.

    Returns:
        Two-sided p, lower speaks against "no difference"; NaN when a class is absent.

    Raises:
        DataError: NaN among the scores, unequal lengths, or other labels.
        UsageError: draws below 1.

    Source: Bandos, Rockette and Gur, Statistics in Medicine 2005. Differs: whole patients are exchanged; p from the
    exchanges themselves.
    """
    same_length(len(scores_a), len(scores_b), "rows of the second method")
    same_length(len(scores_a), len(labels))
    same_length(len(scores_a), len(clusters), "clusters")
    truth = known_labels(labels)
    known = ~np.isnan(truth)
    a, b = (stats.rankdata(finite_scores(scores)[known]) for scores in (scores_a, scores_b))
    truth, codes = truth[known], cluster_codes(np.asarray(clusters)[known])
    observed = abs(rank(a, truth).auroc - rank(b, truth).auroc)
    if math.isnan(observed):
        return math.nan

    def reached(exchanged: Bool[np.ndarray, "b c"]) -> int:
        swap = exchanged[:, codes]
        apart = _aurocs(np.where(swap, b, a), truth) - _aurocs(np.where(swap, a, b), truth)
        return int((np.abs(apart) >= observed - ROUNDING).sum())

    return _p_value(reached, int(codes.max()) + 1, draws, rng)


def _p_value(
    reached: Callable[[Bool[np.ndarray, "b c"]], int], patients: int, draws: int, rng: np.random.Generator
) -> float:
    """The share of exchanges that reach what was observed: of all of them, or of random ones and the observed one."""
    if draws < 1:
        raise UsageError(f"{draws} draws", "at least one")
    if patients <= 30 and 2**patients <= draws:
        places = np.arange(2**patients)[:, None] >> np.arange(patients)
        blocks = range(0, len(places), BLOCK)
        return sum(reached(places[start : start + BLOCK] % 2 == 1) for start in blocks) / len(places)
    sizes = (min(BLOCK, draws - start) for start in range(0, draws, BLOCK))
    return (1 + sum(reached(rng.random((size, patients)) < 0.5) for size in sizes)) / (1 + draws)


def _aurocs(scores: Float64[np.ndarray, "b n"], labels: Float64[np.ndarray, "n"]) -> Float64[np.ndarray, "b"]:
    """AUROC of each row by the ranks of its positives."""
    positives = int((labels == 1).sum())
    total = stats.rankdata(scores, axis=1)[:, labels == 1].sum(axis=1)
    return (total - positives * (positives + 1) / 2) / (positives * (len(labels) - positives))
