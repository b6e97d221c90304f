"""The door of the benchmark: name a protocol, get Results."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np

from tapetum.archive import Archive
from tapetum.bench.refusals import refuse_chosen_on
from tapetum.bench.tables.measures import Context
from tapetum.bench.tables.results import Results
from tapetum.bench.tables.rows import records_of, truth_note
from tapetum.bench.trial import BenchConfig, Scored, trial_of
from tapetum.core.errors import DataError
from tapetum.core.registry import Family, Spec
from tapetum.core.types import Predictions
from tapetum.learn import Model
from tapetum.learn.pretrain import targets

_DEFAULT = BenchConfig()


def run_bench(
    protocol: str,
    archive: Archive,
    config: BenchConfig = _DEFAULT,
    *,
    test: Archive | None = None,
    model: Model | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Results:
    """Run a protocol: fit on the archive's train and val patients, test on its test patients or on another archive.

    Args:
        protocol: member of `bench/protocols` with options, for example `"zero_shot(shuffles=5)"`.
        archive: learned on, and tested where there is no other one.
        config: how.
        test: another archive, for external validation; nothing is fitted on it.
        model: a checkpoint to test instead of training one.
        progress: called with images embedded and images in all.

    Raises:
        LeakageError: an image or a patient stands on both sides. DataError: nothing to test. UsageError: unknown names.
    """
    run = Family("tapetum.bench.protocols").build(protocol)
    return run(trial_of(archive, config, test=test, model=model, progress=progress, protocol=str(Spec.parse(protocol))))


def evaluate(
    predictions: Predictions,
    archive: Archive,
    *,
    protocol: str = "zero_shot",
    split: str = "test",
    draws: int = 2000,
    chosen_on: Collection[str] = (),
    model: Model | None = None,
) -> Results:
    """Measure predictions that anybody made against an archive's truth; only rows of the named split count.

    Args:
        predictions: of any model.
        archive: whose labels or reports are the truth, and which says whose the images are.
        protocol: the name written into the Records.
        split: `test` or `val`.
        draws: of the patient-cluster bootstrap.
        chosen_on: patients on whom thresholds, calibration or settings were chosen.
        model: the checkpoint that made them, where there is one: whom it has seen is then checked.

    Raises:
        DataError: no prediction belongs to the split, or an image is predicted twice. UsageError: another split.
        LeakageError: something was chosen on tested patients, or the model has seen them.
    """
    trial = trial_of(archive, BenchConfig(draws=draws, test_split=split), model=model, protocol=protocol)
    refuse_chosen_on(chosen_on, trial.test_records, "thresholds or settings")
    records = {r.image_id: r for r in trial.test_records}
    rows = [i for i, image_id in enumerate(predictions.image_ids) if image_id in records]
    if not rows:
        raise DataError(f"no prediction belongs to the {split} images of {archive.name}", "image ids of the archive")
    if len({predictions.image_ids[i] for i in rows}) < len(rows):
        raise DataError("an image is predicted twice", "one row of predictions per image")
    chosen = Predictions(
        tuple(predictions.image_ids[i] for i in rows),
        tuple(records[predictions.image_ids[i]].patient_id for i in rows),
        tuple(predictions.lateralities[i] for i in rows),
        predictions.findings,
        predictions.logits[rows],
        predictions.probs[rows],
        predictions.thresholds,
        predictions.model,
    )
    labels, truth = targets(archive, [records[i] for i in chosen.image_ids], chosen.findings)
    within = Context(
        protocol, chosen.patient_ids, 0, draws, "made elsewhere", trial.test_reads,
        {**trial.digests(None), "model": predictions.model}, archive.name, archive.phantom,
    )  # fmt: skip
    scored = Scored(predictions.model, "given predictions", chosen, labels, truth)
    notes = [truth_note(scored)]
    if not chosen_on and model is None and not np.isnan(predictions.thresholds).all():
        notes.append(
            "WARNING: nobody said on which patients the thresholds were chosen (chosen_on=): not on the tested?"
        )
    if len(rows) < len(records):
        notes.append(f"only {len(rows)} of the {len(records)} {split} images have a prediction")
    return Results(tuple(records_of(within, scored)), (scored,), tuple(notes), None, trial)
