"""From probabilities to Records: every measure of calibration per finding, their means, differences, and groups."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from tapetum.bench.groups import Groups
from tapetum.bench.tables.measures import FEW_DRAWS, MACRO, Context
from tapetum.bench.trust.calibrated import TOP, Probe, Stated
from tapetum.core.types import Interval, Record
from tapetum.score import auroc_interval, macro_auroc_interval
from tapetum.score.calibration_draws import MEASURES, Calibration, measured_calibration

DIFFERENCES = {
    "expected_calibration_error": "expected_calibration_difference",
    "brier_error": "brier_difference",
    "log_loss_error": "log_loss_difference",
}
OF_GROUPS = MEASURES[:6]
FEWEST_PATIENTS, FEWEST = 20, 10  # of a group; of a finding's positives and of its negatives in it
SUPERVISED = "supervised"


@dataclass(frozen=True)
class Measured:
    """A row with its measures; `columns` are the findings that all rows have, those of the macro mean."""

    stated: Stated
    calibration: Calibration
    context: Context


def measured(within: Context, stated: Sequence[Stated]) -> list[Measured]:
    """Every row on the same draws of patients."""
    found: list[Measured] = []
    for one in stated:
        mine = dataclasses.replace(within, digests={**within.digests, "model": one.digest})
        draws = min(FEW_DRAWS, within.draws)
        measures = measured_calibration(one.probs, one.labels, within.patients, rng=within.rng(), draws=draws)
        found.append(Measured(one, measures, mine))
    return found


def common_columns(probe: Probe, rows: Sequence[Measured]) -> list[int]:
    """The findings whose probabilities can be measured in every row: macro means are taken over these alone."""
    known = [~np.isnan(r.calibration.estimates["brier_error"][: len(probe.findings)]) for r in rows]
    return np.flatnonzero(np.all(known, axis=0)).tolist()


def row_records(probe: Probe, row: Measured, columns: Sequence[int]) -> list[Record]:
    """AUROC and calibration of a row: macro, per finding, and of the most probable one of exclusive classes."""
    within, stated = row.context, row.stated
    labels, chosen = probe.labels, list(columns)

    def add(finding: str, metric: str, interval: Interval, column: np.ndarray) -> Record:
        return within.record(stated.row, SUPERVISED, finding, metric, interval, column)

    area = macro_auroc_interval(
        np.nan_to_num(stated.probs[:, chosen]), labels[:, chosen], within.patients, rng=within.rng(), draws=within.draws
    )
    found = [add(MACRO, "auroc_score", area, labels[:, chosen])]
    found += [add(MACRO, m, row.calibration.interval(m, chosen), labels[:, chosen]) for m in MEASURES]
    for j, finding in enumerate((*probe.findings, TOP)[: stated.probs.shape[1]]):
        known = ~np.isnan(stated.labels[:, j])
        if np.isnan(row.calibration.estimates["brier_error"][j]):
            continue
        who = [p for p, k in zip(within.patients, known, strict=True) if k]
        scores, truth = stated.probs[known, j], stated.labels[known, j]
        area = auroc_interval(scores, truth, who, rng=within.rng(), draws=min(FEW_DRAWS, within.draws))
        found.append(add(finding, "auroc_score", area, stated.labels[:, j]))
        found += [add(finding, m, row.calibration.interval(m, [j]), stated.labels[:, j]) for m in MEASURES]
    return found


def difference_records(probe: Probe, before: Measured, after: Measured, columns: Sequence[int]) -> list[Record]:
    """After minus before on the same draws of patients; below 0, calibration has helped."""
    found: list[Record] = []
    parts: dict[str, tuple[Sequence[int], np.ndarray]] = {MACRO: (columns, probe.labels[:, list(columns)])}
    for j, finding in enumerate((*probe.findings, TOP)[: after.stated.probs.shape[1]]):
        if not np.isnan(after.calibration.estimates["brier_error"][j]):
            parts[finding] = ([j], after.stated.labels[:, j])
    for finding, (chosen, labels) in parts.items():
        for measure, name in DIFFERENCES.items():
            apart = after.calibration.minus(before.calibration, measure, chosen)
            interval = dataclasses.replace(apart.interval, method=f"{apart.interval.method}, p = {apart.p_value:.3g}")
            found.append(after.context.record(after.stated.row, SUPERVISED, finding, name, interval, labels))
    return found


def group_records(
    probe: Probe, rows: Sequence[Measured], columns: Sequence[int], groups: Groups
) -> tuple[list[Record], list[str]]:
    """The macro measures of each row within each group of patients, and the groups that are too small to say.

    A group needs `FEWEST_PATIENTS` patients; the mean is over the findings with `FEWEST` images on both sides in every
    such group of the attribute, so that groups are compared on the same findings.
    """
    found, few = list[Record](), list[str]()
    patients = np.asarray(rows[0].context.patients)
    for attribute, masks in groups.items():
        large = {g: m for g, m in masks.items() if len(np.unique(patients[m])) >= FEWEST_PATIENTS}
        few += [f"{attribute} {g} ({len(np.unique(patients[m]))} patients)" for g, m in masks.items() if g not in large]
        chosen = [j for j in columns if all(_enough(probe.labels[m, j]) for m in large.values())]
        if len(large) < 2 or not chosen:
            few += [f"{attribute} (no finding with {FEWEST} images on both sides in every group)"] if large else []
            continue
        for group, mask in large.items():
            found += _group(probe, rows, chosen, f"{attribute} {group}", mask)
    return found, [f"too few to say: {', '.join(few)}"] if few else []


def _enough(labels: np.ndarray) -> bool:
    return min(int((labels == 1).sum()), int((labels == 0).sum())) >= FEWEST


def _group(
    probe: Probe, rows: Sequence[Measured], chosen: Sequence[int], name: str, mask: Bool[np.ndarray, "n"]
) -> list[Record]:
    """Every row within one group; those after the first also as a difference to it, on the same draws of patients."""
    columns, patients = list(chosen), rows[0].context.patients
    who = [p for p, inside in zip(patients, mask, strict=True) if inside]
    shown = np.where(mask[:, None], probe.labels[:, columns], np.nan)
    over = f", mean over {', '.join(probe.findings[j] for j in columns)}"
    found, first = list[Record](), None
    for row in rows:
        within, title = row.context, f"{row.stated.row}, {name}"
        probs, labels = row.stated.probs[mask][:, columns], probe.labels[mask][:, columns]
        measures = measured_calibration(probs, labels, who, rng=within.rng(), draws=min(FEW_DRAWS, within.draws))
        all_of = range(len(columns))
        told = {m: measures.interval(m, all_of) for m in OF_GROUPS}
        if first is not None:
            told |= {n: measures.minus(first, m, all_of).interval for m, n in DIFFERENCES.items()}
        first = first or measures
        for metric, interval in told.items():
            shared = dataclasses.replace(interval, method=f"{interval.method}{over}")
            found.append(within.record(title, SUPERVISED, MACRO, metric, shared, shown))
    return found
