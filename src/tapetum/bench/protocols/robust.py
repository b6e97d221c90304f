"""Robust training: what methods make of labels that are partly wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from tapetum.bench.tables.measures import Context
from tapetum.bench.tables.results import Results
from tapetum.bench.tables.rows import context
from tapetum.bench.trial import Trial
from tapetum.bench.trust.label_noise import AS_GIVEN, at_rates
from tapetum.bench.trust.robustness import (
    Features,
    in_order,
    lost_classes,
    rate_records,
    run_version,
    runs_digest,
    tested_records,
    trusted_records,
)
from tapetum.bench.trust.tail_methods import method_of
from tapetum.bench.trust.tail_rows import pictures_of, rows_of
from tapetum.core.errors import UsageError
from tapetum.core.registry import Spec
from tapetum.core.types import Record
from tapetum.learn.classifying.plan import Pace

__all__ = ["robust"]

SELECTION = "last epoch; nothing chosen; one setting each; shares of wrong labels estimated out of fold; val not used"
COLUMNS = (
    "balanced_accuracy_score", "balanced_accuracy_difference", "balanced_accuracy_difference (p)", "auroc_score",
    "tail_recall_score", "accuracy_score", "quadratic_kappa_score", "quadratic_kappa_difference",
    "trusted_precision_score", "trusted_recall_score", "planted_rate", "noise_rate (anchors)", "noise_rate (confident)",
)  # fmt: skip
DEFAULT = (
    "one_stage(head='hidden')",
    "one_stage(head='hidden', loss='cross_entropy(smoothing=0.1)')",
    "one_stage(head='hidden', loss='generalised_cross_entropy')",
    "one_stage(head='hidden', loss='balanced_softmax')",
    "co_teaching()",
)


def robust(
    trial: Trial,
    *,
    methods: tuple[str, ...] = DEFAULT,
    plant: tuple[str, ...] = ("symmetric", "instance"),
    rates: tuple[float, ...] = (0.2, 0.4),
    seeds: int = 3,
    components: int = 256,
    epochs: int = 30,
    batch: int = 256,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.1,
    offset_rate: float = 30.0,
) -> Results:
    """Methods × wrong labels × seeds on exclusive classes, tested on labels as they are.

    With `mode=finetune` a tower learns with each method, and with each fold that judges labels. Flips are planted among
    the training labels only, anew for each seed and the same for all methods, which are told neither kind nor rate:
    what they need they estimate. Validation patients take no part. Differences are to the first method on the same
    wrong labels, paired, with Holm's p. `trusted_precision_score`: how many of the labels that a method chose are
    right; `trusted_recall_score`: how many of the right ones it chose, per class too: rare ones are lost first.

    Args:
        trial: what is learned on (train) and tested; every image has exactly one class, with `ordinal` a grade.
        methods: specs of `learn/methods`; the others are compared with the first.
        plant: members of `score/planting`, each at each rate, beside the labels as given; () = those only.
        rates: shares of flipped labels.
        seeds: runs of each method, from the seed of the run on.
        components: largest principal components of frozen features that are learned from; 0 = all columns.
        epochs: passes over the training rows; a method in several stages has them for each.
        batch: rows per step.
        learning_rate: peak.
        weight_decay: of matrices.
        offset_rate: multiplies the learning rate of offsets, which alone can say how common a class is.

    Raises:
        UsageError: no method or seed, a rate outside 0..1, or an unknown name. DataError: images with several classes.

    Source: own protocol, after LNMBench (arXiv 2512.09315). Differs: the rate is estimated and never given, val is not
    used, nothing is read off the test set epoch by epoch, rare classes are measured, patients are resampled.
    """
    specs = _checked(methods, rates, seeds)
    train, test, notes = rows_of(trial)
    if trial.config.ordinal:
        train, test = in_order(train), in_order(test)
    features = Features.of(train, test, components, np.random.default_rng(trial.config.seed), pictures_of(trial))
    pace = Pace(epochs, batch, learning_rate, weight_decay, offset_rate)
    numbers = tuple(trial.config.seed + i for i in range(seeds))
    versions = [run_version(features, v, specs, numbers, pace) for v in (AS_GIVEN, *at_rates(plant, rates))]
    within = context(trial, "robust", SELECTION, None)
    inside = _inside(within, trial, features, runs_digest(features, specs, pace))
    whole = np.eye(len(train.classes))[train.labels]
    records: list[Record] = []
    for version in versions:
        records += tested_records(within, features, version, trial.config.ordinal)
        records += trusted_records(inside, features, version) if version.name != AS_GIVEN else []
        records += rate_records(inside, version, whole)
    notes += _notes(specs, pace, features, numbers, trial.config.mode)
    lost = tuple(lost_classes(records))
    return Results(tuple(records), (), tuple(notes), None, trial, columns=COLUMNS, warnings=lost)


def _checked(methods: Sequence[str], rates: Sequence[float], seeds: int) -> tuple[str, ...]:
    """Every method once, by its canonical spec."""
    specs = tuple(dict.fromkeys(str(Spec.parse(m)) for m in methods))
    if not specs or seeds < 1 or not all(0 < r < 1 for r in rates):
        raise UsageError(f"{len(specs)} methods, {seeds} seeds, rates={rates}", "a method, a seed, rates in 0..1")
    for spec in specs:
        method_of(spec)
    return specs


def _notes(specs: Sequence[str], pace: Pace, features: Features, seeds: Sequence[int], mode: str) -> list[str]:
    return [
        f"differences are to {specs[0]} on the same labels, paired; p after Holm over {len(specs) - 1} methods",
        f"every method: {pace.epochs} epochs a stage, batch {pace.batch}, learning rate {pace.learning_rate:g}, "
        f"weight decay {pace.weight_decay:g}, offsets {pace.offset_rate:g} times as fast, "
        f"{features.taught.shape[1]} columns, {mode}; {SELECTION}; seeds {', '.join(map(str, seeds))}",
    ]


def _inside(within: Context, trial: Trial, features: Features, digest: str) -> Context:
    """Of the images learned on."""
    return dataclasses.replace(
        within, patients=features.train.embeddings.patient_ids, data=trial.archive.name, phantom=trial.archive.phantom,
        digests={**within.digests, "split": "train", "model": digest},
    )  # fmt: skip
