"""Detection by name: a model that saw images and reports, never a label."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np

from tapetum.bench.models.controls import control_records, negative_control
from tapetum.bench.tables.results import Results
from tapetum.bench.tables.rows import alarm_notes, context, of_model, records_of, score, truth_note
from tapetum.bench.trial import Scored, Trial
from tapetum.core.errors import DataError, UsageError
from tapetum.core.registry import Spec
from tapetum.core.types import Predictions
from tapetum.learn import pretrain
from tapetum.score import paired_auroc_difference

__all__ = ["zero_shot"]

CONTRASTIVE = ("contrastive(loss='clip')", "contrastive(loss='siglip')")


def zero_shot(
    trial: Trial, *, shuffles: int = 20, unseen: bool = True, compare: Sequence[str] = CONTRASTIVE
) -> Results:
    """Detect findings by prompt, in two rows that are never mixed, with paired comparisons and a negative control.

    *Report-supervised*: the finding may be named in training reports. *Unseen finding*: a model of its own per finding,
    trained without any image whose report names it, a synonym or a finer form; only that is zero-shot in the strict
    sense.

    Args:
        trial: what is learned on and tested.
        shuffles: of the negative control, 0 = none, else at least 2; 20 make p < 0.05 possible.
        unseen: whether to train one model per finding without it.
        compare: further tasks of `learn/tasks`, each tested against the main one on the same draws of patients.

    With a given checkpoint only its own row is measured, since nothing is trained.

    Raises:
        UsageError: the checkpoint is an adapter.

    Source: own protocol; prompts per finding averaged as in FLAIR (Silva-Rodríguez et al., MedIA 2025).
    Differs: operating points from validation patients; intervals over patients; reports shuffled as a control.
    """
    trial.refuse_one_class_each("zero_shot")
    trial.refuse_finetune("zero_shot")
    model = trial.model or pretrain(trial.archive, trial.config, embeddings=trial.embeddings)
    if model.aligner is None or model.adapter is not None:
        raise UsageError("the model is an adapter and knows no words", "a model from `tapetum pretrain`")
    selection = "penalty: inner patient folds of train; calibration and threshold: val"
    row = str(Spec.parse(str(model.config.get("task", "ridge"))))
    within = context(trial, "zero_shot", selection, model)
    main = score(trial, model, row, "published space" if model.space else "report-supervised")
    records, notes = records_of(within, main), [truth_note(main), *alarm_notes(row, model)]
    scored, control = [main], None
    if trial.model is not None:
        return Results(tuple(records), (main,), tuple(notes), None, trial)
    for task in dict.fromkeys(str(Spec.parse(task)) for task in compare):
        if task != row:
            other = pretrain(trial.archive, dataclasses.replace(trial.config, task=task), embeddings=trial.embeddings)
            rival = score(trial, other, task, main.supervision)
            records += records_of(of_model(within, trial, other), rival)
            notes += [_paired(trial, rival, main), *alarm_notes(task, other)]
            scored.append(rival)
    if unseen:
        strict = _unseen(trial, row)
        digests = {**within.digests, "model": strict.predictions.model}
        records += records_of(dataclasses.replace(within, digests=digests), strict, decisions=False)
        scored.append(strict)
    if shuffles:
        control = negative_control(trial, main, shuffles)
        records += control_records(within, control, main)
    return Results(tuple(records), tuple(scored), tuple(notes), control, trial)


def _paired(trial: Trial, rival: Scored, main: Scored) -> str:
    rng = np.random.default_rng(trial.config.seed)
    difference = paired_auroc_difference(
        rival.predictions.logits, main.predictions.logits, main.labels, main.predictions.patient_ids,
        rng=rng, draws=trial.config.draws,
    )  # fmt: skip
    better = difference.interval.estimate > 0 and difference.p_value < 0.05
    verdict = "an improvement" if better else "no improvement"
    return f"{rival.row} − {main.row}, macro AUROC, paired over patients: {difference}: {verdict}"


def _unseen(trial: Trial, row: str) -> Scored:
    """One model per finding, each trained without it; their columns side by side."""
    columns, digests = list[Scored](), list[str]()
    for finding in trial.findings:
        config = dataclasses.replace(trial.config, leave_out=(finding,))
        try:
            model = pretrain(trial.archive, config, embeddings=trial.embeddings)
        except DataError as error:
            raise DataError(
                f"without {finding!r} too little is left to train on: {error.found}", "unseen=False"
            ) from error
        columns.append(score(trial, model, row, "unseen finding", [finding]))
        digests.append(model.digest)
    first = columns[0].predictions
    logits = np.concatenate([c.predictions.logits for c in columns], axis=1)
    together = Predictions(
        first.image_ids, first.patient_ids, first.lateralities, tuple(trial.findings), logits,
        np.full(logits.shape, np.nan), np.full(len(columns), np.nan),
        f"one per finding, {hashlib.sha256(''.join(digests).encode()).hexdigest()[:16]}",
    )  # fmt: skip
    labels = np.concatenate([c.labels for c in columns], axis=1)
    return Scored(row, "unseen finding", together, labels, columns[0].truth)
