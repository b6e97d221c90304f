"""Steps that several protocols share: score a model on the test set, turn scores into Records."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tapetum.bench.tables.measures import Context, decision_records, ranking_records
from tapetum.bench.trial import Scored, Trial
from tapetum.core.types import Record
from tapetum.learn import Model, zero_shot


def context(trial: Trial, protocol: str, selection: str, model: Model | None) -> Context:
    """What the Records of a run share; reading the test set is counted here."""
    return Context(
        protocol,
        tuple(r.patient_id for r in trial.test_records),
        trial.config.seed,
        trial.config.draws,
        selection,
        trial.test_reads,
        trial.digests(model),
        trial.test_archive.name,
        trial.test_archive.phantom or trial.archive.phantom,
    )


def score(trial: Trial, model: Model, row: str, supervision: str, findings: Sequence[str] | None = None) -> Scored:
    """A model's scores on the test set beside the truth."""
    names = tuple(findings or trial.findings)
    labels, truth = trial.labels(names)
    predictions = zero_shot(model, trial.test_embeddings_of(model), names, lateralities=trial.lateralities())
    return Scored(row, supervision, predictions, labels, truth, model)


def records_of(within: Context, scored: Scored, *, decisions: bool = True) -> list[Record]:
    """Ranking records of a row, and those at its fixed thresholds."""
    p = scored.predictions
    found = ranking_records(within, scored.row, scored.supervision, p.findings, p.logits, scored.labels)
    if decisions and not np.isnan(p.thresholds).all():
        found += decision_records(
            within, scored.row, scored.supervision, p.findings, p.probs, p.thresholds, scored.labels
        )
    return found


def of_model(within: Context, trial: Trial, model: Model) -> Context:
    """The same context with the digest of another model, for rows that a model of their own made."""
    return dataclasses.replace(within, digests=trial.digests(model))


def alarm_notes(row: str, model: Model) -> list[str]:
    """What went wrong while a model was trained, for the foot of the table."""
    return [f"ALARM in {row}: {alarm}" for alarm in model.log.get("alarms", ())]


def truth_note(scored: Scored) -> str:
    """Where the truth comes from, for the foot of the table."""
    if scored.truth == "labels":
        return "truth: the clinic's labels"
    return "truth: read from the reports by rules; a finding that the report does not mention counts as absent"
