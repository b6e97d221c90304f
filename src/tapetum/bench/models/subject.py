"""The model that a protocol puts to the test: the checkpoint that was given, or a linear adapter fitted now."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from tapetum.bench.models.adapting import taught_findings
from tapetum.bench.models.tuned import SELECTION as OF_TUNED
from tapetum.bench.tables.measures import Context
from tapetum.bench.tables.rows import context
from tapetum.bench.trial import Scored, Trial
from tapetum.core.registry import Spec
from tapetum.core.types import Embeddings, ImageRecord
from tapetum.learn import AdaptConfig, Model, adapt, zero_shot
from tapetum.learn.pretrain import targets

_SELECTION = "hyper-parameters: inner patient folds of train; calibration and threshold, one for all: val"


def selection(trial: Trial) -> str:
    """By what the model under test was chosen."""
    return OF_TUNED if trial.made else _SELECTION


@dataclass(frozen=True)
class Subject:
    """A model under test.

    Attributes:
        row, supervision: as in `Record`. findings: what it is asked for. notes: what was left out.
    """

    model: Model
    row: str
    supervision: str
    findings: tuple[str, ...]
    notes: tuple[str, ...] = ()


def subject_of(trial: Trial, adapter: str) -> Subject:
    """The checkpoint of the trial as it is, or, where there is none that can answer, an adapter on frozen features.

    The threshold is chosen on val, on scores of the model that is tested.

    Args:
        trial: what is learned on.
        adapter: spec of `learn/adapters`.

    Raises:
        UsageError: no label that both archives share. DataError: no finding with both classes.
    """
    config, spec = trial.config, str(Spec.parse(adapter))
    given = trial.model
    if given is not None and (given.adapter is not None or given.aligner is not None):
        row = given.adapter_spec if given.adapter is not None else str(given.config.get("task", "as it came"))
        row = str(given.config["tuner"]) if trial.made else row
        supervision = "published space" if given.space else "report-supervised"
        supervision = "supervised" if given.adapter is not None else supervision
        return Subject(given, row, supervision, given.findings if trial.made else trial.findings)
    findings, notes = taught_findings(trial)
    settings = AdaptConfig(
        spec, config.encoders, findings, 0, config.sensitivity, config.calibrator, config.seed, config.threads,
        cross_fit=False,
    )  # fmt: skip
    model = adapt(trial.archive, settings, model=given, embeddings=trial.embeddings)
    return Subject(model, spec, "supervised", findings, tuple(notes))


def some_of(records: Sequence[ImageRecord], images: int, rng: np.random.Generator) -> list[ImageRecord]:
    """Images of patients drawn at random, each with all of theirs, until there are enough; 0 takes all.

    Args:
        records: to draw from.
        images: how many at least, where there are so many.
        rng: the generator.

    Returns:
        Records in the order given.
    """
    of = dict[str, int]()
    for record in records:
        of[record.patient_id] = of.get(record.patient_id, 0) + 1
    chosen, number = set[str](), 0
    for patient in rng.permutation(sorted(of)).tolist():
        if images and number >= images:
            break
        chosen.add(patient)
        number += of[patient]
    return [r for r in records if r.patient_id in chosen]


@dataclass(frozen=True)
class Asked:
    """Some tested images, and what is needed to ask the subject about any version of them.

    Attributes:
        labels: `[n k]`. truth: where they come from. within: counts and draws of these patients.
    """

    subject: Subject
    records: Sequence[ImageRecord]
    labels: Float[np.ndarray, "n k"]
    truth: str
    within: Context

    def scored(self, features: Embeddings, row: str) -> Scored:
        """The subject's scores on a version of the images."""
        eyes = [r.laterality.value for r in self.records]
        predictions = zero_shot(self.subject.model, features, self.subject.findings, lateralities=eyes)
        return Scored(row, self.subject.supervision, predictions, self.labels, self.truth, self.subject.model)


def asked_of(trial: Trial, protocol: str, subject: Subject, records: Sequence[ImageRecord]) -> Asked:
    """Truth and context of some of the tested images; reading the test set is counted here."""
    labels, truth = targets(trial.test_archive, records, subject.findings)
    whole = context(trial, protocol, selection(trial), subject.model)
    within = dataclasses.replace(whole, patients=tuple(r.patient_id for r in records))
    return Asked(subject, records, labels, truth, within)
