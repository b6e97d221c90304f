"""Label noise: how many labels are wrong and which, and what planted noise does to a probe."""

from __future__ import annotations

import numpy as np

from tapetum.bench.models.adapting import taught_findings
from tapetum.bench.tables.measures import Context
from tapetum.bench.tables.results import Results
from tapetum.bench.trial import Trial
from tapetum.bench.trust.label_noise import (
    AS_GIVEN,
    SHUFFLED,
    Learned,
    Version,
    at_rates,
    learned_on,
    probe_digest,
    versions_of,
)
from tapetum.bench.trust.label_noise_records import (
    control_record,
    cost_records,
    detection_records,
    doubt_records,
    rate_records,
)
from tapetum.core.errors import UsageError
from tapetum.core.registry import Family, Spec
from tapetum.core.types import Record
from tapetum.score.noise_rate import ESTIMATORS

__all__ = ["noise"]

TUNED = "when to stop: patients held out of the steps; what is doubted: out-of-fold scores of train and val patients"
SELECTION = "hyper-parameters: inner patient folds; what is doubted: out-of-fold scores of train and val patients"


def noise(
    trial: Trial,
    *,
    methods: tuple[str, ...] = ("confident_learning",),
    plant: tuple[str, ...] = ("symmetric", "instance"),
    rates: tuple[float, ...] = (0.1, 0.3),
    probe: str = "logistic",
    by: str = "anchors",
    folds: int = 5,
    listed: int = 20,
) -> Results:
    """Labels in doubt among train and val patients, and, where flips are planted, how well they are found.

    A probe on frozen features judges every label without having seen its patient; with `mode=finetune` a tower tuned on
    the other patients, one for each fold and each version of the labels. Without planting (`plant=()`) the
    test set is not read.

    Args:
        trial: what is learned on and tested; `exclusive` or `ordinal` = one class per image, else finding by finding.
        methods: members of `score/noise`; the first one decides what is doubted, all others are compared with it.
        plant: members of `score/planting`, each planted at each rate; () = only the labels as they are.
        rates: shares of flipped labels.
        probe: adapter that judges and is judged; one that needs no words (`knn`: the vote of neighbours).
        by: estimate of how many to doubt, `anchors` or `confident`.
        folds: patient folds.
        listed: most suspicious labels to name: the doubted, and those for which another class is more probable.

    Raises:
        UsageError: an unknown method, maker, estimate or probe. DataError: no labels, or a finding of one class only.

    Source: own protocol, after LNMBench (arXiv 2512.09315). Differs: the rate is estimated and never given to a method,
    patients are resampled, the tested labels stay as they are, and labels are judged class by class.
    """
    methods, probe = tuple(str(Spec.parse(m)) for m in methods), str(Spec.parse(probe))
    judge = probe if trial.config.mode == "frozen" else str(Spec.parse(trial.config.tuner))
    _refuse(methods, rates, by)
    findings, notes = taught_findings(trial)
    learned = learned_on(trial, findings)
    makers = at_rates(plant, rates)
    versions, left_out = versions_of(trial, learned, makers, probe, folds)
    given, shuffled = versions[0], [v for v in versions if v.name == SHUFFLED]
    planted = [v for v in versions[1:] if v.name != SHUFFLED]
    doubts = {v.name: v.doubts(methods[0], by) for v in (given, *planted)}
    digests = {**trial.digests(None), "model": probe_digest(learned, judge)}
    records: list[Record] = []
    if planted:
        asked = _asked(trial, digests)
        records += cost_records(asked, trial, learned, judge, [given, *planted], list(doubts.values()))
    inside = _inside(trial, learned, digests)
    for version in versions:
        records += rate_records(inside, version)
    for version in planted:
        row = f"{methods[0]}, as many as {by} say, on {version.name}"
        records += detection_records(inside, version, methods)
        records += doubt_records(inside, version, row, doubts[version.name])
    records += [control_record(inside, version, judge) for version in shuffled]
    notes += [*left_out, *_suspicious(learned, given, methods[0], by, listed)]
    return Results(tuple(records), (), tuple(notes), None, trial)


def _refuse(methods: tuple[str, ...], rates: tuple[float, ...], by: str) -> None:
    if by not in ESTIMATORS or not methods or not all(0 < r < 1 for r in rates):
        raise UsageError(
            f"by={by!r}, methods={methods}, rates={rates}", f"{' or '.join(ESTIMATORS)}, a method, rates in 0..1"
        )
    for method in methods:
        Family("tapetum.score.noise").build(method)


def _asked(trial: Trial, digests: dict[str, str]) -> Context:
    """Of the tested images; reading them is counted here."""
    return Context(
        "noise", tuple(r.patient_id for r in trial.test_records), trial.config.seed, trial.config.draws,
        _selection(trial), trial.test_reads, digests, trial.test_archive.name,
        trial.test_archive.phantom or trial.archive.phantom,
    )  # fmt: skip


def _selection(trial: Trial) -> str:
    return SELECTION if trial.config.mode == "frozen" else TUNED


def _inside(trial: Trial, learned: Learned, digests: dict[str, str]) -> Context:
    """Of the images learned on; the test set is not read."""
    return Context(
        "noise", learned.rows.patient_ids, trial.config.seed, trial.config.draws, _selection(trial),
        trial.earlier_reads, {**digests, "split": "train+val"}, trial.archive.name, trial.archive.phantom,
    )  # fmt: skip


def _suspicious(learned: Learned, version: Version, method: str, by: str, listed: int) -> list[str]:
    """How many labels of each class are doubted, and by name the least trusted that are doubted or improbable."""
    judge, lines = Family("tapetum.score.noise").build(method), list[tuple[float, str]]()
    shares: list[str] = []
    for question, doubt in zip(version.questions, version.doubts(method, by), strict=True):
        quality = judge(question.probs, question.given)
        for c in range(len(question.classes) - 1, -1, -1):
            of = question.given == c
            shares.append(f"{question.classes[c]} {int((doubt & of).sum())} of {int(of.sum())}")
        others = np.where(np.eye(len(question.classes), dtype=bool)[question.given], -1, question.probs)
        unlikely = others.max(axis=1) > question.probs[np.arange(len(doubt)), question.given]
        for i in np.flatnonzero(doubt | unlikely):
            image = learned.rows.image_ids[question.rows[i]][:16]
            told, looks = question.classes[question.given[i]], question.classes[others[i].argmax()]
            line = f"{'in doubt' if doubt[i] else 'unlikely'}: {image}, labelled {told}, looks like {looks}"
            lines.append((float(quality[i]), f"{line}, quality {quality[i]:.3f}"))
    head = f"{AS_GIVEN}: in doubt by {method}, as many as {by} say, to be read again, not proven wrong: "
    return [head + ", ".join(shares), *(line for _, line in sorted(lines)[:listed])]
