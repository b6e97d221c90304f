"""From chosen runs to Records: each held-out domain, their mean, the worst one, and the difference to ERM."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int

from tapetum.bench.tables.measures import FEW_DRAWS, MACRO, Context
from tapetum.bench.trust.domains import Cut, Pooled
from tapetum.bench.trust.shift_settings import ERM
from tapetum.bench.trust.shifted import FOLDS, Chosen
from tapetum.core.types import Interval, Record
from tapetum.score import auroc_interval
from tapetum.score.calibration.platt import Platt
from tapetum.score.calibration_draws import measured_calibration
from tapetum.score.stats.bounds import drawn_difference, drawn_interval
from tapetum.score.stats.intervals import macro_draws

SUPERVISED = "supervised"
CALIBRATED = ("expected_calibration_error", "calibration_slope", "calibration_intercept")
BY = {
    "training_domain": "chosen on domains learned on",
    "leave_one_domain_out": "chosen on domains left out",
    "oracle": "oracle, not available in practice",
}
SELECTION = {
    "training_domain": "setting: validation patients of the domains learned on",
    "leave_one_domain_out": "setting: validation patients of domains that a run of its own left out",
    "oracle": "setting: validation patients of the tested domain, not available in practice",
    "": f"learned on the tested domain itself, {FOLDS} patient folds; setting of ERM",
}


@dataclass(frozen=True)
class Held:
    """What was chosen for one held-out domain, and what it gives in every draw of patients.

    Attributes:
        where: who is tested. chosen: the rows. estimates: macro AUROC of each. drawn: the same in every draw.
    """

    where: Cut
    chosen: Sequence[Chosen]
    estimates: Float64[np.ndarray, "m"]
    drawn: Float64[np.ndarray, "b m"]

    def place(self, method: str, rule: str) -> int | None:
        """Which row; None if there is none."""
        keys = [(c.method, c.rule) for c in self.chosen]
        return keys.index((method, rule)) if (method, rule) in keys else None


def held_of(pooled: Pooled, where: Cut, chosen: Sequence[Chosen], rows: Int[np.ndarray, "n"], within: Context) -> Held:
    """Draw patients and measure every row on the same draws.

    Args:
        pooled: all rows.
        where: the held-out domain.
        chosen: its rows.
        rows: whose patients are drawn: all tested ones where domains share patients, so that domains keep together.
        within: draws and seed.
    """
    place = {int(row): i for i, row in enumerate(rows)}
    here = [place[int(row)] for row in where.tested]
    labels = np.full((len(rows), pooled.labels.shape[1]), np.nan)
    labels[here] = pooled.labels[where.tested]
    scores: list[np.ndarray] = []
    for c in chosen:
        whole = np.zeros(labels.shape)
        whole[here] = c.run.tested
        scores.append(whole)
    macro = macro_draws(scores, labels, pooled.patients[rows], rng=within.rng(), draws=within.draws)
    return Held(where, chosen, macro.estimates, macro.drawn)


def domain_records(pooled: Pooled, held: Held, within: Context) -> list[Record]:
    """AUROC, the difference to ERM chosen alike, and calibration, of one held-out domain.

    Args:
        pooled: all rows.
        held: of the domain.
        within: its patients and data.
    """
    labels = pooled.labels[held.where.tested]
    found: list[Record] = []
    for i, c in enumerate(held.chosen):
        mine = of_run(within, c)
        row = f"{pooled.names[held.where.target]}: {told(c)}"
        found.append(mine.record(row, SUPERVISED, MACRO, "auroc_score", _interval(held, i, within), labels))
        base = held.place(ERM, c.rule or held.chosen[0].rule)
        if base is not None and base != i:
            apart = held.drawn[:, i] - held.drawn[:, base]
            value = float(held.estimates[i] - held.estimates[base])
            paired = drawn_difference(value, apart, within.patients, level=0.95)
            found.append(mine.record(row, SUPERVISED, MACRO, "auroc_difference", paired.interval, labels))
        if len(pooled.findings) > 1:
            found += _by_finding(pooled, mine, row, c, labels)
        if c.rule:
            found += _calibration(pooled, held.where, mine, row, c)
    return found


def overall_records(pooled: Pooled, helds: Sequence[Held], within: Context) -> list[Record]:
    """The mean over held-out domains and the worst of them, for every method that was measured on all.

    Args:
        pooled: all rows.
        helds: of all held-out domains, on draws of one size.
        within: the patients of all.
    """
    labels = np.concatenate([pooled.labels[h.where.tested] for h in helds])
    found: list[Record] = []
    for name, of in (("mean of domains", np.mean), ("worst domain", np.min)):
        measured: dict[tuple[str, str], tuple[float, np.ndarray]] = {}
        for c in helds[0].chosen:
            places = [h.place(c.method, c.rule) for h in helds]
            at = [(h, p) for h, p in zip(helds, places, strict=True) if p is not None]
            if not c.rule or len(at) < len(helds):
                continue
            value = float(of([h.estimates[p] for h, p in at]))
            drawn = np.asarray(of(np.stack([h.drawn[:, p] for h, p in at]), axis=0))
            measured[c.method, c.rule] = value, drawn
            mine, row = of_run(within, *(h.chosen[p] for h, p in at)), f"{name}: {told(c)}"
            interval = drawn_interval(value, drawn, within.patients, level=0.95)
            found.append(mine.record(row, SUPERVISED, MACRO, "auroc_score", interval, labels))
            base = measured.get((ERM, c.rule))
            if base is not None and c.method != ERM:
                paired = drawn_difference(value - base[0], drawn - base[1], within.patients, level=0.95)
                found.append(mine.record(row, SUPERVISED, MACRO, "auroc_difference", paired.interval, labels))
    return found


def told(chosen: Chosen) -> str:
    """A row's name: method, what it read, and the rule it was chosen by."""
    if not chosen.rule:
        return "learned there (reference)"
    return f"{chosen.method}{' (reads test images)' if chosen.reads else ''}, {BY[chosen.rule]}"


def of_run(within: Context, *chosen: Chosen) -> Context:
    """The context with the digest and the selection of what was chosen."""
    digests: Mapping[str, str] = {**within.digests, "model": "+".join(c.run.digest[:16] for c in chosen)}
    return dataclasses.replace(within, digests=digests, selection=SELECTION[chosen[0].rule])


def _interval(held: Held, i: int, within: Context) -> Interval:
    return drawn_interval(float(held.estimates[i]), held.drawn[:, i], within.patients, level=0.95)


def _by_finding(
    pooled: Pooled, within: Context, row: str, chosen: Chosen, labels: Float[np.ndarray, "t k"]
) -> list[Record]:
    found: list[Record] = []
    for j, finding in enumerate(pooled.findings):
        known = ~np.isnan(labels[:, j])
        who = [p for p, k in zip(within.patients, known, strict=True) if k]
        draws = min(FEW_DRAWS, within.draws)
        scores, truth = chosen.run.tested[known, j], labels[known, j]
        interval = auroc_interval(scores, truth, who, rng=within.rng(), draws=draws)
        found.append(within.record(row, SUPERVISED, finding, "auroc_score", interval, labels[:, j]))
    return found


def _calibration(pooled: Pooled, where: Cut, within: Context, row: str, chosen: Chosen) -> list[Record]:
    """After Platt's line, fitted on validation patients of the domains learned on: what a new site would be told."""
    labels = pooled.labels[where.tested]
    fitted = Platt().fit(chosen.run.val, pooled.labels[where.val])
    probs = fitted(chosen.run.tested)
    draws = min(FEW_DRAWS, within.draws)
    measured = measured_calibration(probs, labels, within.patients, rng=within.rng(), draws=draws)
    columns = [j for j in range(labels.shape[1]) if j not in fitted.uncalibrated]
    return [
        within.record(row, SUPERVISED, MACRO, measure, measured.interval(measure, columns), labels)
        for measure in CALIBRATED
    ]
