"""From versions of the labels to Records: rates, flips found, labels in doubt, and what noise costs a probe."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64

from tapetum.bench.tables.measures import FEW_DRAWS, MACRO, Context, ranking_records
from tapetum.bench.trial import Trial
from tapetum.bench.trust.label_noise import AS_GIVEN, SHUFFLED, Learned, Version, tested
from tapetum.core.registry import Family
from tapetum.core.types import Interval, Record
from tapetum.score import auroc_interval, macro_auroc_interval, mean_interval, paired_auroc_difference
from tapetum.score.noise_rate import ESTIMATORS, noise_rate_intervals
from tapetum.score.selecting import tail_classes

SUPERVISED, CONTROL = "supervised", "negative control"
ROWS = {"confident": "confident joint", "anchors": "anchors"}


def rate_records(within: Context, version: Version) -> list[Record]:
    """The estimated share of wrong labels, by both estimates, and the planted one; macro is the mean of findings.

    Args:
        within: of the images learned on.
        version: of the labels.
    """
    supervision = CONTROL if version.name == SHUFFLED else SUPERVISED
    found: list[Record] = []
    draws, labels = min(FEW_DRAWS, within.draws), version.planted.labels
    for by in ESTIMATORS:
        row = f"{ROWS[by]} on {version.name}"
        for question in version.questions:
            who = [within.patients[i] for i in question.rows]
            rates = noise_rate_intervals(question.probs, question.given, who, rng=within.rng(), draws=draws, by=by)
            column = labels if version.exclusive else labels[:, [version.findings.index(question.name)]]
            found.append(within.record(row, supervision, question.name, "noise_rate", rates.rate, column))
            if version.exclusive:
                found += [
                    within.record(row, supervision, name, "noise_rate", wrong, labels[:, j])
                    for j, (name, wrong) in enumerate(zip(version.findings, rates.wrong, strict=True))
                ]
        if not version.exclusive:
            mean = float(np.mean([r.interval.estimate for r in found if r.row == row]))
            interval = Interval(mean, np.nan, np.nan, "mean of the findings, no bounds")
            found.append(within.record(row, supervision, MACRO, "noise_rate", interval, labels))
    if version.name not in (AS_GIVEN, SHUFFLED):
        truth = Interval(version.planted.rate, np.nan, np.nan, "planted, known")
        found.append(within.record(f"truth of {version.name}", SUPERVISED, MACRO, "planted_rate", truth, labels))
    return found


def detection_records(within: Context, version: Version, methods: Sequence[str]) -> list[Record]:
    """How well each method tells planted flips from other labels; per finding for the first one."""
    found: list[Record] = []
    flips = np.full(version.planted.labels.shape, np.nan)
    if version.exclusive:
        flips = flips[:, :1]
    for j, question in enumerate(version.questions):
        flips[question.rows, j] = question.flipped
    draws = min(FEW_DRAWS, within.draws)
    for method in methods:
        judge, doubt = Family("tapetum.score.noise").build(method), np.zeros(flips.shape)
        for j, question in enumerate(version.questions):
            doubt[question.rows, j] = 1 - judge(question.probs, question.given)
        macro = macro_auroc_interval(doubt, flips, within.patients, rng=within.rng(), draws=draws)
        row = f"{method} on {version.name}"
        found.append(within.record(row, SUPERVISED, MACRO, "flips_auroc_score", macro, version.planted.labels))
        if method != methods[0] or version.exclusive:
            continue
        for j, question in enumerate(version.questions):
            who = [within.patients[i] for i in question.rows]
            interval = auroc_interval(doubt[question.rows, j], question.flipped, who, rng=within.rng(), draws=draws)
            column = version.planted.labels[:, j]
            found.append(within.record(row, SUPERVISED, question.name, "flips_auroc_score", interval, column))
    return found


def doubt_records(within: Context, version: Version, row: str, doubts: Sequence[Bool[np.ndarray, "m"]]) -> list[Record]:
    """Precision and recall of the labels in doubt, per given class, head and tail apart.

    Of findings, the labels that say present stand under the finding, all that say absent under `absent`. Tail: classes
    or findings given to fewer images than the mean one. The selection is taken as it is: intervals are over patients.
    """
    labels = version.planted.labels
    doubt, flipped = np.zeros(labels.shape, bool), version.planted.flipped
    for j, (question, doubted) in enumerate(zip(version.questions, doubts, strict=True)):
        doubt[question.rows, slice(None) if version.exclusive else j] = (
            doubted[:, None] if version.exclusive else doubted
        )
    present = labels == 1
    tail = tail_classes(np.nonzero(present)[1], labels.shape[1])
    units = {name: present & (np.arange(labels.shape[1]) == j) for j, name in enumerate(version.findings)}
    units |= {"head": present & ~tail, "tail": present & tail}
    if not version.exclusive:
        units["absent"] = labels == 0
    found: list[Record] = []
    for name, unit in units.items():
        of = np.nonzero(unit)
        who, wrong, doubted = [within.patients[i] for i in of[0]], flipped[of], doubt[of]
        values = {
            "doubt_precision_score": np.where(doubted, wrong, np.nan),
            "doubt_recall_score": np.where(wrong, doubted, np.nan),
            "kept_precision_score": np.where(~doubted, ~wrong, np.nan),
        }
        column = np.where(unit, 1.0, np.nan)
        for metric, value in values.items():
            if who:
                draws = min(FEW_DRAWS, within.draws)
                interval = mean_interval(value.astype(np.float64), who, rng=within.rng(), draws=draws)
                found.append(within.record(row, SUPERVISED, name, metric, interval, column))
    return found


def cost_records(
    within: Context,
    trial: Trial,
    learned: Learned,
    probe: str,
    versions: Sequence[Version],
    doubts: Sequence[Sequence[Bool[np.ndarray, "m"]]],
) -> list[Record]:
    """The probe on the tested patients: after labels as given, after each planted noise, with and without the doubted.

    Differences are paired on the same patients: planted noise against labels as given, without the doubted against with
    them.

    Args:
        within: of the tested images.
        trial: what is tested.
        learned: what the probe learns.
        probe: its spec.
        versions: labels as given first.
        doubts: of every version, see `Version.doubts`.
    """
    wanted = [v.planted.labels for v in versions] + [v.without(d) for v, d in zip(versions, doubts, strict=True)]
    scores, truth = tested(trial, learned, probe, wanted), trial.labels(learned.findings)[0]
    if learned.exclusive:
        truth = np.where((np.nansum(truth, axis=1) == 1)[:, None], truth, np.nan)
    whole, cleaned = scores[: len(versions)], scores[len(versions) :]
    found = ranking_records(within, probe, SUPERVISED, learned.findings, whole[0], truth)

    def against(row: str, other: str, ours: Float64[np.ndarray, "m k"], theirs: Float64[np.ndarray, "m k"]) -> None:
        macro = macro_auroc_interval(ours, truth, within.patients, rng=within.rng(), draws=within.draws)
        apart = paired_auroc_difference(ours, theirs, truth, within.patients, rng=within.rng(), draws=within.draws)
        interval = dataclasses.replace(apart.interval, method=f"{apart.interval.method}, p = {apart.p_value:.3g}")
        found.append(within.record(row, SUPERVISED, MACRO, "auroc_score", macro, truth))
        found.append(within.record(f"{row}, minus {other}", SUPERVISED, MACRO, "auroc_difference", interval, truth))

    for i, version in enumerate(versions):
        name = f"{probe} on {version.name}"
        if i:
            against(name, AS_GIVEN, whole[i], whole[0])
        against(f"{name}, doubted left out", "with them", cleaned[i], whole[i])
    return found


def control_record(within: Context, version: Version, probe: str) -> Record:
    """Out-of-fold AUROC of the probe against shuffled labels: 0.5, or something leaks."""
    labels = version.planted.labels
    interval = macro_auroc_interval(
        version.logits, labels, within.patients, rng=within.rng(), draws=min(FEW_DRAWS, within.draws)
    )
    return within.record(f"{probe} on {version.name}", CONTROL, MACRO, "auroc_score", interval, labels)
