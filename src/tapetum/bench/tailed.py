"""Classifiers that learn from a long tail: the rows, the runs of every method, and their Records."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Float64, Int64

from tapetum.archive import Archive
from tapetum.bench.adapting import taught_findings
from tapetum.bench.measures import MACRO, Context
from tapetum.bench.trial import Trial
from tapetum.core.errors import DataError, UsageError
from tapetum.core.registry import Family
from tapetum.core.types import Embeddings, Interval, Record, Split
from tapetum.learn.classifying.plan import Pace
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.fitting.standardise import Standardiser
from tapetum.learn.methods import Method
from tapetum.score.imbalance import (
    GROUPS,
    ClassDraws,
    class_draws,
    exponential_counts,
    frequency_groups,
    known_mean,
)
from tapetum.score.stats.bounds import drawn_difference, drawn_interval
from tapetum.score.stats.draws import cluster_weights
from tapetum.score.stats.multiple import holm

METHODS = Family("tapetum.learn.methods")
SUPERVISED = "supervised"
COMPARED = ("balanced_accuracy", "auroc", "tail_recall")
_POWER = 0.5  # of the signed root before features are standardised, as in the adapters


@dataclass(frozen=True)
class Rows:
    """Images with one class each.

    Attributes:
        classes: names of the classes. embeddings: raw features. labels: 0..k-1. left_out: images without any of them.
    """

    classes: tuple[str, ...]
    embeddings: Embeddings
    labels: Int64[np.ndarray, "n"]
    left_out: int = 0

    @property
    def counts(self) -> Float64[np.ndarray, "k"]:
        """Images of each class."""
        return np.bincount(self.labels, minlength=len(self.classes)).astype(np.float64)


def rows_of(trial: Trial) -> tuple[Rows, Rows, list[str]]:
    """Training and test images with exactly one class each, and notes on what was left out.

    Raises:
        DataError: an image with several classes, a labelled one without any, or fewer than two classes.
    """
    classes, notes = taught_findings(trial)
    if len(classes) < 2:
        raise DataError(f"{len(classes)} classes to learn in {trial.archive.name}", "two or more")
    train = [r.image_id for r in trial.archive.in_split(Split.TRAIN)]
    taught = _one_each(trial.archive, classes, trial.embeddings.rows(train), chosen=bool(trial.config.findings))
    tested = _one_each(trial.test_archive, classes, trial.test_embeddings, chosen=bool(trial.config.findings))
    for rows, what in ((taught, "training"), (tested, "test")):
        if rows.left_out:
            notes.append(f"{rows.left_out} {what} images left out: none of the classes")
    absent = [c for c, n in zip(classes, tested.counts, strict=True) if not n]
    if absent:
        notes.append(f"no test image, so undefined and in no mean: {', '.join(absent)}")
    return taught, tested, notes


def _one_each(archive: Archive, classes: tuple[str, ...], embeddings: Embeddings, *, chosen: bool) -> Rows:
    labels = archive.labels(classes, image_ids=list(embeddings.image_ids))
    number, silent = np.nansum(labels, axis=1), np.isnan(labels).all(axis=1)
    wrong = (number > 1) | ((number == 0) & ~silent & (not chosen))
    if wrong.any():
        raise DataError(
            f"{int(wrong.sum())} of {len(labels)} images of {archive.name} have several of the classes, or none",
            "exactly one each",
            "findings=… of classes that exclude each other; linear_probe takes findings that occur together",
        )
    kept = np.flatnonzero(number == 1)
    if not len(kept):
        raise DataError(f"no image of {archive.name} has one of the classes {', '.join(classes)}", "labels")
    rows = embeddings.rows([embeddings.image_ids[i] for i in kept])
    return Rows(classes, rows, np.nanargmax(labels[kept], axis=1).astype(np.int64), len(labels) - len(kept))


@dataclass(frozen=True)
class Tail:
    """How the training images are thinned to an exponential tail.

    Args:
        imbalance: of the commonest class to the rarest; 0 = the images as they are.
        largest: images of the commonest class; 0 = all of them.
    """

    imbalance: float = 0.0
    largest: int = 0

    def wanted(self, rows: Rows) -> Int64[np.ndarray, "k"]:
        """Images of each class that stay.

        Raises:
            UsageError: a ratio that cannot be. DataError: a class has too few images for it.
        """
        counts = rows.counts.astype(np.int64)
        if not self.imbalance:
            return counts
        order = np.argsort(-counts, kind="stable")
        falling = exponential_counts(self.largest or int(counts.max()), self.imbalance, len(counts))
        wanted = np.empty_like(counts)
        wanted[order] = falling
        short = np.flatnonzero(wanted > counts)
        if len(short):
            worst = short[np.argmax(wanted[short] / np.maximum(counts[short], 1))]
            found = f"{rows.classes[worst]} has {counts[worst]} training images, {wanted[worst]} are needed"
            raise DataError(f"imbalance={self.imbalance:g}: {found}", "a larger imbalance or a smaller largest=")
        return wanted

    def thin(self, rows: Rows, rng: np.random.Generator) -> Rows:
        """The images that stay: patient after patient in a random order until each class is full."""
        if not self.imbalance:
            return rows
        wanted = self.wanted(rows)
        people, who = np.unique(np.asarray(rows.embeddings.patient_ids), return_inverse=True)
        place = rng.permutation(len(people))[who]
        order = np.argsort(place, kind="stable")
        kept = [order[rows.labels[order] == c][:n] for c, n in enumerate(wanted)]
        chosen = np.sort(np.concatenate(kept))
        ids = [rows.embeddings.image_ids[i] for i in chosen]
        return dataclasses.replace(rows, embeddings=rows.embeddings.rows(ids), labels=rows.labels[chosen])


@dataclass(frozen=True)
class Runs:
    """What every method gave on the tested images, run by run.

    Attributes:
        methods: canonical specs, the one compared with first. seeds: of the runs, the same for all methods.
        counts: training images of each class. logits: `[methods · seeds, images, classes]`.
    """

    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    counts: Float64[np.ndarray, "k"]
    logits: Float[np.ndarray, "r n k"]

    def of(self, method: int) -> slice:
        """The runs of a method."""
        return slice(method * len(self.seeds), (method + 1) * len(self.seeds))


def run_methods(train: Rows, test: Rows, methods: Sequence[str], seeds: Sequence[int], pace: Pace, tail: Tail) -> Runs:
    """Every method from every seed, each at the same pace and from the same rows.

    Features are standardised on the training rows alone, to about unit variance per column. With a tail, each seed
    draws its own images, the same for all methods.

    Raises:
        UsageError: an unknown method, or one that cannot learn classes.
    """
    built = [_method(spec) for spec in methods]
    found = list[list[np.ndarray]]()
    counts = train.counts
    for seed in seeds:
        rows = tail.thin(train, np.random.default_rng([seed, 1]))
        counts, width = rows.counts, rows.embeddings.features.shape[1]
        standardiser = Standardiser.fit(rows.embeddings.features, _POWER, rows.embeddings.blocks)
        features, query = (
            (standardiser(r.embeddings.features) * np.float32(np.sqrt(width))).astype(np.float32) for r in (rows, test)
        )
        taught = Taught(features, rows.labels, len(rows.classes), np.asarray(rows.embeddings.patient_ids))
        found.append([m.fit(taught, pace, np.random.default_rng([seed, 2]))(query) for m in built])
    by_method = [run for runs in zip(*found, strict=True) for run in runs]
    return Runs(tuple(methods), tuple(seeds), counts, np.stack(by_method))


def _method(spec: str) -> Method:
    method: Method = METHODS.build(spec)
    if any(need != "classes" for need in method.NEEDS):
        raise UsageError(f"{spec} learns from {', '.join(method.NEEDS)}", "a method of classes")
    return method


@dataclass(frozen=True)
class Measured:
    """Every measure of every run, on all images and in every draw of patients.

    Attributes:
        runs: what was measured. once: on all images, `[1 …]`. drawn: in each draw. groups: 0 head, 1 medium, 2 tail.
    """

    runs: Runs
    once: ClassDraws
    drawn: ClassDraws
    groups: Int64[np.ndarray, "k"]

    @cached_property
    def values(self) -> dict[str, tuple[Float64[np.ndarray, "r"], Float64[np.ndarray, "b r"]]]:
        """Each macro measure of each run: on all images, and in every draw."""
        found: dict[str, list[np.ndarray]] = {}
        for draws in (self.once, self.drawn):
            parts = {
                "balanced_accuracy": known_mean(draws.recall),
                "auroc": known_mean(draws.auroc),
                **{f"{g}_recall": known_mean(draws.recall, self.groups == i) for i, g in enumerate(GROUPS)},
                "worst_recall": self._worst(draws),
                "f1": known_mean(draws.f1),
                "accuracy": draws.accuracy,
            }
            for name, value in parts.items():
                found.setdefault(name, []).append(value)
        return {name: (once[0], drawn) for name, (once, drawn) in found.items()}

    @cached_property
    def worst(self) -> list[int]:
        """Of each method the class with the lowest recall on all images, meaned over its runs."""
        recall = [self.once.recall[0, self.runs.of(m)].mean(axis=0) for m in range(len(self.runs.methods))]
        return [int(np.nanargmin(r)) for r in recall]

    def _worst(self, draws: ClassDraws) -> Float64[np.ndarray, "b r"]:
        """Recall of that class: the class stays what it is, for the least of several draws is always too low."""
        return np.concatenate([draws.recall[:, self.runs.of(m), c] for m, c in enumerate(self.worst)], axis=1)


def measure(runs: Runs, test: Rows, cut: Sequence[int], within: Context) -> Measured:
    """All measures of all runs on the same draws of patients."""
    one = np.ones((1, len(test.labels)), np.uint8)
    blocks = [
        class_draws(runs.logits, test.labels, w) for w in cluster_weights(within.patients, within.draws, within.rng())
    ]
    fields = [f.name for f in dataclasses.fields(ClassDraws)]
    drawn = ClassDraws(**{name: np.concatenate([getattr(b, name) for b in blocks]) for name in fields})
    return Measured(runs, class_draws(runs.logits, test.labels, one), drawn, frequency_groups(runs.counts, cut))


def tail_records(within: Context, found: Measured, test: Rows) -> list[Record]:
    """Records of every method: macro measures, differences to the first one with Holm's p, recall and AUROC by class.

    Every draw takes patients and runs with replacement, the same for all methods.
    """
    runs, number = found.runs, len(found.runs.seeds)
    shares = within.rng().multinomial(number, np.full(number, 1 / number), size=within.draws) / number
    note = f" of patients and of {number} runs" if number > 1 else ""
    whole = np.eye(len(test.classes))[test.labels]
    records: list[Record] = []

    def drawn(once: np.ndarray, values: np.ndarray, method: int) -> tuple[float, np.ndarray]:
        of = runs.of(method)
        return float(once[of].mean()), (values[:, of] * shares).sum(axis=1)

    def interval(once: np.ndarray, values: np.ndarray, method: int) -> Interval:
        estimate, draws = drawn(once, values, method)
        return drawn_interval(estimate, draws, within.patients, level=0.95, note=note)

    apart = {name: differences(within, found, name, shares, note) for name in COMPARED}
    for m, spec in enumerate(runs.methods):
        mine = dataclasses.replace(within, digests={**within.digests, "model": _digest(found.runs, m)})

        def add(finding: str, metric: str, value: Interval, labels: np.ndarray, mine: Context = mine, spec: str = spec):
            record = mine.record(spec, SUPERVISED, finding, metric, value, labels)
            records.append(dataclasses.replace(record, seeds=runs.seeds))

        for name, (once, values) in found.values.items():
            add(MACRO, f"{name}_score", interval(once, values, m), whole)
        for name in COMPARED if m else ():
            difference, p_value = apart[name][m - 1]
            add(MACRO, f"{name}_difference", difference, whole)
            add(MACRO, f"{name}_difference (p)", p_value, whole)
        for c, finding in enumerate(test.classes):
            column = whole[:, c]
            add(finding, "recall_score", interval(found.once.recall[0, :, c], found.drawn.recall[:, :, c], m), column)
            add(finding, "auroc_score", interval(found.once.auroc[0, :, c], found.drawn.auroc[:, :, c], m), column)
    return records


def differences(
    within: Context, found: Measured, name: str, shares: Float64[np.ndarray, "b s"], note: str
) -> list[tuple[Interval, Interval]]:
    """Each further method minus the first one, paired by run and by draw, and p after Holm over the methods."""
    once, values = found.values[name]
    first, apart = found.runs.of(0), list[Interval]()
    p_values: list[float] = []
    for m in range(1, len(found.runs.methods)):
        of = found.runs.of(m)
        draws = ((values[:, of] - values[:, first]) * shares).sum(axis=1)
        estimate = float((once[of] - once[first]).mean())
        difference = drawn_difference(estimate, draws, within.patients, level=0.95, note=note)
        apart.append(difference.interval)
        p_values.append(difference.p_value)
    adjusted = holm(np.array(p_values))
    how = f"two-sided, patient-cluster bootstrap, Holm over {len(apart)} methods"
    return [(d, Interval(float(p), np.nan, np.nan, how)) for d, p in zip(apart, adjusted, strict=True)]


def _digest(runs: Runs, method: int) -> str:
    """SHA-256 over spec, seeds and what came out: in place of a model's digest."""
    whole = hashlib.sha256(f"{runs.methods[method]}\0{runs.seeds}\0".encode())
    whole.update(np.ascontiguousarray(runs.logits[runs.of(method)]).tobytes())
    return whole.hexdigest()
