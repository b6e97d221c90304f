"""One model's results group by group, and which groups its features can tell apart."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from tapetum.bench.groups import Groups
from tapetum.bench.tables.measures import Context
from tapetum.bench.trial import Scored
from tapetum.core.registry import Family
from tapetum.core.types import UNKNOWN, Embeddings, Interval, Record
from tapetum.learn.adapters import Adapter
from tapetum.score import auroc_interval
from tapetum.score.stats.multiple import holm
from tapetum.score.stats.sample_size import auroc_verdict
from tapetum.score.subgroups import AtThreshold, Gap, Resampling, Subgroups, subgroup_aurocs, subgroups_at

SURE = 0.05


@dataclass(frozen=True)
class Compared:
    """A finding across the groups of an attribute.

    Attributes:
        at: at the one threshold; None where none was chosen. holm, opportunity_holm: p of the gaps of AUROC and of
            sensitivity, for the number of all comparisons of the run; NaN where none could be made.
    """

    attribute: str
    finding: str
    masks: Mapping[str, Bool[np.ndarray, "n"]]
    labels: Float64[np.ndarray, "n"]
    ranked: Subgroups
    at: AtThreshold | None
    holm: float = math.nan
    opportunity_holm: float = math.nan

    @property
    def opportunity(self) -> Gap | None:
        """The gap of sensitivity, None without a threshold."""
        return self.at.sensitivity.gap if self.at else None

    def lines(self) -> list[tuple[float, str]]:
        """Its p and a sentence for each gap that could be measured."""
        found: list[tuple[float, str]] = []
        for what, gap, p in (
            ("AUROC", self.ranked.gap, self.holm),
            ("sensitivity", self.opportunity, self.opportunity_holm),
        ):
            if gap is not None and gap.worst:
                found.append(
                    (
                        p,
                        f"{self.finding} by {self.attribute}: {what} gap {gap.interval}, worst {gap.worst}, best "
                        f"{gap.best}; chance gives {gap.chance:.3f}, p = {gap.p_value:.3f}, Holm {p:.3f}",
                    )
                )
        return found


def compare_groups(main: Scored, groups: Groups, within: Context, resampling: Resampling) -> list[Compared]:
    """Every finding across the groups of every attribute, and p values for all comparisons at once."""
    p = main.predictions
    found: list[Compared] = []
    for attribute, masks in groups.items():
        for j, finding in enumerate(p.findings):
            labels = main.labels[:, j]
            ranked = subgroup_aurocs(
                p.logits[:, j], labels, masks, within.patients, rng=within.rng(), resampling=resampling
            )
            at = None
            if not (math.isnan(p.thresholds[j]) or np.isnan(p.probs[:, j]).any()):
                at = subgroups_at(
                    p.probs[:, j], labels, float(p.thresholds[j]), masks, within.patients, rng=within.rng(),
                    resampling=resampling,
                )  # fmt: skip
            found.append(Compared(attribute, finding, masks, labels, ranked, at))
    areas = holm(np.array([c.ranked.gap.p_value for c in found])) if found else np.empty(0)
    shares = holm(np.array([c.opportunity.p_value if c.opportunity else math.nan for c in found]))
    return [
        dataclasses.replace(c, holm=float(a), opportunity_holm=float(s))
        for c, a, s in zip(found, areas, shares, strict=True)
    ]


def compared_records(within: Context, row: str, supervision: str, one: Compared) -> list[Record]:
    """The finding as a whole with its gaps, then its groups, the worst first; too small ones without a number."""
    row = f"{row} by {one.attribute}"
    gap, at = one.ranked.gap, one.at
    by = "groups exchanged between patients, Holm over all comparisons"
    values: dict[str, Interval] = {"auroc_score": one.ranked.overall}
    if at:
        values |= {"sensitivity_score": at.sensitivity.overall, "missed_error": _rest(at.sensitivity.overall)}
        values |= {"false_alarm_error": at.false_alarms.overall}
    values |= {
        "auroc_gap": gap.interval,
        "auroc_gap_by_chance": _plain(gap.chance, "mean of exchanged groups", gap),
        "auroc_gap_p_value": _plain(one.holm, by, gap),
        "equity_scaled_auroc_score": one.ranked.equity_scaled,
    }
    if at:
        values |= {
            "equal_opportunity_difference": at.sensitivity.gap.interval,
            "equal_opportunity_p_value": _plain(one.opportunity_holm, by, at.sensitivity.gap),
            "equalised_odds_difference": at.equalised_odds.interval,
        }
    found = [within.record(row, supervision, one.finding, m, v, one.labels) for m, v in values.items()]
    for group in one.ranked.groups:
        labels = np.where(one.masks[group.name], one.labels, np.nan)
        mine = {"auroc_score": group.interval}
        if at:
            found_share = at.sensitivity[group.name].interval
            mine |= {"sensitivity_score": found_share, "missed_error": _rest(found_share)}
            mine |= {"false_alarm_error": at.false_alarms[group.name].interval}
        name = f"{one.finding}, {group.name}"
        found += [within.record(row, supervision, name, m, v, labels) for m, v in mine.items()]
    return found


def gap_notes(compared: Sequence[Compared], shown: int, exchanges: int) -> tuple[list[str], list[str]]:
    """Warnings of gaps that are no chance, and notes on the comparisons, the least probable by chance first."""
    lines = sorted(line for one in compared for line in one.lines() if not math.isnan(line[0]))
    few = sum(not one.ranked.gap.worst for one in compared)
    most = len(compared) - few
    notes = [line for _, line in lines[:shown]]
    if len(lines) > shown:
        notes.append(f"{len(lines) - shown} further gaps, with larger p, in records.jsonl")
    if most / (exchanges + 1) >= SURE and exchanges:
        notes.append(
            f"{most} comparisons and {exchanges} exchanges: no p can fall below {SURE}; ask for more exchanges"
        )
    if few:
        notes.append(f"{few} of {len(compared)} AUROC gaps: too few to say, fewer than two groups with enough patients")
    return [line for p, line in lines if p < SURE], notes


def attribute_records(
    within: Context,
    learned: Embeddings,
    groups: Groups,
    tested: Embeddings,
    tested_groups: Groups,
    probe: str,
    half_width: float,
) -> tuple[list[Record], list[str]]:
    """How well a probe on the same features tells who and where an image comes from.

    Args:
        within: of the tested images.
        learned: features of the images learned on.
        groups: theirs; of two groups only the first is asked for.
        tested: features of the tested images.
        tested_groups: theirs.
        probe: spec of a linear adapter.
        half_width: wider intervals than ± this are "too few to say".

    Returns:
        AUROC of each group against the other known ones, and a note on those with too few patients.
    """
    asked = [(a, g) for a, masks in groups.items() if a in tested_groups for g in _one_of_two(masks)]
    asked = [(a, g) for a, g in asked if g in tested_groups[a]]
    if not asked:
        return [], ["no attribute is known of which two groups occur"]
    truth = np.stack([_known(groups[a], g) for a, g in asked], axis=1)
    adapter: Adapter = Family("tapetum.learn.adapters").build(probe)
    adapter.fit(learned.features, truth, np.asarray(learned.patient_ids), learned.blocks)
    logits = np.nan_to_num(np.asarray(adapter(tested.features), np.float64))
    found: list[Record] = []
    few: list[str] = []
    for j, (attribute, group) in enumerate(asked):
        labels = _known(tested_groups[attribute], group)
        verdict = auroc_verdict(labels, within.patients, half_width=half_width)
        interval = Interval(math.nan, math.nan, math.nan, verdict.text)
        if verdict.enough:
            known = ~np.isnan(labels)
            who = np.asarray(within.patients)[known]
            interval = auroc_interval(logits[known, j], labels[known], who, rng=within.rng(), draws=within.draws)
        else:
            few.append(f"{attribute} {group}")
        found.append(within.record("told from the features", "supervised", f"{attribute}: {group}", "auroc_score",
                                   interval, labels))  # fmt: skip
    return found, [f"too few patients to say whether the features tell: {', '.join(few)}"] if few else []


def _one_of_two(masks: Mapping[str, Bool[np.ndarray, "n"]]) -> list[str]:
    known = [name for name in masks if name != UNKNOWN]
    return known[:1] if len(known) == 2 else known


def _known(masks: Mapping[str, Bool[np.ndarray, "n"]], group: str) -> Float64[np.ndarray, "n"]:
    labels = masks[group].astype(np.float64)
    return np.where(masks[UNKNOWN], np.nan, labels) if UNKNOWN in masks else labels


def _plain(value: float, method: str, gap: Gap) -> Interval:
    """A number about a gap, without bounds; where there is none, the gap's own reason."""
    return Interval(value, math.nan, math.nan, gap.interval.method if math.isnan(value) else method)


def _rest(share: Interval) -> Interval:
    return dataclasses.replace(share, estimate=1 - share.estimate, low=1 - share.high, high=1 - share.low)
