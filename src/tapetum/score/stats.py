"""Intervals and tests by resampling patients, and the permutation p value.

Images of one patient are not independent: every draw takes whole patients. Draws in which a quantity is undefined (a
class is absent) are left out, counted, and named in `Interval.method`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float64, Real

from tapetum.core.errors import DataError, UsageError
from tapetum.core.types import Interval
from tapetum.score.draws import auroc_draws, cluster_weights, mean_draws
from tapetum.score.inputs import finite_scores, known_labels, same_length
from tapetum.score.ranking import rank

Clusters = Sequence[Hashable] | np.ndarray
FEWEST = 0.5  # bounds are given only if at least this share of the draws is defined


@dataclass(frozen=True)
class PairedDifference:
    """The difference of two methods on the same images.

    Attributes:
        interval: first minus second; above 0, the first is better. p_value: two-sided, NaN when undefined.
    """

    interval: Interval
    p_value: float

    def __str__(self) -> str:
        return f"{self.interval}, p = {self.p_value:.3g}"


def auroc_interval(
    scores: Real[np.ndarray, "n"],
    labels: Real[np.ndarray, "n"] | Bool[np.ndarray, "n"],
    clusters: Clusters,
    *,
    rng: np.random.Generator,
    draws: int = 2000,
    level: float = 0.95,
) -> Interval:
    """AUROC with a percentile interval over draws of patients.

    Args:
        scores: any range, higher = more likely positive.
        labels: 0, 1 or NaN (left out).
        clusters: the patient of each image.
        rng: the generator; the same state gives the same draws.
        draws: number of bootstrap draws.
        level: confidence level, between 0 and 1.

    Returns:
        0..1, 0.5 by chance; NaN when a class is absent, bounds NaN with one patient only or when more than half of the
        draws miss a class.

    Raises:
        DataError: NaN among the scores, unequal lengths, or other labels.
        UsageError: draws below 1, level outside 0..1.

    Example:
        >>> scores, labels = np.array([0.1, 0.4, 0.3, 0.9]), np.array([0, 0, 1, 1])
        >>> auroc_interval(scores, labels, ["a", "b", "c", "d"], rng=np.random.default_rng(0)).estimate
        0.75
    """
    if scores.ndim != 1:
        raise DataError(f"scores of shape {scores.shape}", "[n]", "macro_auroc_interval takes [n k]")
    return macro_auroc_interval(scores[:, None], labels[:, None], clusters, rng=rng, draws=draws, level=level)


def macro_auroc_interval(
    scores: Real[np.ndarray, "n k"],
    labels: Real[np.ndarray, "n k"] | Bool[np.ndarray, "n k"],
    clusters: Clusters,
    *,
    rng: np.random.Generator,
    draws: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Mean AUROC over findings, all of them on the same draws of patients.

    A finding that lacks a class in a draw is left out of that draw's mean; one that lacks it in all images is left out
    altogether. Both are counted in `Interval.method`.

    Args:
        scores: any range, higher = more likely positive.
        labels: 0, 1 or NaN (that image is left out of that finding).
        clusters: the patient of each image.
        rng: the generator; the same state gives the same draws.
        draws: number of bootstrap draws.
        level: confidence level, between 0 and 1.

    Returns:
        0..1, 0.5 by chance; NaN when no finding has both classes, bounds NaN with one patient only.

    Raises:
        DataError: NaN among the scores, unequal shapes, or other labels.
        UsageError: draws below 1, level outside 0..1.
    """
    estimate, drawn, note = _macro([scores], labels, clusters, rng, draws)
    return _percentile(float(estimate[0]), drawn[:, 0], clusters, level, note)


def paired_auroc_difference(
    scores_a: Real[np.ndarray, "n"] | Real[np.ndarray, "n k"],
    scores_b: Real[np.ndarray, "n"] | Real[np.ndarray, "n k"],
    labels: Real[np.ndarray, "n"] | Real[np.ndarray, "n k"] | Bool[np.ndarray, "n"] | Bool[np.ndarray, "n k"],
    clusters: Clusters,
    *,
    rng: np.random.Generator,
    draws: int = 2000,
    level: float = 0.95,
) -> PairedDifference:
    """AUROC of a minus AUROC of b on the same draws of patients; `[n k]` gives the difference of the macro means.

    Args:
        scores_a: the first method, any range.
        scores_b: the second method on the same images, any range.
        labels: 0, 1 or NaN (left out).
        clusters: the patient of each image.
        rng: the generator; the same state gives the same draws.
        draws: number of bootstrap draws.
        level: confidence level, between 0 and 1.

    Returns:
        Difference with percentile bounds; p is twice the smaller share of draws on either side of 0, with the +1 rule,
        so that it never falls below 2 / (draws + 1).

    Raises:
        DataError: NaN among the scores, unequal shapes, or other labels.
        UsageError: draws below 1, level outside 0..1.
    """
    if not scores_a.shape == scores_b.shape == labels.shape:
        raise DataError(f"shapes {scores_a.shape}, {scores_b.shape}, labels {labels.shape}", "three equal shapes")
    a, b, truth = (x[:, None] if x.ndim == 1 else x for x in (scores_a, scores_b, labels))
    estimate, drawn, note = _macro([a, b], truth, clusters, rng, draws)
    apart = drawn[:, 0] - drawn[:, 1]
    return _paired(_percentile(float(estimate[0] - estimate[1]), apart, clusters, level, note), apart)


def runs_auroc_interval(
    runs: Real[np.ndarray, "s n k"],
    labels: Real[np.ndarray, "n k"] | Bool[np.ndarray, "n k"],
    clusters: Clusters,
    *,
    rng: np.random.Generator,
    draws: int = 2000,
    level: float = 0.95,
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

    Returns:
        0..1, 0.5 by chance; NaN when no finding has both classes, bounds NaN with one patient only.

    Raises:
        DataError: no run, NaN among the scores, unequal shapes, or other labels.
        UsageError: draws below 1, level outside 0..1.
    """
    estimate, drawn, note = _macro(_each_run(runs), labels, clusters, rng, draws)
    mean = (drawn * _run_weights(len(runs), len(drawn), rng)).sum(axis=1)
    return _percentile(float(estimate.mean()), mean, clusters, level, f"{_runs_note(len(runs))}{note}")


def paired_runs_difference(
    runs_a: Real[np.ndarray, "s n k"],
    runs_b: Real[np.ndarray, "s n k"],
    labels: Real[np.ndarray, "n k"] | Bool[np.ndarray, "n k"],
    clusters: Clusters,
    *,
    rng: np.random.Generator,
    draws: int = 2000,
    level: float = 0.95,
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

    Returns:
        As `paired_auroc_difference`.

    Raises:
        DataError: no run, NaN among the scores, unequal shapes, or other labels.
        UsageError: draws below 1, level outside 0..1.
    """
    if runs_a.shape != runs_b.shape:
        raise DataError(f"runs of shapes {runs_a.shape} and {runs_b.shape}", "the same runs of both methods")
    number = len(runs_a)
    estimate, drawn, note = _macro([*_each_run(runs_a), *_each_run(runs_b)], labels, clusters, rng, draws)
    apart = ((drawn[:, :number] - drawn[:, number:]) * _run_weights(number, len(drawn), rng)).sum(axis=1)
    whole = float(estimate[:number].mean() - estimate[number:].mean())
    return _paired(_percentile(whole, apart, clusters, level, f"{_runs_note(number)}{note}"), apart)


def bootstrap_interval(
    metric: Callable[..., float],
    arrays: Sequence[np.ndarray],
    clusters: Clusters,
    *,
    rng: np.random.Generator,
    draws: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Any metric with a percentile interval over draws of patients; each draw calls the metric once.

    Args:
        metric: `metric(*arrays) -> float`, for example a built member of the family of metrics; NaN where undefined.
        arrays: probabilities, labels, …: one row per image each.
        clusters: the patient of each image.
        rng: the generator; the same state gives the same draws.
        draws: number of bootstrap draws.
        level: confidence level, between 0 and 1.

    Returns:
        The metric's value and unit; bounds NaN with one patient only or when more than half of the draws are undefined.

    Raises:
        DataError: arrays of unequal length, or what the metric refuses.
        UsageError: draws below 1, level outside 0..1.

    Example:
        >>> values = np.array([1.0, 2.0, 3.0])
        >>> bootstrap_interval(np.mean, [values], ["a", "b", "c"], rng=np.random.default_rng(0), draws=200).estimate
        2.0
    """
    for array in arrays:
        same_length(len(array), len(clusters), "clusters")
    drawn = [
        float(metric(*(array[rows] for array in arrays)))
        for block in cluster_weights(clusters, draws, rng)
        for rows in (np.repeat(np.arange(len(weights)), weights) for weights in block)
    ]
    return _percentile(float(metric(*arrays)), np.array(drawn), clusters, level, "")


def mean_interval(
    values: Float[np.ndarray, "n"],
    clusters: Clusters,
    *,
    rng: np.random.Generator,
    draws: int = 2000,
    level: float = 0.95,
) -> Interval:
    """The mean of per-image values (recall hits, errors) with a percentile interval over draws of patients.

    Args:
        values: NaN = left out.
        clusters: the patient of each value.
        rng: the generator; the same state gives the same draws.
        draws: number of bootstrap draws.
        level: confidence level, between 0 and 1.

    Returns:
        In the unit of the values; NaN without any.

    Raises:
        DataError: unequal lengths.
        UsageError: draws below 1, level outside 0..1.
    """
    same_length(len(values), len(clusters), "clusters")
    known = values[~np.isnan(values)]
    drawn = np.concatenate([mean_draws(values, block) for block in cluster_weights(clusters, draws, rng)])
    estimate = float(known.mean(dtype=np.float64)) if len(known) else math.nan
    return _percentile(estimate, drawn, clusters, level, "")


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


def _paired(interval: Interval, apart: Float64[np.ndarray, "b"]) -> PairedDifference:
    """The difference with its two-sided p, from the drawn differences."""
    if math.isnan(interval.low):
        return PairedDifference(interval, math.nan)
    known = apart[~np.isnan(apart)]
    sides = [(1 + int((known <= 0).sum())), (1 + int((known >= 0).sum()))]
    return PairedDifference(interval, min(1.0, 2 * min(sides) / (len(known) + 1)))


def _each_run(runs: Real[np.ndarray, "s n k"]) -> list[Real[np.ndarray, "n k"]]:
    if runs.ndim != 3 or not len(runs):
        raise DataError(f"runs of shape {runs.shape}", "[runs, images, findings], at least one run")
    return list(runs)


def _run_weights(runs: int, draws: int, rng: np.random.Generator) -> Float64[np.ndarray, "b s"]:
    """How much each run counts in each draw: as often as it was drawn, summing to 1."""
    return rng.multinomial(runs, np.full(runs, 1 / runs), size=draws) / runs


def _runs_note(runs: int) -> str:
    return f" of patients and of {runs} runs" if runs > 1 else ""


def _macro(
    methods: Sequence[Real[np.ndarray, "n k"]],
    labels: Real[np.ndarray, "n k"] | Bool[np.ndarray, "n k"],
    clusters: Clusters,
    rng: np.random.Generator,
    draws: int,
) -> tuple[Float64[np.ndarray, "m"], Float64[np.ndarray, "draws m"], str]:
    """Estimates and draws of each method's mean over the columns, and what to say of columns left out."""
    if any(scores.shape != labels.shape for scores in methods):
        raise DataError(f"scores {methods[0].shape}, labels {labels.shape}", "one score per label")
    same_length(len(labels), len(clusters), "clusters")
    truth, values = known_labels(labels), [finite_scores(scores) for scores in methods]
    usable = [j for j, y in enumerate(truth.T) if (y == 0).any() and (y == 1).any()]
    points = [[rank(scores[:, j], truth[:, j]).auroc for j in usable] for scores in values]
    estimate = np.array([np.mean(p) if p else math.nan for p in points])
    parts: list[Float64[np.ndarray, "b m"]] = []
    missing = 0
    for block in cluster_weights(clusters, draws, rng):
        total, columns = np.zeros((len(block), len(methods))), np.zeros((len(block), 1))
        for j in usable:
            drawn = auroc_draws(np.stack([v[:, j] for v in values], axis=1), truth[:, j], block)
            defined = ~np.isnan(drawn[:, :1])
            missing += int((~defined).sum())
            total += np.where(defined, drawn, 0.0)
            columns += defined
        parts.append(np.divide(total, columns, out=np.full(total.shape, np.nan), where=columns > 0))
    note = (
        "" if len(usable) == truth.shape[1] else f", mean over the {len(usable)} of {truth.shape[1]} with both classes"
    )
    if missing and truth.shape[1] > 1:
        note += f", a class absent {missing} times in {draws} x {len(usable)}"
    return estimate, np.concatenate(parts), note


def _percentile(
    estimate: float, drawn: Float64[np.ndarray, "b"], clusters: Clusters, level: float, note: str
) -> Interval:
    """The middle `level` of the defined draws."""
    if not 0 < level < 1:
        raise UsageError(f"level={level}", "a level between 0 and 1, for example 0.95")
    method = f"patient-cluster bootstrap, {len(drawn)} draws, percentile{note}"
    known = drawn[~np.isnan(drawn)]
    if len(known) < len(drawn):
        method += f", {len(drawn) - len(known)} undefined draws left out"
    patients = len(set(np.asarray(clusters).tolist()))
    if math.isnan(estimate) or patients < 2 or len(known) < FEWEST * len(drawn):
        if patients < 2:
            method += ", one patient only: no bounds"
        return Interval(estimate, math.nan, math.nan, method, level)
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate, float(low), float(high), method, level)
