"""Intervals and tests by resampling patients.

Images of one patient are not independent: every draw takes whole patients. Draws in which a quantity is undefined (a
class is absent) are left out, counted, and named in `Interval.method`. Every function takes `bounds`: `percentile`, or
`bca` (bias-corrected and accelerated), which costs one more draw per patient and follows a skewed statistic further.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Integer, Real

from tapetum.core.errors import DataError
from tapetum.core.types import Interval
from tapetum.score.inputs import finite_scores, known_labels, same_length
from tapetum.score.ranking import rank
from tapetum.score.stats.bounds import (
    Bounds,
    Clusters,
    PairedDifference,
    check_bounds,
    drawn_difference,
    drawn_interval,
)
from tapetum.score.stats.draws import auroc_draws, cluster_weights, jackknife_weights, mean_draws


def auroc_interval(
    scores: Real[np.ndarray, "n"],
    labels: Real[np.ndarray, "n"] | Bool[np.ndarray, "n"],
    clusters: Clusters,
    *,
    rng: np.random.Generator,
    draws: int = 2000,
    level: float = 0.95,
    bounds: Bounds = "percentile",
) -> Interval:
    """AUROC with an interval over draws of patients.

    Args:
        scores: any range, higher = more likely positive.
        labels: 0, 1 or NaN (left out).
        clusters: the patient of each image.
        rng: the generator; the same state gives the same draws.
        draws: number of bootstrap draws.
        level: confidence level, between 0 and 1.
        bounds: `percentile` or `bca`.

    Returns:
        0..1, 0.5 by chance; NaN when a class is absent, bounds NaN with one patient only or when more than half of the
        draws miss a class.

    Raises:
        DataError: NaN among the scores, unequal lengths, or other labels.
        UsageError: draws below 1, level outside 0..1, unknown bounds.

    Example:
        >>> scores, labels = np.array([0.1, 0.4, 0.3, 0.9]), np.array([0, 0, 1, 1])
        >>> auroc_interval(scores, labels, ["a", "b", "c", "d"], rng=np.random.default_rng(0)).estimate
        0.75
    """
    if scores.ndim != 1:
        raise DataError(f"scores of shape {scores.shape}", "[n]", "macro_auroc_interval takes [n k]")
    return macro_auroc_interval(
        scores[:, None], labels[:, None], clusters, rng=rng, draws=draws, level=level, bounds=bounds
    )


def macro_auroc_interval(
    scores: Real[np.ndarray, "n k"],
    labels: Real[np.ndarray, "n k"] | Bool[np.ndarray, "n k"],
    clusters: Clusters,
    *,
    rng: np.random.Generator,
    draws: int = 2000,
    level: float = 0.95,
    bounds: Bounds = "percentile",
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
        bounds: `percentile` or `bca`.

    Returns:
        0..1, 0.5 by chance; NaN when no finding has both classes, bounds NaN with one patient only.

    Raises:
        DataError: NaN among the scores, unequal shapes, or other labels.
        UsageError: draws below 1, level outside 0..1, unknown bounds.
    """
    macro = macro_draws([scores], labels, clusters, rng=rng, draws=draws, bounds=bounds)
    jackknives = None if macro.left_out is None else [macro.left_out[:, 0]]
    estimate, drawn = float(macro.estimates[0]), macro.drawn[:, 0]
    return drawn_interval(estimate, drawn, clusters, level=level, jackknives=jackknives, note=macro.note)


def paired_auroc_difference(
    scores_a: Real[np.ndarray, "n"] | Real[np.ndarray, "n k"],
    scores_b: Real[np.ndarray, "n"] | Real[np.ndarray, "n k"],
    labels: Real[np.ndarray, "n"] | Real[np.ndarray, "n k"] | Bool[np.ndarray, "n"] | Bool[np.ndarray, "n k"],
    clusters: Clusters,
    *,
    rng: np.random.Generator,
    draws: int = 2000,
    level: float = 0.95,
    bounds: Bounds = "percentile",
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
        bounds: `percentile` or `bca`.

    Returns:
        Difference; with percentile bounds p is twice the smaller share of draws on either side of 0, with the +1 rule,
        so that it never falls below 2 / (draws + 1); with BCa it is the level at which a bound touches 0.

    Raises:
        DataError: NaN among the scores, unequal shapes, or other labels.
        UsageError: draws below 1, level outside 0..1, unknown bounds.
    """
    if not scores_a.shape == scores_b.shape == labels.shape:
        raise DataError(f"shapes {scores_a.shape}, {scores_b.shape}, labels {labels.shape}", "three equal shapes")
    a, b, truth = (x[:, None] if x.ndim == 1 else x for x in (scores_a, scores_b, labels))
    macro = macro_draws([a, b], truth, clusters, rng=rng, draws=draws, bounds=bounds)
    jackknives = None if macro.left_out is None else [macro.left_out[:, 0] - macro.left_out[:, 1]]
    estimate, apart = float(macro.estimates[0] - macro.estimates[1]), macro.drawn[:, 0] - macro.drawn[:, 1]
    return drawn_difference(estimate, apart, clusters, level=level, jackknives=jackknives, note=macro.note)


def bootstrap_interval(
    metric: Callable[..., float],
    arrays: Sequence[np.ndarray],
    clusters: Clusters,
    *,
    rng: np.random.Generator,
    draws: int = 2000,
    level: float = 0.95,
    bounds: Bounds = "percentile",
) -> Interval:
    """Any metric with an interval over draws of patients; each draw calls the metric once.

    Args:
        metric: `metric(*arrays) -> float`, for example a built member of the family of metrics; NaN where undefined.
        arrays: probabilities, labels, …: one row per image each.
        clusters: the patient of each image.
        rng: the generator; the same state gives the same draws.
        draws: number of bootstrap draws.
        level: confidence level, between 0 and 1.
        bounds: `percentile` or `bca`.

    Returns:
        The metric's value and unit; bounds NaN with one patient only or when more than half of the draws are undefined.

    Raises:
        DataError: arrays of unequal length, or what the metric refuses.
        UsageError: draws below 1, level outside 0..1, unknown bounds.

    Example:
        >>> values = np.array([1.0, 2.0, 3.0])
        >>> bootstrap_interval(np.mean, [values], ["a", "b", "c"], rng=np.random.default_rng(0), draws=200).estimate
        2.0
    """
    for array in arrays:
        same_length(len(array), len(clusters), "clusters")

    def measured(block: Integer[np.ndarray, "b n"]) -> Float64[np.ndarray, "b"]:
        rows = (np.repeat(np.arange(len(weights)), weights) for weights in block)
        return np.array([float(metric(*(array[taken] for array in arrays))) for taken in rows])

    drawn, left_out = resample(measured, clusters, draws, rng, bounds)
    jackknives = None if left_out is None else [left_out]
    return drawn_interval(float(metric(*arrays)), drawn, clusters, level=level, jackknives=jackknives)


def mean_interval(
    values: Float[np.ndarray, "n"],
    clusters: Clusters,
    *,
    rng: np.random.Generator,
    draws: int = 2000,
    level: float = 0.95,
    bounds: Bounds = "percentile",
) -> Interval:
    """The mean of per-image values (recall hits, errors) with an interval over draws of patients.

    Args:
        values: NaN = left out.
        clusters: the patient of each value.
        rng: the generator; the same state gives the same draws.
        draws: number of bootstrap draws.
        level: confidence level, between 0 and 1.
        bounds: `percentile` or `bca`.

    Returns:
        In the unit of the values; NaN without any.

    Raises:
        DataError: unequal lengths.
        UsageError: draws below 1, level outside 0..1, unknown bounds.
    """
    same_length(len(values), len(clusters), "clusters")
    known = values[~np.isnan(values)]
    estimate = float(known.mean(dtype=np.float64)) if len(known) else math.nan
    drawn, left_out = resample(lambda block: mean_draws(values, block), clusters, draws, rng, bounds)
    jackknives = None if left_out is None else [left_out]
    return drawn_interval(estimate, drawn, clusters, level=level, jackknives=jackknives)


@dataclass(frozen=True)
class MacroDraws:
    """Mean AUROC over the findings of several methods, and the same in every draw of patients.

    Attributes:
        estimates: `[m]`, one per method. drawn: `[draws m]`. left_out: `[patients m]`, each patient left out once; None
            unless BCa needs it. note: what to say of findings and draws left out.
    """

    estimates: Float64[np.ndarray, "m"]
    drawn: Float64[np.ndarray, "draws m"]
    left_out: Float64[np.ndarray, "c m"] | None
    note: str


def macro_draws(
    methods: Sequence[Real[np.ndarray, "n k"]],
    labels: Real[np.ndarray, "n k"] | Bool[np.ndarray, "n k"],
    clusters: Clusters,
    *,
    rng: np.random.Generator,
    draws: int,
    bounds: Bounds = "percentile",
) -> MacroDraws:
    """Several methods on the same draws of patients; what the functions above and `runs` are made of.

    Args:
        methods: scores of each, any range.
        labels: 0, 1 or NaN.
        clusters: the patient of each image.
        rng: the generator.
        draws: number of bootstrap draws.
        bounds: `bca` leaves each patient out once, too.

    Raises:
        DataError: NaN among the scores, unequal shapes, or other labels.
        UsageError: draws below 1, unknown bounds.
    """
    check_bounds(bounds)
    if any(scores.shape != labels.shape for scores in methods):
        raise DataError(f"scores {methods[0].shape}, labels {labels.shape}", "one score per label")
    same_length(len(labels), len(clusters), "clusters")
    truth, values = known_labels(labels), [finite_scores(scores) for scores in methods]
    usable = [j for j, y in enumerate(truth.T) if (y == 0).any() and (y == 1).any()]
    points = [[rank(scores[:, j], truth[:, j]).auroc for j in usable] for scores in values]
    columns = [(np.stack([v[:, j] for v in values], axis=1), truth[:, j]) for j in usable]
    parts, absent = zip(
        *(_column_means(columns, block, len(methods)) for block in cluster_weights(clusters, draws, rng)), strict=True
    )
    note = (
        "" if len(usable) == truth.shape[1] else f", mean over the {len(usable)} of {truth.shape[1]} with both classes"
    )
    if sum(absent) and truth.shape[1] > 1:
        note += f", a class absent {sum(absent)} times in {draws} x {len(usable)}"
    left_out = None
    if bounds == "bca":
        left_out = np.concatenate([_column_means(columns, b, len(methods))[0] for b in jackknife_weights(clusters)])
    return MacroDraws(np.array([np.mean(p) if p else math.nan for p in points]), np.concatenate(parts), left_out, note)


def _column_means(
    columns: Sequence[tuple[Float64[np.ndarray, "n m"], Float64[np.ndarray, "n"]]],
    block: Integer[np.ndarray, "b n"],
    methods: int,
) -> tuple[Float64[np.ndarray, "b m"], int]:
    """Mean AUROC over the columns that have both classes in a draw, and how often one had not."""
    total, defined = np.zeros((len(block), methods)), np.zeros((len(block), 1))
    for scores, labels in columns:
        drawn = auroc_draws(scores, labels, block)
        known = ~np.isnan(drawn[:, :1])
        total += np.where(known, drawn, 0.0)
        defined += known
    means = np.divide(total, defined, out=np.full(total.shape, np.nan), where=defined > 0)
    return means, int(len(columns) * len(block) - defined.sum())


def resample(
    statistic: Callable[[Integer[np.ndarray, "b n"]], Float64[np.ndarray, "b *m"]],
    clusters: Clusters,
    draws: int,
    rng: np.random.Generator,
    bounds: Bounds,
) -> tuple[Float64[np.ndarray, "draws *m"], Float64[np.ndarray, "c *m"] | None]:
    """A statistic of weighted images in every draw of patients and, for BCa, with each patient left out.

    Args:
        statistic: `weights -> values`, one row per draw.
        clusters: the patient of each image.
        draws: number of draws.
        rng: the generator.
        bounds: what the draws are for.

    Raises:
        UsageError: draws below 1, unknown bounds.
    """
    check_bounds(bounds)
    drawn = np.concatenate([statistic(block) for block in cluster_weights(clusters, draws, rng)])
    if bounds == "percentile":
        return drawn, None
    return drawn, np.concatenate([statistic(block) for block in jackknife_weights(clusters)])
