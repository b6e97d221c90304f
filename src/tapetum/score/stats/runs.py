"""A method that was run several times (seeds, draws of shots): intervals that cover both runs and patients."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64, Real

from tapetum.core.errors import DataError
from tapetum.core.types import Interval
from tapetum.score.stats.bounds import Bounds, Clusters, PairedDifference, drawn_difference, drawn_interval
from tapetum.score.stats.intervals import macro_draws


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


def _each_run(runs: Real[np.ndarray, "s n k"]) -> list[Real[np.ndarray, "n k"]]:
    if runs.ndim != 3 or not len(runs):
        raise DataError(f"runs of shape {runs.shape}", "[runs, images, findings], at least one run")
    return list(runs)


def _run_weights(runs: int, draws: int, rng: np.random.Generator) -> Float64[np.ndarray, "b s"]:
    """How much each run counts in each draw: as often as it was drawn, summing to 1."""
    return rng.multinomial(runs, np.full(runs, 1 / runs), size=draws) / runs


def _runs_note(runs: int) -> str:
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
