"""Calibration: are the stated probabilities what is observed, before and after each calibrator."""

from __future__ import annotations

from tapetum.bench.groups import groups_of
from tapetum.bench.models.tuned import tuned
from tapetum.bench.tables.results import Results
from tapetum.bench.tables.rows import context
from tapetum.bench.trial import Trial
from tapetum.bench.trust.calibrated import calibrators_for, probe_of, shown_on_page, stated_by
from tapetum.bench.trust.calibrated_records import (
    common_columns,
    difference_records,
    group_records,
    measured,
    row_records,
)
from tapetum.core.errors import DataError, UsageError

__all__ = ["calibration"]

SELECTION = "probe: learned on train, hyper-parameters on inner patient folds of it; calibrators: fitted on val"
TUNED = "towers and head: learned on train, some patients of it held out of the steps; calibrators: fitted on val"
COLUMNS = (
    "expected_calibration_error", "debiased_calibration_error", "brier_error", "log_loss_error",
    "expected_calibration_difference", "brier_difference", "calibration_slope", "calibration_intercept", "auroc_score",
)  # fmt: skip


def calibration(
    trial: Trial,
    *,
    calibrators: tuple[str, ...] = ("temperature", "platt", "isotonic", "beta"),
    adapter: str = "logistic",
    groups: bool = True,
) -> Results:
    """What the probabilities of a probe are worth as they are, and after calibrators fitted on validation patients.

    Findings that occur together are read by sigmoid; with `exclusive=true` classes by softmax, each class against the
    rest, and beside them how sure the most probable class is. With another archive (`--test`) this is calibration under
    shift: fitted here, tested there. ECE in 15 bins of equal width; the debiased error in 15 of equal mass.

    Args:
        trial: what is learned on and tested.
        calibrators: members of `score/calibration`; of one that has modes, the one that fits the labels is taken.
        adapter: member of `learn/adapters` that needs no words; with `mode=finetune` the tuned head instead.
        groups: measure by sex, age, device, eye, quality and size, too, as it is and after each calibrator.

    Raises:
        UsageError: `ordinal`, an unknown calibrator, one that cannot read such labels, or an adapter that needs words.
        DataError: no labels, or no finding whose probabilities can be measured.

    Source: own protocol; measures as in their files. Differs: patients, not images, are resampled; draws of errors in
    bins are moved by the noise that resampling adds.
    """
    if trial.config.ordinal:
        raise UsageError("ordinal=true with calibration", "exclusive=true takes grades as classes", "ordinal=false")
    specs, trial = calibrators_for(calibrators, trial.config.exclusive), tuned(trial)
    probe = probe_of(trial, adapter)
    stated, notes = stated_by(probe, specs, trial.external)
    within = context(trial, "calibration", TUNED if trial.made else SELECTION, None)
    rows = measured(within, stated)
    columns = common_columns(probe, rows)
    if not columns:
        raise DataError("no finding has probabilities in every row and both classes among the tested images", "one")
    left_out = [f for j, f in enumerate(probe.findings) if j not in columns]
    if left_out:
        notes.append(f"macro: mean of {len(columns)} findings, without {', '.join(left_out)}")
    records = row_records(probe, rows[0], columns)
    for row in rows[1:]:
        records += [*row_records(probe, row, columns), *difference_records(probe, rows[0], row, columns)]
    if groups:
        of_groups, few = group_records(probe, rows, columns, groups_of(trial.test_records))
        records, notes = records + of_groups, notes + few
    notes = [
        "ECE, debiased, Brier, log loss: 0 is perfect; slope: 1, below it probabilities are too extreme; intercept: 0, "
        "below it they are too high; slope and log loss of step functions depend on how near to 0 and 1 they may go",
        *probe.notes, *notes,
    ]  # fmt: skip
    return Results(
        tuple(records), shown_on_page(trial, probe, stated), tuple(notes), None, trial, columns=COLUMNS,
        by_finding="expected_calibration_error",
    )  # fmt: skip
