"""Several readers read the same cases in several ways (multi-reader multi-case): which way is better.

A reader is a person, or one training of a network; a treatment is what is compared: a modality, a method, with or
without help. Estimates of one reader share cases with those of every other, so that they are not independent.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float64, Real
from scipy import special

from tapetum.core.errors import DataError, UsageError
from tapetum.core.types import Interval
from tapetum.score.inputs import finite_scores, known_labels, same_length
from tapetum.score.stats.bounds import ROUNDING, Clusters, PairedDifference, check_level
from tapetum.score.stats.clustered import obuchowski_covariance
from tapetum.score.stats.delong import delong_covariance
from tapetum.score.stats.draws import auroc_draws, jackknife_weights
from tapetum.score.stats.normal import difference, quantile

Generalise = Literal["readers and cases", "cases", "readers"]
Covariance = Literal["closed form", "jackknife"]


@dataclass(frozen=True)
class ReaderVariances:
    """The parts of the variance after Obuchowski and Rockette, also what a new study is planned from.

    Attributes:
        error: variance of one estimate over draws of cases. same_reader: covariance of a reader's estimates in two
            treatments (Cov1). same_treatment: of two readers in one treatment (Cov2). neither: of two readers in two
            treatments (Cov3). treatment_by_reader: variance of the interaction, which may come out below 0.
            readers: how many. cases: how many cases, or patients, were drawn.
    """

    error: float
    same_reader: float
    same_treatment: float
    neither: float
    treatment_by_reader: float
    readers: int
    cases: int


@dataclass(frozen=True)
class ReaderStudy:
    """The analysis of a study in which every reader read every case in every treatment.

    Attributes:
        estimates: `[t r]`, one AUROC per treatment and reader. means: over readers, one interval per treatment.
        differences: `(i, j)` → treatment i minus treatment j with the p of its own t or z test; above 0, i is better.
        statistic: F, or chi² where only cases are drawn; large = the treatments differ.
        freedom: numerator and denominator of F; the denominator is infinite for chi².
        p_value: that no treatment differs from another. variances: the parts.
    """

    estimates: Float64[np.ndarray, "t r"]
    means: tuple[Interval, ...]
    differences: dict[tuple[int, int], PairedDifference]
    statistic: float
    freedom: tuple[float, float]
    p_value: float
    variances: ReaderVariances


def mrmc_auroc(
    ratings: Real[np.ndarray, "t r n"],
    labels: Real[np.ndarray, "n"] | Bool[np.ndarray, "n"],
    *,
    clusters: Clusters | None = None,
    generalise: Generalise = "readers and cases",
    covariance: Covariance = "jackknife",
    level: float = 0.95,
) -> ReaderStudy:
    """Compare treatments by the AUROCs of their readers.

    Args:
        ratings: of each treatment by each reader for each case, any range, higher = more likely positive.
        labels: 0, 1 or NaN (left out).
        clusters: the patient of each case; None says that every case is a patient of its own.
        generalise: what is drawn from a larger population, and hence to what the conclusion extends.
        covariance: `jackknife` leaves out one case, or patient, at a time; `closed form` is DeLong's, or Obuchowski's
            where clusters are given. They differ in the third digit on a hundred cases.
        level: 0..1.

    Returns:
        All NaN when a class is absent.

    Raises:
        DataError: a missing rating (NaN), unequal lengths, other labels.
        UsageError: one reader where readers are drawn, an unknown option, a level outside 0..1.

    Source: Obuchowski and Rockette, Communications in Statistics 1995; Hillis, Statistics in Medicine 2007 (degrees of
    freedom); Hillis, Berbaum and Metz, Academic Radiology 2008. Differs: nothing.
    """
    if ratings.ndim != 3:
        raise DataError(f"ratings of shape {ratings.shape}", "[treatments, readers, cases]")
    if covariance not in ("closed form", "jackknife"):
        raise UsageError(f"covariance={covariance!r}", "closed form or jackknife")
    treatments, readers, cases = ratings.shape
    same_length(cases, len(labels))
    same_length(cases, cases if clusters is None else len(clusters), "clusters")
    scores, truth = finite_scores(ratings.reshape(-1, cases).T), known_labels(labels)
    known = ~np.isnan(truth)
    scores, truth = scores[known], truth[known]
    who = None if clusters is None else np.asarray(clusters)[known]
    if covariance == "jackknife":
        areas, spread = _jackknife(scores, truth, np.arange(len(truth)) if who is None else who)
    elif who is None:
        areas, spread = delong_covariance(scores, truth)
    else:
        areas, spread = obuchowski_covariance(scores, truth, who)
    drawn = len(truth) if who is None else len(np.unique(who))
    estimates = areas.reshape(treatments, readers)
    return obuchowski_rockette(estimates, spread, cases=drawn, generalise=generalise, level=level)


def obuchowski_rockette(
    estimates: Float[np.ndarray, "t r"],
    covariance: Float[np.ndarray, "tr tr"],
    *,
    cases: int,
    generalise: Generalise = "readers and cases",
    level: float = 0.95,
) -> ReaderStudy:
    """The same for any estimate (sensitivity, net benefit) whose covariance over cases is known.

    Args:
        estimates: one per treatment and reader.
        covariance: of `estimates.ravel()`, over draws of cases.
        cases: how many cases, or patients, it was measured on.
        generalise: what is drawn from a larger population.
        level: 0..1.

    Returns:
        Bounds of means are symmetric and may leave 0..1. With one treatment there is no test: NaN.

    Raises:
        DataError: shapes that do not fit.
        UsageError: one reader where readers are drawn, an unknown option, a level outside 0..1.
    """
    check_level(level)
    treatments, readers = estimates.shape
    if generalise not in ("readers and cases", "cases", "readers"):
        raise UsageError(f"generalise={generalise!r}", "readers and cases, cases, or readers")
    if covariance.shape != (estimates.size, estimates.size):
        raise DataError(f"covariance of shape {covariance.shape}", f"{estimates.size} rows and columns")
    if readers < 2 and generalise != "cases":
        raise UsageError("one reader", "two or more", 'one cannot stand for others; generalise="cases" takes this one')
    spread = covariance.reshape(treatments, readers, treatments, readers)
    values = np.asarray(estimates, np.float64)
    variances = _parts(values, spread, cases)
    means = tuple(_mean(values[i], spread[i, :, i, :], generalise, level) for i in range(treatments))
    noise, freedom = _noise(values, variances, generalise)
    statistic, p_value = _test(values, noise, freedom, generalise)
    method = f"Obuchowski-Rockette, {generalise} drawn, df {freedom:.2f}"
    differences = {
        (i, j): difference(
            float(values[i].mean() - values[j].mean()),
            2 * noise / readers,
            method=method,
            level=level,
            freedom=freedom,
        )
        for i, j in itertools.combinations(range(treatments), 2)
    }
    return ReaderStudy(values, means, differences, statistic, (float(treatments - 1), freedom), p_value, variances)


def _parts(values: Float64[np.ndarray, "t r"], spread: Float64[np.ndarray, "t r t r"], cases: int) -> ReaderVariances:
    """Mean variance and the three kinds of covariance; 0 where there is no such pair."""
    treatments, readers = values.shape
    same_t = np.eye(treatments, dtype=bool)[:, None, :, None]
    same_r = np.eye(readers, dtype=bool)[None, :, None, :]
    kinds = [same_t & same_r, ~same_t & same_r, same_t & ~same_r, ~same_t & ~same_r]
    error, same_reader, same_treatment, neither = (
        float(spread[kind].mean()) if kind.any() else 0.0 for kind in (np.broadcast_to(k, spread.shape) for k in kinds)
    )
    interaction = _mean_squares(values)[1] - error + same_reader + max(same_treatment - neither, 0.0)
    return ReaderVariances(error, same_reader, same_treatment, neither, interaction, readers, cases)


def _mean_squares(values: Float64[np.ndarray, "t r"]) -> tuple[float, float]:
    """Of treatments, and of the interaction of treatments and readers; NaN where there is one only."""
    treatments, readers = values.shape
    of_treatment, of_reader = values.mean(axis=1), values.mean(axis=0)
    if treatments < 2:
        return math.nan, math.nan
    between = readers * float(of_treatment.var(ddof=1))
    if readers < 2:
        return between, math.nan
    rest = values - of_treatment[:, None] - of_reader + values.mean()
    return between, float((rest**2).sum() / ((treatments - 1) * (readers - 1)))


def _noise(
    values: Float64[np.ndarray, "t r"], variances: ReaderVariances, generalise: Generalise
) -> tuple[float, float]:
    """What the mean square of treatments is held against, and its degrees of freedom after Hillis."""
    treatments, readers = values.shape
    shared = max(variances.same_treatment - variances.neither, 0.0)
    if generalise == "cases":
        return variances.error - variances.same_reader + (readers - 1) * shared, math.inf
    interaction = _mean_squares(values)[1]
    noise = interaction if generalise == "readers" else interaction + readers * shared
    if not interaction > ROUNDING * noise:  # no reader differs from the others: only cases vary
        return noise, math.inf if noise > 0 else math.nan
    return noise, (treatments - 1) * (readers - 1) * noise**2 / interaction**2


def _test(
    values: Float64[np.ndarray, "t r"], noise: float, freedom: float, generalise: Generalise
) -> tuple[float, float]:
    """F and its p, or chi² where only cases are drawn."""
    above = len(values) - 1
    if above < 1 or not noise > 0:
        return math.nan, math.nan
    ratio = _mean_squares(values)[0] / noise
    if generalise == "cases":
        return above * ratio, float(special.chdtrc(above, above * ratio))
    # F with infinitely many degrees of freedom below is chi² over its own
    tail = special.chdtrc(above, above * ratio) if math.isinf(freedom) else special.fdtrc(above, freedom, ratio)
    return ratio, float(tail)


def _mean(
    values: Float64[np.ndarray, "r"], spread: Float64[np.ndarray, "r r"], generalise: Generalise, level: float
) -> Interval:
    """The mean of one treatment over its readers."""
    readers = len(values)
    shared = (float(spread.sum()) - float(np.trace(spread))) / max(readers * (readers - 1), 1)
    if generalise == "cases":
        variance, freedom = (float(np.trace(spread)) / readers + (readers - 1) * max(shared, 0.0)) / readers, math.inf
    else:
        between = float(values.var(ddof=1))
        whole = between + (readers * max(shared, 0.0) if generalise == "readers and cases" else 0.0)
        variance, freedom = whole / readers, math.nan
        if between > ROUNDING * whole:
            freedom = (readers - 1) * whole**2 / between**2
        elif whole > 0:
            freedom = math.inf  # the readers agree to the last digit: only cases vary
    method = f"Obuchowski-Rockette, {generalise} drawn, df {freedom:.2f}"
    mean = float(values.mean())
    if not variance > 0 or math.isnan(freedom):
        return Interval(mean, math.nan, math.nan, f"{method}, no variance: no bounds", level)
    half = quantile((1 + level) / 2, freedom) * math.sqrt(variance)
    return Interval(mean, mean - half, mean + half, method, level)


def _jackknife(
    scores: Float64[np.ndarray, "n m"], labels: Float64[np.ndarray, "n"], clusters: Clusters
) -> tuple[Float64[np.ndarray, "m"], Float64[np.ndarray, "m m"]]:
    """AUROCs and their covariance by leaving out one patient at a time; NaN where one patient holds a class."""
    whole = auroc_draws(scores, labels, np.ones((1, len(labels)), np.uint8))[0]
    left_out = np.concatenate([auroc_draws(scores, labels, block) for block in jackknife_weights(clusters)])
    apart = left_out - left_out.mean(axis=0)
    return whole, apart.T @ apart * (len(left_out) - 1) / len(left_out)
