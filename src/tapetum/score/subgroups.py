"""One model, several groups of patients: each group's number, the gap between them, and what chance alone would give.

All groups are measured on the same draws of patients. A group that is too small to say anything is named, and its
number withheld. The largest difference among several noisy numbers is never 0: read a gap beside its `chance` and its p
value, for which patients exchange groups.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Integer, Real

from tapetum.core.errors import DataError, UsageError
from tapetum.core.types import Interval
from tapetum.score.exchanges import exchanged_groups
from tapetum.score.inputs import finite_scores, known_labels, same_length
from tapetum.score.stats.bounds import Clusters, drawn_interval
from tapetum.score.stats.draws import auroc_draws, cluster_weights, mean_draws
from tapetum.score.stats.permutation import permutation_p_value
from tapetum.score.stats.sample_size import Verdict, auroc_verdict, sensitivity_verdict

Groups = Mapping[str, Bool[np.ndarray, "n"]]
_Measured = Callable[[Integer[np.ndarray, "b n"]], Float64[np.ndarray, "b"]]


@dataclass(frozen=True)
class Resampling:
    """How often patients are drawn and groups exchanged, and how much a group must have to be told.

    Args:
        draws: of the patient-cluster bootstrap. exchanges: of groups between patients, for p and `chance`; 0 = none.
        half_width: a group is too small where a wider interval than ± this is to be expected. level: of the intervals.
        beside: groups that are shown and not compared, such as those of whom nothing is known.
    """

    draws: int = 2000
    exchanges: int = 1000
    half_width: float = 0.1
    level: float = 0.95
    beside: tuple[str, ...] = ("unknown",)


@dataclass(frozen=True)
class GroupValue:
    """A group's number.

    Attributes:
        images, patients, positives: of the labelled images. interval: NaN where the group is too small.
        verdict: whether it says something; its text begins with "enough" or "too few to say".
    """

    name: str
    images: int
    patients: int
    positives: int
    interval: Interval
    verdict: Verdict


@dataclass(frozen=True)
class Gap:
    """The best group's number minus the worst one's; NaN with fewer than two groups to compare.

    Attributes:
        interval: not negative; the bounds are those of the difference of these two groups, and may be. chance: the mean
            gap after groups were exchanged between patients. p_value: share of exchanges with a gap as large.
        worst, best: their names, empty where nothing could be compared.
    """

    interval: Interval
    chance: float
    p_value: float
    worst: str = ""
    best: str = ""


@dataclass(frozen=True)
class Subgroups:
    """One quantity across the groups of one attribute.

    Attributes:
        groups: the worst first; those shown beside them and those too small stand last. overall: of all images.
        equity_scaled: of an AUROC, overall / (1 + sum of the groups' distances from it); NaN for other quantities.
    """

    groups: tuple[GroupValue, ...]
    overall: Interval
    gap: Gap
    equity_scaled: Interval

    def __getitem__(self, name: str) -> GroupValue:
        """The group of this name.

        Raises:
            KeyError: none has it.
        """
        for group in self.groups:
            if group.name == name:
                return group
        raise KeyError(name)


def subgroup_aurocs(
    scores: Real[np.ndarray, "n"],
    labels: Real[np.ndarray, "n"] | Bool[np.ndarray, "n"],
    groups: Groups,
    clusters: Clusters,
    *,
    rng: np.random.Generator,
    resampling: Resampling = Resampling(),
) -> Subgroups:
    """AUROC within each group, the largest gap, and the equity-scaled AUROC.

    Args:
        scores: any range, higher = more likely positive.
        labels: 0, 1 or NaN (left out).
        groups: group → which images belong to it; no image in two.
        clusters: the patient of each image.
        rng: of draws and exchanges.
        resampling: how often, and how much is enough.

    Returns:
        AUROCs in 0..1, higher is better; the equity-scaled one at most the overall one, equal to it without gaps.

    Raises:
        DataError: NaN among the scores, unequal lengths, other labels, or an image in two groups.
        UsageError: draws below 1, exchanges below 0, or half_width not above 0.

    Source: Luo et al., Harvard-FairVision, arXiv 2310.02492 (equity-scaled AUROC); own: bounds of the gap from the pair
    of groups that were best and worst. Differs: too small groups take part in nothing; draws are of patients.
    """
    values, truth = finite_scores(scores), known_labels(labels)
    same_length(len(values), len(truth))

    def measured(weights: Integer[np.ndarray, "b n"]) -> Float64[np.ndarray, "b"]:
        return np.asarray(auroc_draws(values, truth, weights))

    def enough(mask: Bool[np.ndarray, "n"]) -> Verdict:
        who = np.asarray(clusters)[mask]
        return auroc_verdict(truth[mask], who, half_width=resampling.half_width, level=resampling.level)

    found = _across(measured, enough, truth, groups, clusters, rng, resampling, higher_is_better=True)
    return dataclasses.replace(found.public, equity_scaled=_equity(found, clusters, resampling.level))


def subgroup_shares(
    hits: Float[np.ndarray, "n"],
    groups: Groups,
    clusters: Clusters,
    *,
    rng: np.random.Generator,
    higher_is_better: bool,
    resampling: Resampling = Resampling(),
) -> Subgroups:
    """A share within each group: true positives among positives, false positives among negatives.

    Args:
        hits: 0 or 1 on the images that count, NaN on the others.
        groups: as for `subgroup_aurocs`.
        clusters: the patient of each image.
        rng: of draws and exchanges.
        higher_is_better: which group is the worst.
        resampling: how often, and how much is enough.

    Returns:
        Shares in 0..1; `positives` counts the images that count.

    Raises:
        DataError: unequal lengths, other values, or an image in two groups. UsageError: as `subgroup_aurocs`.
    """
    values = known_labels(hits)

    def enough(mask: Bool[np.ndarray, "n"]) -> Verdict:
        counts = np.where(np.isnan(values[mask]), np.nan, 1.0)
        who = np.asarray(clusters)[mask]
        return sensitivity_verdict(counts, who, half_width=resampling.half_width, level=resampling.level)

    counted = np.where(np.isnan(values), np.nan, 1.0)

    def measured(weights: Integer[np.ndarray, "b n"]) -> Float64[np.ndarray, "b"]:
        return mean_draws(values, weights)

    return _across(
        measured, enough, counted, groups, clusters, rng, resampling, higher_is_better=higher_is_better
    ).public


@dataclass(frozen=True)
class AtThreshold:
    """Decisions of several groups at one threshold.

    Attributes:
        sensitivity: shares found among the positives (a group's miss rate, underdiagnosis, is 1 minus it); its gap is
            the equal-opportunity difference. false_alarms: shares called among the negatives, lower is better.
        equalised_odds: the larger one of the two gaps.
    """

    sensitivity: Subgroups
    false_alarms: Subgroups

    @property
    def equalised_odds(self) -> Gap:
        """NaN where either gap is."""
        gaps = (self.sensitivity.gap, self.false_alarms.gap)
        if any(math.isnan(g.interval.estimate) for g in gaps):
            return next(g for g in gaps if math.isnan(g.interval.estimate))
        return max(gaps, key=lambda g: g.interval.estimate)


def subgroups_at(
    probs: Float[np.ndarray, "n"],
    labels: Real[np.ndarray, "n"] | Bool[np.ndarray, "n"],
    threshold: float,
    groups: Groups,
    clusters: Clusters,
    *,
    rng: np.random.Generator,
    resampling: Resampling = Resampling(),
) -> AtThreshold:
    """What one threshold, the same for everybody, gives in each group.

    Args:
        probs: any range, higher = more likely positive; `prob >= threshold` is called.
        labels: 0, 1 or NaN (left out).
        threshold: chosen on other data and for no group alone.
        groups: as for `subgroup_aurocs`.
        clusters: the patient of each image.
        rng: of draws and exchanges.
        resampling: how often, and how much is enough.

    Raises:
        DataError: as `subgroup_aurocs`. UsageError: a threshold that is NaN, or as `subgroup_aurocs`.

    Source: Hardt, Price and Srebro, NeurIPS 2016 (equal opportunity, equalised odds); Seyyed-Kalantari et al., Nature
    Medicine 2021 (underdiagnosis). Differs: intervals over patients; p by exchange.
    """
    if math.isnan(threshold):
        raise UsageError("the threshold is NaN: none was chosen", "a number chosen on validation data")
    values, truth = finite_scores(probs), known_labels(labels)
    same_length(len(values), len(truth))
    called = (values >= threshold).astype(np.float64)
    return AtThreshold(
        subgroup_shares(
            np.where(truth == 1, called, np.nan), groups, clusters, rng=rng, higher_is_better=True,
            resampling=resampling,
        ),
        subgroup_shares(
            np.where(truth == 0, called, np.nan), groups, clusters, rng=rng, higher_is_better=False,
            resampling=resampling,
        ),
    )  # fmt: skip


@dataclass(frozen=True)
class _Found:
    """The result with its draws: `[b]` overall, `[b g]` of the compared groups in their given order."""

    public: Subgroups
    compared: tuple[str, ...]
    overall: Float64[np.ndarray, "b"]
    drawn: Float64[np.ndarray, "b g"]


def _across(
    measured: _Measured,
    enough: Callable[[Bool[np.ndarray, "n"]], Verdict],
    labels: Float64[np.ndarray, "n"],
    groups: Groups,
    clusters: Clusters,
    rng: np.random.Generator,
    how: Resampling,
    *,
    higher_is_better: bool,
) -> _Found:
    _check(groups, len(labels), clusters, how)
    masks = {name: np.asarray(mask, bool) for name, mask in groups.items()}
    verdicts = {name: enough(mask) for name, mask in masks.items()}
    told = [name for name in masks if verdicts[name].enough]
    compared = tuple(name for name in told if name not in how.beside)
    everyone = np.ones((1, len(labels)), np.uint8)
    points = {name: float(measured(everyone * masks[name])[0]) for name in told}
    whole, parts = list[np.ndarray](), list[np.ndarray]()
    for weights in cluster_weights(clusters, how.draws, rng):
        whole.append(measured(weights))
        parts.append(np.stack([measured(_within(weights, masks[g])) for g in told] or [whole[-1]], axis=1))
    overall, drawn = np.concatenate(whole), np.concatenate(parts)
    column = {name: i for i, name in enumerate(told)}
    values: list[GroupValue] = []
    for name, mask in masks.items():
        who = np.asarray(clusters)[mask & ~np.isnan(labels)]
        interval = Interval(math.nan, math.nan, math.nan, verdicts[name].text, how.level)
        if name in column:
            mine = np.asarray(clusters)[mask]
            interval = drawn_interval(points[name], drawn[:, column[name]], mine, level=how.level)
        positives = int((labels[mask] == 1).sum())
        values.append(GroupValue(name, len(who), len(set(who.tolist())), positives, interval, verdicts[name]))
    sign = 1 if higher_is_better else -1
    last = {v.name: (v.name not in column, v.name in how.beside, sign * points.get(v.name, 0.0)) for v in values}
    values.sort(key=lambda v: last[v.name])
    kept = drawn[:, [column[g] for g in compared]]
    gap = _gap(points, compared, kept, clusters, sign, how)
    if gap.worst and how.exchanges:
        null = _exchanged(measured, masks, compared, labels, clusters, rng, how.exchanges)
        if len(null):
            p = permutation_p_value(gap.interval.estimate - 1e-12, null)
            gap = dataclasses.replace(gap, chance=float(null.mean()), p_value=p)
    point = drawn_interval(float(measured(everyone)[0]), overall, clusters, level=how.level)
    nothing = Interval(math.nan, math.nan, math.nan, "not defined for shares", how.level)
    return _Found(Subgroups(tuple(values), point, gap, nothing), compared, overall, kept)


def _check(groups: Groups, n: int, clusters: Clusters, how: Resampling) -> None:
    same_length(n, len(clusters), "clusters")
    for name, mask in groups.items():
        same_length(n, len(mask), f"rows of the group {name!r}")
    if groups and np.sum([np.asarray(m, np.int64) for m in groups.values()], axis=0).max(initial=0) > 1:
        raise DataError("an image in two groups", "groups that do not overlap")
    if how.exchanges < 0:
        raise UsageError(f"exchanges={how.exchanges}", "0 or more")


def _within(weights: Integer[np.ndarray, "b n"], mask: Bool[np.ndarray, "n"]) -> Integer[np.ndarray, "b n"]:
    return (weights.T * mask[:, None]).T  # stored image by image, as `auroc_draws` wants it


def _gap(
    points: Mapping[str, float],
    compared: Sequence[str],
    drawn: Float64[np.ndarray, "b g"],
    clusters: Clusters,
    sign: int,
    how: Resampling,
) -> Gap:
    if len(compared) < 2:
        why = f"too few to say: {len(compared)} group with enough patients, at least 2 are compared"
        return Gap(Interval(math.nan, math.nan, math.nan, why, how.level), math.nan, math.nan)
    order = sorted(range(len(compared)), key=lambda i: sign * points[compared[i]])
    worst, best = order[0], order[-1]
    apart = abs(points[compared[best]] - points[compared[worst]])
    interval = drawn_interval(apart, sign * (drawn[:, best] - drawn[:, worst]), clusters, level=how.level)
    return Gap(interval, math.nan, math.nan, compared[worst], compared[best])


def _exchanged(
    measured: _Measured,
    masks: Groups,
    compared: Sequence[str],
    labels: Float64[np.ndarray, "n"],
    clusters: Clusters,
    rng: np.random.Generator,
    exchanges: int,
) -> Float64[np.ndarray, "b"]:
    """Gaps after patients have exchanged groups; undefined ones are left out."""
    group = np.full(len(labels), -1)
    for number, name in enumerate(compared):
        group[masks[name]] = number
    rows = np.flatnonzero((group >= 0) & ~np.isnan(labels))
    gaps = list[np.ndarray]()
    for dealt in exchanged_groups(
        group[rows], labels[rows], np.asarray(clusters)[rows], rng=rng, exchanges=exchanges
    ):  # fmt: skip
        found = np.empty((len(dealt), len(compared)))
        for number in range(len(compared)):
            weights = np.zeros((len(labels), len(dealt)), np.uint8)
            weights[rows] = (dealt == number).T
            found[:, number] = measured(weights.T)
        gaps.append(found.max(axis=1) - found.min(axis=1))
    null = np.concatenate(gaps)
    return null[~np.isnan(null)]


def _equity(found: _Found, clusters: Clusters, level: float) -> Interval:
    """AUROC / (1 + sum of |AUROC - AUROC of the group|) over the compared groups, on the same draws."""
    names, overall = found.compared, found.public.overall.estimate
    if len(names) < 2:
        return Interval(math.nan, math.nan, math.nan, found.public.gap.interval.method, level)
    points = np.array([found.public[name].interval.estimate for name in names])
    drawn = found.overall / (1 + np.abs(found.drawn - found.overall[:, None]).sum(axis=1))
    estimate = overall / (1 + np.abs(points - overall).sum())
    return drawn_interval(float(estimate), drawn, clusters, level=level)
