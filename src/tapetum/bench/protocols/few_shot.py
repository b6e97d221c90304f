"""Few-shot curves: how good each adapter is after 1, 2, 4, … images with and without each finding."""

from __future__ import annotations

import dataclasses

from tapetum.bench.models.adapting import taught_findings
from tapetum.bench.models.few_shot import choose_adapters, curves, nameable, needs_words, run_grid
from tapetum.bench.tables.measures import MACRO
from tapetum.bench.tables.results import Results
from tapetum.bench.tables.rows import context
from tapetum.bench.trial import Trial
from tapetum.core.types import Interval, Record

__all__ = ["few_shot"]

SELECTION = "hyper-parameters: inner patient folds of the drawn images, or none; no other label is seen"


def few_shot(
    trial: Trial,
    *,
    adapters: tuple[str, ...] = (),
    shots: tuple[int, ...] = (1, 2, 4, 8, 16),
    draws: int = 10,
    baseline: str = "linear_probe",
) -> Results:
    """Adapters × shots × draws on frozen features: macro AUROC, paired differences, area under the shot curve.

    Every adapter learns from the same draws and is tested on the same patients. Intervals resample patients and draws
    together; the range over the draws alone, with its standard deviation, stands beside them.

    Args:
        trial: what is learned on and tested; its model lends its towers, and its words to adapters that need them.
        adapters: specs; every adapter that can run if empty.
        shots: training images with, and as many without, each finding, rising.
        draws: of the shots, each from another order of the training images.
        baseline: spec of the adapter that all others are compared with.

    Raises:
        UsageError: shots or draws that cannot be, an adapter that needs words where no model knows any, or methods with
            unequal numbers of settings.
        DataError: no finding with both classes.

    Source: own protocol. Differs: patients, not images, are resampled, and drawn apart where there are enough;
    multi-label draws, in which an image drawn for one finding counts for the others.
    """
    trial.refuse_one_class_each("few_shot")
    trial.refuse_finetune("few_shot")
    findings, notes = taught_findings(trial)
    specs, left_out = choose_adapters(trial, adapters, baseline)
    left_out += trial.refuse_unequal_budgets(specs)
    findings, unnamed = nameable(trial, findings, specs)
    grid = run_grid(trial, findings, specs, shots, draws)
    within = context(trial, "few_shot", SELECTION, None)
    found = curves(grid, within.patients, rng=within.rng(), draws=within.draws)
    records: list[Record] = []
    for a, spec in enumerate(grid.adapters):
        mine = dataclasses.replace(within, digests={**within.digests, "model": grid.digests[a]})
        values: dict[str, Interval] = {"shot_curve_score": found.area(a, shots)}
        for s, number in enumerate(shots):
            values[f"auroc_{number}_shot_score"] = found.auroc(a, s)
        if a:
            values["shot_curve_difference"] = found.area(a, shots, minus=0)
            for s, number in enumerate(shots):
                values[f"auroc_{number}_shot_difference"] = found.difference(a, 0, s)
        for s, number in enumerate(shots):
            values[f"auroc_{number}_shot_range"] = found.range(a, s)
        learned = "reports + labels" if needs_words(spec) else "supervised"
        records += [mine.record(spec, learned, MACRO, k, v, grid.labels) for k, v in values.items()]
    sizes = ", ".join(f"{n}: {row.min()}–{row.max()}" for n, row in zip(shots, grid.support, strict=True))
    notes += [f"images learned from, by shots: {sizes}", f"differences are to {grid.adapters[0]} on the same draws"]
    return Results(tuple(records), (), (*notes, *left_out, *unnamed), None, trial)
