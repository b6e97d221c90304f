"""Adapters under test: fitted on labels of the training patients, tested once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from tapetum.archive import Archive
from tapetum.bench.tables.measures import Context, class_records, grade_records
from tapetum.bench.tables.results import Results
from tapetum.bench.tables.rows import context, records_of, score, truth_note
from tapetum.bench.trial import Scored, Trial
from tapetum.core.errors import UsageError
from tapetum.core.registry import Spec
from tapetum.core.types import Split
from tapetum.learn import AdaptConfig, adapt


def measure_adapter(trial: Trial, protocol: str, adapter: str, shots: int) -> Results:
    """Fit an adapter on frozen features of the training patients and measure it on the test set.

    Args:
        trial: what is learned on and tested.
        protocol: its name in the records.
        adapter: spec of a member of `learn/adapters`.
        shots: see `AdaptConfig`.

    Raises:
        UsageError: the tested archive has other labels than the one learned on.
    """
    config = trial.config
    findings, notes = taught_findings(trial)
    settings = AdaptConfig(
        adapter, config.encoders, findings, shots, config.sensitivity, config.calibrator, config.seed, config.threads,
        cross_fit=not trial.made,  # a tower that has learned their labels is too sure of training patients
    )  # fmt: skip
    model = adapt(trial.archive, settings, model=trial.model, embeddings=trial.embeddings)
    selection = _selection(settings)
    within = context(trial, protocol, selection, model)
    return measured(trial, within, score(trial, model, str(Spec.parse(adapter)), "supervised", findings), notes)


def measured(trial: Trial, within: Context, scored: Scored, notes: Sequence[str] = ()) -> Results:
    """The Results of one classifier: findings, and where the labels are grades or classes, these.

    Args:
        trial: what was tested.
        within: what the Records share.
        scored: by the classifier.
        notes: for the foot of the table.
    """
    records, findings = records_of(within, scored), scored.predictions.findings
    if trial.config.ordinal or trial.config.exclusive:
        probs = _one_grade(scored.predictions.probs, scored.predictions.logits)
        if trial.config.ordinal:
            records += grade_records(within, scored.row, "supervised", findings, probs, scored.labels)
        else:
            records += class_records(within, scored.row, "supervised", probs, scored.labels)
    return Results(tuple(records), (scored,), (truth_note(scored), *notes), None, trial)


def taught_findings(trial: Trial) -> tuple[tuple[str, ...], list[str]]:
    """The labels to learn and test: those asked for, or all with both classes among the training images.

    Returns:
        Their names, and a note that names those left out.

    Raises:
        UsageError: the tested archive has other labels than the one learned on.
    """
    findings = trial.config.findings or trial.archive.label_names
    if trial.external:
        findings = tuple(f for f in findings if f in set(trial.test_archive.label_names))
        if not findings:
            raise UsageError(
                f"{trial.archive.name} and {trial.test_archive.name} share no label", "labels of the same names",
                "tapetum ingest … label_map=…",
            )  # fmt: skip
    return (findings, []) if trial.config.findings else _learnable(trial.archive, findings)


def _learnable(archive: Archive, findings: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """The findings with both classes among the training images, and a note that names the others."""
    labels = archive.labels(findings, image_ids=[r.image_id for r in archive.in_split(Split.TRAIN)])
    both = (labels == 1).any(axis=0) & (labels == 0).any(axis=0)
    left_out = [f for f, ok in zip(findings, both, strict=True) if not ok]
    notes = [f"left out, one class only among the training images: {', '.join(left_out)}"] if left_out else []
    return tuple(f for f, ok in zip(findings, both, strict=True) if ok), notes


def _one_grade(probs: Float[np.ndarray, "n k"], logits: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
    """One-vs-rest probabilities where all columns are calibrated, else the raw scores: only their order is used."""
    return logits if np.isnan(probs).any() else probs


def _selection(settings: AdaptConfig) -> str:
    if settings.cross_fit and not settings.shots:
        return (
            "hyper-parameters: inner patient folds of train and val; calibration and threshold: patient folds left out"
        )
    return "hyper-parameters: inner patient folds of train; calibration and threshold: val"
