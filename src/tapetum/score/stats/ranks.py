"""Several methods on several data sets: average ranks, whether they differ at all, and which differ.

Data sets are the sample here: the p says whether the order would hold on other data sets of the kind, not whether it
holds on these.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int
from scipy import special, stats

from tapetum.core.errors import DataError, UsageError
from tapetum.score.stats.bounds import check_level


@dataclass(frozen=True)
class Friedman:
    """Whether methods differ over data sets.

    Attributes:
        average_ranks: one per method, 1 = best, lower is better.
        statistic: Friedman's chi², ties corrected. p_value: its p, lower speaks against "all are equal".
        f_statistic, f_p_value: after Iman and Davenport, less timid; use these with few data sets.
    """

    average_ranks: Float64[np.ndarray, "m"]
    statistic: float
    p_value: float
    f_statistic: float
    f_p_value: float


def ranks_of_scores(scores: Float[np.ndarray, "d m"]) -> Float64[np.ndarray, "d m"]:
    """Rank the methods within each data set: 1 for the highest score; ties share the mean of their places.

    Args:
        scores: one row per data set, one column per method, higher is better.

    Returns:
        1..m, lower is better.

    Raises:
        DataError: an undefined score: a method that has none on a data set cannot be ranked there.

    Example:
        >>> ranks_of_scores(np.array([[0.9, 0.8, 0.8], [0.7, 0.6, 0.5]])).tolist()
        [[1.0, 2.5, 2.5], [1.0, 2.0, 3.0]]
    """
    return ranks_of_errors(-np.asarray(scores, np.float64))


def ranks_of_errors(errors: Float[np.ndarray, "d m"]) -> Float64[np.ndarray, "d m"]:
    """As `ranks_of_scores`, for values that are better when lower."""
    values = np.asarray(errors, np.float64)
    if values.ndim != 2 or not values.size:
        raise DataError(f"values of shape {values.shape}", "[data sets, methods]")
    if np.isnan(values).any():
        row = int(np.argmax(np.isnan(values).any(axis=1)))
        raise DataError(f"an undefined value in data set {row}", "one of every method", "leave the data set out")
    return stats.rankdata(values, axis=1)


def friedman(ranks: Float[np.ndarray, "d m"]) -> Friedman:
    """Test whether the methods differ at all.

    Args:
        ranks: as from `ranks_of_scores` or `ranks_of_errors`.

    Returns:
        p NaN with fewer than two data sets or methods, or when every data set has ties only.

    Example:
        >>> ranks = ranks_of_scores(np.array([[0.9, 0.8, 0.7], [0.8, 0.7, 0.6], [0.7, 0.6, 0.5], [0.9, 0.7, 0.8]]))
        >>> found = friedman(ranks)
        >>> found.average_ranks.tolist(), found.statistic
        ([1.0, 2.25, 2.75], 6.5)

    Source: Friedman, JASA 1937; ties after Conover 1999; Iman and Davenport, Communications in Statistics 1980; their
    use for learners after Demšar, JMLR 2006. Differs: nothing.
    """
    sets, methods = ranks.shape
    average = ranks.mean(axis=0).astype(np.float64)
    constant = sets * methods * (methods + 1) ** 2 / 4
    spread = float((ranks**2).sum()) - constant
    if sets < 2 or methods < 2 or spread <= 0:
        return Friedman(average, math.nan, math.nan, math.nan, math.nan)
    chi2 = float(sets * (methods - 1) * (sets * (average**2).sum() - constant) / spread)
    rest = sets * (methods - 1) - chi2
    ratio = (sets - 1) * chi2 / rest if rest > 0 else math.inf
    f_p = float(special.fdtrc(methods - 1, (methods - 1) * (sets - 1), ratio)) if rest > 0 else 0.0
    return Friedman(average, chi2, float(special.chdtrc(methods - 1, chi2)), ratio, f_p)


def nemenyi_critical_difference(methods: int, datasets: int, *, level: float = 0.95) -> float:
    """How far apart two average ranks must lie to differ, all pairs looked at.

    Args:
        methods: how many are compared.
        datasets: how many data sets were ranked.
        level: one minus the chance that any pair is falsely called different.

    Returns:
        In ranks, smaller = more is told apart.

    Raises:
        UsageError: fewer than two methods, no data set, level outside 0..1.

    Example:
        >>> round(nemenyi_critical_difference(4, 14), 3)
        1.254

    Source: Nemenyi 1963, as in Demšar, JMLR 2006. Differs: quantiles computed, not from a table.
    """
    check_level(level)
    if methods < 2 or datasets < 1:
        raise UsageError(f"{methods} methods, {datasets} data sets", "at least two methods and one data set")
    return float(stats.studentized_range.isf(1 - level, methods, np.inf)) * _scale(methods, datasets)


def nemenyi_p_values(ranks: Float[np.ndarray, "d m"]) -> Float64[np.ndarray, "m m"]:
    """Which pairs of methods differ; the number of pairs is already allowed for.

    Args:
        ranks: as from `ranks_of_scores`.

    Returns:
        Symmetric, 1 on the diagonal, lower speaks against "these two are equal".

    Raises:
        UsageError: fewer than two methods.
    """
    sets, methods = ranks.shape
    if methods < 2:
        raise UsageError(f"{methods} methods", "at least two")
    average = ranks.mean(axis=0)
    apart = np.abs(average[:, None] - average) / _scale(methods, sets)
    return np.asarray(stats.studentized_range.sf(apart, methods, np.inf), np.float64)


def wins_and_ties(ranks: Float[np.ndarray, "d m"]) -> tuple[Int[np.ndarray, "m m"], Int[np.ndarray, "m m"]]:
    """On how many data sets row's method beats column's, and on how many they tie.

    Args:
        ranks: as from `ranks_of_scores`.
    """
    first, second = ranks[:, :, None], ranks[:, None, :]
    return (first < second).sum(axis=0), (first == second).sum(axis=0)


def _scale(methods: int, datasets: int) -> float:
    """Standard error of an average rank, by which the studentized range is measured."""
    return math.sqrt(methods * (methods + 1) / (12 * datasets))
