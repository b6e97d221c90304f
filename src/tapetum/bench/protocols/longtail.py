"""Long tail: what methods for rare classes gain, and what they cost the common ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tapetum.bench.tables.results import Results
from tapetum.bench.tables.rows import context
from tapetum.bench.trial import Trial
from tapetum.bench.trust.tail_methods import FINDINGS, PICTURES, STANDARD
from tapetum.bench.trust.tail_rows import Rows, Tail, pictures_of, rows_of
from tapetum.bench.trust.tailed import Measured, Runs, Starts, measure, run_methods, tail_records
from tapetum.core.errors import UsageError
from tapetum.core.registry import Spec
from tapetum.learn.classifying.plan import Pace
from tapetum.score.imbalance import GROUPS, frequency_groups

__all__ = ["longtail"]

SELECTION = "last epoch; nothing chosen; one setting each"
COLUMNS = (
    "balanced_accuracy_score", "balanced_accuracy_difference", "balanced_accuracy_difference (p)", "auroc_score",
    "worst_recall_score", "head_recall_score", "medium_recall_score", "tail_recall_score", "f1_score", "accuracy_score",
)  # fmt: skip
COLUMNS_FINDINGS = (
    "auroc_score", "auroc_difference", "auroc_difference (p)", "tail_auroc_difference", "worst_auroc_score",
    "head_auroc_score", "medium_auroc_score", "tail_auroc_score",
)  # fmt: skip


def longtail(
    trial: Trial,
    *,
    methods: tuple[str, ...] = (),
    seeds: int = 3,
    together: bool = False,
    starts: tuple[str, ...] = (),
    start_epochs: int = 10,
    imbalance: float = 0.0,
    largest: int = 0,
    cut: tuple[int, ...] = (),
    epochs: int = 30,
    batch: int = 256,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.1,
    offset_rate: float = 30.0,
) -> Results:
    """Methods × seeds on exclusive classes: macro, worst class, head, medium and tail.

    With `mode=finetune` the tower learns with each of them, on pictures that are changed anew in each epoch; what
    blends pixels needs it. All methods learn from the same rows at the same pace, and each has one setting: nothing is
    chosen. The test images stay as they are. Intervals draw patients and runs together; differences are to the first
    method, paired, with Holm's p over all methods. `worst_recall_score` is the recall of the class that a method
    recognises least.

    Args:
        trial: what is learned on (train) and tested; every image has exactly one class.
        methods: specs of `learn/methods`, by default those of `bench/trust/tail_methods.py`; compared with the first.
        seeds: runs of each method, from the seed of the run on.
        together: findings that occur together in place of classes: AUROCs of all, head, medium and tail findings.
        starts: members of `learn/self_supervision`: each method is also run on a tower that was first refined so,
            without labels, on the same training images; with `mode=finetune`.
        start_epochs: passes over the training images then.
        imbalance: thin the training images to an exponential tail, the commonest class to the rarest; 0 = as they are.
        largest: images of the commonest class then; 0 = as many as all classes have enough for.
        cut: how many of the commonest classes are head, and how many head or medium; () = thirds of the logarithm of
            the training counts.
        epochs: passes over the training rows; a method in two stages has them twice.
        batch: rows per step.
        learning_rate: peak.
        weight_decay: of matrices.
        offset_rate: multiplies the learning rate of offsets, which alone can say how common a class is.

    Raises:
        UsageError: no seed, an unknown method, or a cut that cannot be. DataError: images with several classes, or too
            few of a class for the imbalance.

    Source: own protocol, after MONICA (arXiv 2410.02010). Differs: macro is the mean over classes and not over groups,
    nothing is selected on val, patients are resampled, an absent class is undefined and not 0.
    """
    tuning = trial.config.mode == "finetune"
    specs = _once(methods or (FINDINGS if together else PICTURES if tuning else STANDARD))
    _refuse(seeds, start_epochs, tuning and together)
    train, test, notes = rows_of(trial, together=together)
    frequency_groups(train.counts, cut)  # a wrong cut is refused before anything is learned
    pace = Pace(epochs, batch, learning_rate, weight_decay, offset_rate)
    numbers = tuple(trial.config.seed + i for i in range(seeds))
    begun = Starts(_once(starts), start_epochs)
    runs = run_methods(train, test, specs, numbers, pace, Tail(imbalance, largest), pictures_of(trial), begun)
    return _results(trial, runs, test, cut, pace, [*notes, *begun.told])


def _results(trial: Trial, runs: Runs, test: Rows, cut: Sequence[int], pace: Pace, notes: Sequence[str]) -> Results:
    within = dataclasses.replace(context(trial, "longtail", SELECTION, None), patients=test.embeddings.patient_ids)
    found = measure(runs, test, cut, within)
    records, told = tail_records(within, found, test), (*notes, *_notes(found, test, pace))
    columns, by = (COLUMNS, "recall_score") if test.exclusive else (COLUMNS_FINDINGS, "auroc_score")
    return Results(tuple(records), (), told, None, trial, runs.alarms, columns=columns, by_finding=by)


def _refuse(seeds: int, start_epochs: int, findings_of_pictures: bool) -> None:
    if min(seeds, start_epochs) < 1:
        raise UsageError(f"seeds={seeds}, start_epochs={start_epochs}", "one seed and epoch or more")
    if findings_of_pictures:
        raise UsageError("mode=finetune with together=True", "classes, or frozen features", "mode=frozen")


def _once(specs: Sequence[str]) -> tuple[str, ...]:
    """Each by its canonical spec."""
    return tuple(dict.fromkeys(str(Spec.parse(spec)) for spec in specs))


def _notes(found: Measured, test: Rows, pace: Pace) -> list[str]:
    runs, notes = found.runs, list[str]()
    for g, name in enumerate(GROUPS):
        of = [f"{c} {runs.counts[i]:.0f}" for i, c in enumerate(test.classes) if found.groups[i] == g]
        notes.append(f"{name}, training images: {', '.join(of) or 'no class'}")
    return [
        *notes,
        f"differences are to {runs.methods[0]}, paired; p after Holm over {len(runs.methods) - 1} methods",
        f"every method: {pace.epochs} epochs a stage, batch {pace.batch}, learning rate {pace.learning_rate:g}, "
        f"weight decay {pace.weight_decay:g}, offsets {pace.offset_rate:g} times as fast; "
        f"{SELECTION}; seeds {', '.join(map(str, runs.seeds))}",
    ]
