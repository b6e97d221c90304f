"""`mode=finetune` where one classifier is measured: its towers learn too, from the labels of the training patients."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

from tapetum.archive import Archive
from tapetum.bench.models.adapting import measured, taught_findings
from tapetum.bench.tables.results import Results
from tapetum.bench.tables.rows import alarm_notes, context, score
from tapetum.bench.trial import Trial
from tapetum.core.config import digest
from tapetum.core.registry import Spec
from tapetum.core.types import ImageRecord, Split
from tapetum.learn import AdaptConfig, Model, adapt

SELECTION = "when to stop: training patients held out of the steps; calibration and threshold, one for all: val"


def tuned(
    trial: Trial,
    findings: Sequence[str] = (),
    *,
    train: Sequence[ImageRecord] | None = None,
    val: Sequence[ImageRecord] | None = None,
) -> Trial:
    """The trial as a tower sees it that was tuned on its training patients; as it is with `mode=frozen`.

    A tower is tuned once for all parts of a run that share the trial, the findings and the images.

    Args:
        trial: what is learned on and tested.
        findings: labels to learn; those that the archives share if empty.
        train: images to learn from; None = all of the training patients.
        val: images on which the operating points are chosen; None = all of the validation patients.

    Raises:
        UsageError: an unknown tuner, or one that does not fit the towers. DataError: no label to learn from.
    """
    if trial.config.mode == "frozen" or trial.made:
        return trial
    names = tuple(findings) or taught_findings(trial)[0]
    archive = trial.archive if train is None or val is None else _only(trial.archive, train, val)
    model = _model(trial, archive, names)
    log = model.log
    told = f"mode=finetune: {Spec.parse(trial.config.tuner)}{_options(trial)} on {log['pairs']} images of "
    stopped = f"{log['patients']} training patients, {log['trained']:,} weights of the towers; {log['line']}"
    return trial.asking(model, (told + stopped, *alarm_notes(str(model.config["tuner"]), model)))


def measure_tuned(trial: Trial, protocol: str) -> Results:
    """Towers and a head learned from all labels, on the test set.

    Args:
        trial: with `mode=finetune`.
        protocol: its name in the records.

    Raises:
        UsageError, DataError: see `tuned`.
    """
    notes = taught_findings(trial)[1]
    trial = tuned(trial)
    model = trial.model
    assert model is not None
    scored = score(trial, model, str(model.config["tuner"]), "supervised", model.findings)
    return measured(trial, context(trial, protocol, SELECTION, model), scored, notes)


def _options(trial: Trial) -> str:
    return f", {trial.config.tuning}," if trial.config.tuning else ""


def _only(archive: Archive, train: Sequence[ImageRecord], val: Sequence[ImageRecord]) -> Archive:
    """The archive with these images to learn from and to choose on, and no others."""
    part = {r.image_id: Split.TRAIN for r in train} | {r.image_id: Split.VAL for r in val}
    records = (dataclasses.replace(r, split=part.get(r.image_id, Split.NONE)) for r in archive.records)
    return dataclasses.replace(archive, records=tuple(records))


def _model(trial: Trial, archive: Archive, findings: tuple[str, ...]) -> Model:
    config = trial.config
    settings = AdaptConfig(
        "linear_probe", config.encoders, findings, 0, config.sensitivity, config.calibrator, config.seed,
        config.threads, tuner=str(Spec.parse(config.tuner)), tuning=config.tuning, check_colours=config.check_colours,
    )  # fmt: skip
    learned = "\0".join(f"{r.image_id} {r.split.value}" for r in archive.records)
    key = f"{digest(settings)} {hashlib.sha256(learned.encode()).hexdigest()}"
    if key not in trial.tuned:
        trial.tuned[key] = adapt(archive, settings, model=trial.model, embeddings=trial.embeddings)
    return trial.tuned[key]
