"""A method that was run several times (seeds, draws of shots): intervals that cover both runs and patients."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Real

from tapetum.core.errors import DataError
from tapetum.core.types import Interval
from tapetum.score.inputs import finite_scores, known_labels, same_length
from tapetum.score.ranking import rank
from tapetum.score.stats.bounds import (
    ROUNDING,
    Bounds,
    Clusters,
    PairedDifference,
    check_level,
    drawn_difference,
    drawn_interval,
)
from tapetum.score.stats.clustered import auroc_influence
from tapetum.score.stats.draws import cluster_codes
from tapetum.score.stats.intervals import macro_draws
from tapetum.score.stats.normal import quantile


def runs_auroc_interval(
    runs: Real[np.ndarray, "s n k"],
    labels: Real[np.ndarray, "n k"] | Bool[np.ndarray, "n k"],
    clusters: Clusters,
    *,
    rng: np.random.Generator,
    draws: int = 2000,
    level: float = 0.95,
    bounds: Bounds = "percentile",
) -> Interval:
    """Macro AUROC of a method that was run several times (seeds, draws of shots), averaged over its runs.

    Every draw takes patients and runs with replacement, so that the interval covers both who was tested and what the
    method happened to learn from. With one run it is the interval of `macro_auroc_interval`.

    Args:
        runs: scores of each run, any range, higher = more likely positive.
        labels: 0, 1 or NaN (that image is left out of that finding).
        clusters: the patient of each image.
        rng: the generator; the same state gives the same draws.
        draws: number of bootstrap draws.
        level: confidence level, between 0 and 1.
        bounds: `percentile` or `bca`.

    Returns:
        0..1, 0.5 by chance; NaN when no finding has both classes, bounds NaN with one patient only.

    Raises:
        DataError: no run, NaN among the scores, unequal shapes, or other labels.
        UsageError: draws below 1, level outside 0..1, unknown bounds.
    """
    macro = macro_draws(_each_run(runs), labels, clusters, rng=rng, draws=draws, bounds=bounds)
    mean = (macro.drawn * _run_weights(len(runs), draws, rng)).sum(axis=1)
    jackknives = _jackknives(macro.estimates, macro.left_out)
    note = f"{_runs_note(len(runs))}{macro.note}"
    return drawn_interval(float(macro.estimates.mean()), mean, clusters, level=level, jackknives=jackknives, note=note)


def paired_runs_difference(
    runs_a: Real[np.ndarray, "s n k"],
    runs_b: Real[np.ndarray, "s n k"],
    labels: Real[np.ndarray, "n k"] | Bool[np.ndarray, "n k"],
    clusters: Clusters,
    *,
    rng: np.random.Generator,
    draws: int = 2000,
    level: float = 0.95,
    bounds: Bounds = "percentile",
) -> PairedDifference:
    """Macro AUROC of a minus that of b, both run equally often: run i of both learned from the same images.

    Args:
        runs_a: scores of the first method's runs.
        runs_b: those of the second, in the same order.
        labels: 0, 1 or NaN (left out).
        clusters: the patient of each image.
        rng: the generator; the same state gives the same draws.
        draws: number of bootstrap draws of patients and runs.
        level: confidence level, between 0 and 1.
        bounds: `percentile` or `bca`.

    Returns:
        As `paired_auroc_difference`.

    Raises:
        DataError: no run, NaN among the scores, unequal shapes, or other labels.
        UsageError: draws below 1, level outside 0..1, unknown bounds.
    """
    if runs_a.shape != runs_b.shape:
        raise DataError(f"runs of shapes {runs_a.shape} and {runs_b.shape}", "the same runs of both methods")
    number = len(runs_a)
    both = [*_each_run(runs_a), *_each_run(runs_b)]
    macro = macro_draws(both, labels, clusters, rng=rng, draws=draws, bounds=bounds)
    apart = ((macro.drawn[:, :number] - macro.drawn[:, number:]) * _run_weights(number, draws, rng)).sum(axis=1)
    left_out = None if macro.left_out is None else macro.left_out[:, :number] - macro.left_out[:, number:]
    whole = float(macro.estimates[:number].mean() - macro.estimates[number:].mean())
    jackknives = _jackknives(macro.estimates[:number] - macro.estimates[number:], left_out)
    note = f"{_runs_note(number)}{macro.note}"
    return drawn_difference(whole, apart, clusters, level=level, jackknives=jackknives, note=note)


@dataclass(frozen=True)
class RunVariances:
    """Where the uncertainty of a mean over runs comes from; each part in the squared unit of the estimate.

    Attributes:
        mean: over runs, with an interval that covers another set of patients and other runs.
        runs: variance of one run about the method's mean, had every patient of the world been tested; what seeds do.
        patients: variance that all runs share, since they were tested on the same patients.
        interaction: the rest of one run's variance over patients: which patient suits which run.
        total: of the mean: `runs / s + patients + interaction / s` with s runs, as measured, no part cut at 0.
        number: s.
    """

    mean: Interval
    runs: float
    patients: float
    interaction: float
    total: float
    number: int


def split_variance(
    estimates: Float[np.ndarray, "s"], covariance: Float[np.ndarray, "s s"], *, level: float = 0.95
) -> RunVariances:
    """Split the variance of a mean over runs into that of runs, patients and their interaction.

    Args:
        estimates: one per run, all on the same patients.
        covariance: of the estimates over draws of patients, the runs as they are.
        level: 0..1.

    Returns:
        Parts below 0, which chance may give, are 0. With one run nothing can be split: all parts and the
        bounds are NaN.

    Raises:
        DataError: shapes that do not fit.
        UsageError: level outside 0..1.

    Source: Obuchowski and Rockette 1995 for one treatment, with Hillis' degrees of freedom (2007); runs stand where
    readers stand. Differs: nothing.
    """
    check_level(level)
    number = len(estimates)
    if not number or covariance.shape != (number, number):
        raise DataError(f"{number} runs, covariance of shape {covariance.shape}", "a row and a column per run")
    mean, error = float(np.mean(estimates)), float(np.trace(covariance)) / number
    method = f"{number} runs, patients and runs drawn"
    if number < 2:
        nothing = Interval(mean, math.nan, math.nan, f"{method}: one run says nothing of runs", level)
        return RunVariances(nothing, math.nan, math.nan, math.nan, math.nan, number)
    shared = (float(covariance.sum()) - number * error) / (number * (number - 1))
    between = float(np.var(estimates, ddof=1))
    whole = between + number * max(shared, 0.0)
    bounds = (math.nan, math.nan)
    if whole > 0:
        freedom = (number - 1) * (whole / between) ** 2 if between > ROUNDING * whole else math.inf
        half = quantile((1 + level) / 2, freedom) * math.sqrt(whole / number)
        bounds, method = (mean - half, mean + half), f"{method}, df {freedom:.1f}"
    return RunVariances(
        Interval(mean, *bounds, method, level),
        max(between - (error - shared), 0.0),
        max(shared, 0.0),
        max(error - shared, 0.0),
        whole / number,
        number,
    )


def auroc_run_variances(
    runs: Real[np.ndarray, "s n k"],
    labels: Real[np.ndarray, "n k"] | Bool[np.ndarray, "n k"],
    clusters: Clusters,
    *,
    level: float = 0.95,
) -> RunVariances:
    """`split_variance` of the macro AUROC, in closed form.

    Args:
        runs: scores of each run, any range, higher = more likely positive.
        labels: 0, 1 or NaN (that image is left out of that finding).
        clusters: the patient of each image.
        level: 0..1.

    Returns:
        Findings without both classes are left out; NaN when none has both.

    Raises:
        DataError: no run, NaN among the scores, unequal shapes, or other labels.
        UsageError: level outside 0..1.

    Source: the covariance of several findings as in Obuchowski, Biometrics 1997. Differs: with the mean of findings one
    factor c / (c - 1) over all c patients, where she has one for each class.
    """
    scores = _each_run(runs)
    if any(s.shape != labels.shape for s in scores):
        raise DataError(f"runs {runs.shape}, labels {labels.shape}", "one score per run and label")
    same_length(len(labels), len(clusters), "clusters")
    truth, values = known_labels(labels), finite_scores(runs)
    usable = [j for j, y in enumerate(truth.T) if (y == 0).any() and (y == 1).any()]
    codes = cluster_codes(clusters)
    patients = int(codes.max()) + 1
    if not usable or patients < 2:
        unknown = np.full(len(runs), math.nan)
        return split_variance(unknown, np.full((len(runs), len(runs)), math.nan), level=level)
    areas = [[rank(s[:, j], truth[:, j]).auroc for j in usable] for s in values]
    moved = [auroc_influence(values[:, :, j].T, truth[:, j], codes, patients) for j in usable]
    influence = np.mean(moved, axis=0)
    covariance = influence.T @ influence * patients / (patients - 1)
    return split_variance(np.mean(areas, axis=1), covariance, level=level)


def mean_run_variances(values: Float[np.ndarray, "s n"], clusters: Clusters, *, level: float = 0.95) -> RunVariances:
    """`split_variance` of a mean of per-image values (hits, errors).

    Args:
        values: of each run; NaN in any run leaves the image out.
        clusters: the patient of each image.
        level: 0..1.

    Returns:
        In the unit of the values; NaN without any.

    Raises:
        DataError: unequal lengths.
        UsageError: level outside 0..1.
    """
    same_length(values.shape[1], len(clusters), "clusters")
    known = ~np.isnan(values).any(axis=0)
    kept = values[:, known].astype(np.float64)
    codes = cluster_codes(np.asarray(clusters)[known])
    patients = int(codes.max()) + 1 if len(codes) else 0
    if patients < 2:
        means = kept.mean(axis=1) if kept.size else np.full(len(values), math.nan)
        return split_variance(means, np.full((len(values), len(values)), math.nan), level=level)
    means = kept.mean(axis=1)
    influence = np.zeros((patients, len(values)))
    np.add.at(influence, codes, (kept - means[:, None]).T / kept.shape[1])
    return split_variance(means, influence.T @ influence * patients / (patients - 1), level=level)


def _each_run(runs: Real[np.ndarray, "s n k"]) -> list[Real[np.ndarray, "n k"]]:
    if runs.ndim != 3 or not len(runs):
        raise DataError(f"runs of shape {runs.shape}", "[runs, images, findings], at least one run")
    return list(runs)


def _run_weights(runs: int, draws: int, rng: np.random.Generator) -> Float64[np.ndarray, "b s"]:
    """How much each run counts in each draw: as often as it was drawn, summing to 1."""
    return rng.multinomial(runs, np.full(runs, 1 / runs), size=draws) / runs


def _runs_note(runs: int) -> str:
    """What an interval's method adds where runs were drawn."""
    return f" of patients and of {runs} runs" if runs > 1 else ""


def _jackknives(
    estimates: Float64[np.ndarray, "s"], left_out: Float64[np.ndarray, "c s"] | None
) -> list[Float64[np.ndarray, "x"]] | None:
    """The mean over runs without each patient, and without each run where there are several."""
    if left_out is None:
        return None
    runs = len(estimates)
    without_run = [(estimates.sum() - estimates) / (runs - 1)] if runs > 1 else []
    return [left_out.mean(axis=1), *without_run]
