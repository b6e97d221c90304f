"""Classifiers that learn from a long tail: the runs of every method, and their Records."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int64

from tapetum.bench.tables.measures import MACRO, Context
from tapetum.bench.trust.tail_methods import method_of
from tapetum.bench.trust.tail_rows import Rows, Tail
from tapetum.core.errors import UsageError
from tapetum.core.types import Interval, Record
from tapetum.learn.classifying.pictures import Pictures
from tapetum.learn.classifying.plan import Pace
from tapetum.learn.classifying.starting import refined
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.fitting.standardise import Standardiser
from tapetum.learn.pretext.run import SelfSupervisionConfig
from tapetum.score.imbalance import (
    GROUPS,
    ClassDraws,
    class_draws,
    finding_draws,
    frequency_groups,
    known_mean,
)
from tapetum.score.stats.bounds import drawn_difference, drawn_interval
from tapetum.score.stats.draws import cluster_weights
from tapetum.score.stats.multiple import holm

SUPERVISED = "supervised"
COMPARED = ("balanced_accuracy", "auroc", "tail_recall")
COMPARED_FINDINGS = ("auroc", "tail_auroc")
_POWER = 0.5  # of the signed root before features are standardised, as in the adapters


@dataclass(frozen=True)
class Starts:
    """Self-supervised stages before the one with labels, on the same training images.

    Args:
        objectives: specs of `learn/self_supervision`. epochs: of each. batch: images per step.
    """

    objectives: tuple[str, ...] = ()
    epochs: int = 10
    batch: int = 64

    def config(self, objective: str, seed: int) -> SelfSupervisionConfig | None:
        """Of one stage; None where the tower begins as it is."""
        if not objective:
            return None
        return SelfSupervisionConfig(objective, epochs=self.epochs, batch=self.batch, seed=seed)

    @property
    def told(self) -> list[str]:
        """For people."""
        what = f"{self.epochs} epochs without labels on the same training images first, batch {self.batch}"
        return [f"from {', '.join(self.objectives)}: {what}"] if self.objectives else []

    def named(self, methods: Sequence[str]) -> tuple[str, ...]:
        """Rows of the table: every method as the tower is, then from every start.

        Example:
            >>> Starts(("moco()",)).named(["crt()"])
            ('crt()', 'crt() from moco()')
        """
        return (*methods, *(f"{m} from {objective}" for objective in self.objectives for m in methods))


@dataclass(frozen=True)
class Runs:
    """What every method gave on the tested images, run by run.

    Attributes:
        methods: canonical specs, the one compared with first. seeds: of the runs, the same for all methods.
        counts: training images of each class. logits: `[methods · seeds, images, classes]`.
        alarms: what a person must read of the stages without labels.
    """

    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    counts: Float64[np.ndarray, "k"]
    logits: Float[np.ndarray, "r n k"]
    alarms: tuple[str, ...] = ()

    def of(self, method: int) -> slice:
        """The runs of a method."""
        return slice(method * len(self.seeds), (method + 1) * len(self.seeds))


def run_methods(
    train: Rows,
    test: Rows,
    methods: Sequence[str],
    seeds: Sequence[int],
    pace: Pace,
    tail: Tail,
    pictures: tuple[Pictures, Pictures] | None = None,
    starts: Starts = Starts(),
) -> Runs:
    """Every method from every seed and every start, each at the same pace and from the same rows.

    Features are standardised on the training rows alone, to about unit variance per column. With a tail, each seed
    draws its own images, the same for all methods; a start is learned anew from them, once for all methods.

    Args:
        train: rows to learn from.
        test: rows to score.
        methods: canonical specs.
        seeds: of the runs.
        pace: of all methods.
        tail: how the training rows are thinned.
        pictures: of the archive learned on and of the tested one: the tower learns too; None = frozen features.
        starts: where the tower begins, beside as it is.

    Raises:
        UsageError: an unknown method, one that cannot learn such labels, or a start without pictures.
    """
    if starts.objectives and pictures is None:
        raise UsageError(f"starts={starts.objectives} of a frozen tower", "a tower that learns", "mode=finetune")
    built = [method_of(spec, train.exclusive) for spec in methods]
    found, alarms = list[list[np.ndarray]](), list[str]()
    counts = train.counts
    for seed in seeds:
        rows = tail.thin(train, np.random.default_rng([seed, 1]))
        counts, logits = rows.counts, list[np.ndarray]()
        for objective in ("", *starts.objectives):
            if pictures is None:
                taught, query = _frozen(rows, test)
            else:
                taught, query, said = _moving(rows, test, pictures, starts.config(objective, seed))
                alarms += said
            logits += [m.fit(taught, pace, np.random.default_rng([seed, 2]))(query) for m in built]
        found.append(logits)
    by_method = [run for runs in zip(*found, strict=True) for run in runs]
    return Runs(starts.named(methods), tuple(seeds), counts, np.stack(by_method), tuple(dict.fromkeys(alarms)))


def _frozen(rows: Rows, test: Rows) -> tuple[Taught, np.ndarray]:
    width = rows.embeddings.features.shape[1]
    standardiser = Standardiser.fit(rows.embeddings.features, _POWER, rows.embeddings.blocks)
    features, query = (
        (standardiser(r.embeddings.features) * np.float32(np.sqrt(width))).astype(np.float32) for r in (rows, test)
    )
    return Taught(features, rows.labels, len(rows.classes), np.asarray(rows.embeddings.patient_ids)), query


def _moving(
    rows: Rows, test: Rows, pictures: tuple[Pictures, Pictures], start: SelfSupervisionConfig | None
) -> tuple[Taught, Any, tuple[str, ...]]:
    learned, asked = pictures
    seen, alarms = rows.embeddings, ()
    if start is not None:
        learned, seen, alarms = refined(learned, seen, start)
    taught = learned.taught(seen, rows.labels.astype(np.int64), len(rows.classes))
    return taught, asked.asked(test.embeddings.image_ids), alarms


@dataclass(frozen=True)
class Measured:
    """Every measure of every run, on all images and in every draw of patients.

    Attributes:
        runs: what was measured. once: on all images, `[1 …]`. drawn: in each draw. groups: 0 head, 1 medium, 2 tail.
        exclusive: each image has one class; else only AUROCs of findings are known.
    """

    runs: Runs
    once: ClassDraws
    drawn: ClassDraws
    groups: Int64[np.ndarray, "k"]
    exclusive: bool = True

    @cached_property
    def values(self) -> dict[str, tuple[Float64[np.ndarray, "r"], Float64[np.ndarray, "b r"]]]:
        """Each macro measure of each run: on all images, and in every draw."""
        found: dict[str, list[np.ndarray]] = {}
        for draws in (self.once, self.drawn):
            main = self._main(draws)
            parts = {
                "auroc": known_mean(draws.auroc),
                **{f"{g}_{self.by_class}": known_mean(main, self.groups == i) for i, g in enumerate(GROUPS)},
                f"worst_{self.by_class}": self._worst(draws),
            }
            if self.exclusive:
                parts = {"balanced_accuracy": known_mean(draws.recall), **parts}
                parts |= {"f1": known_mean(draws.f1), "accuracy": draws.accuracy}
            for name, value in parts.items():
                found.setdefault(name, []).append(value)
        return {name: (once[0], drawn) for name, (once, drawn) in found.items()}

    @property
    def by_class(self) -> str:
        """The measure of a class that groups are made of."""
        return "recall" if self.exclusive else "auroc"

    @property
    def compared(self) -> tuple[str, ...]:
        """Measures whose differences to the first method are told."""
        return COMPARED if self.exclusive else COMPARED_FINDINGS

    @cached_property
    def worst(self) -> list[int]:
        """Of each method the class with the lowest recall (or AUROC) on all images, meaned over its runs."""
        main = self._main(self.once)[0]
        each = [main[self.runs.of(m)].mean(axis=0) for m in range(len(self.runs.methods))]
        return [int(np.nanargmin(values)) if not np.isnan(values).all() else 0 for values in each]

    def _main(self, draws: ClassDraws) -> Float64[np.ndarray, "b r k"]:
        return draws.recall if self.exclusive else draws.auroc

    def _worst(self, draws: ClassDraws) -> Float64[np.ndarray, "b r"]:
        """Of that class: it stays what it is, for the least of several classes in a draw is always too low."""
        main = self._main(draws)
        return np.concatenate([main[:, self.runs.of(m), c] for m, c in enumerate(self.worst)], axis=1)


def measure(runs: Runs, test: Rows, cut: Sequence[int], within: Context) -> Measured:
    """All measures of all runs on the same draws of patients."""
    one = np.ones((1, len(test.labels)), np.uint8)
    of = class_draws if test.exclusive else finding_draws
    weights = cluster_weights(within.patients, within.draws, within.rng())
    blocks = [of(runs.logits, test.labels, block) for block in weights]
    fields = [f.name for f in dataclasses.fields(ClassDraws)]
    drawn = ClassDraws(**{name: np.concatenate([getattr(b, name) for b in blocks]) for name in fields})
    groups = frequency_groups(runs.counts, cut)
    return Measured(runs, of(runs.logits, test.labels, one), drawn, groups, test.exclusive)


def tail_records(within: Context, found: Measured, test: Rows) -> list[Record]:
    """Records of every method: macro measures, differences to the first one with Holm's p, recall and AUROC by class.

    Every draw takes patients and runs with replacement, the same for all methods.
    """
    runs, number = found.runs, len(found.runs.seeds)
    shares = within.rng().multinomial(number, np.full(number, 1 / number), size=within.draws) / number
    note = f" of patients and of {number} runs" if number > 1 else ""
    whole = test.told
    records: list[Record] = []

    def drawn(once: np.ndarray, values: np.ndarray, method: int) -> tuple[float, np.ndarray]:
        of = runs.of(method)
        return float(once[of].mean()), (values[:, of] * shares).sum(axis=1)

    def interval(once: np.ndarray, values: np.ndarray, method: int) -> Interval:
        estimate, draws = drawn(once, values, method)
        return drawn_interval(estimate, draws, within.patients, level=0.95, note=note)

    apart = {name: differences(within, found, name, shares, note) for name in found.compared}
    for m, spec in enumerate(runs.methods):
        mine = dataclasses.replace(within, digests={**within.digests, "model": _digest(found.runs, m)})

        def add(finding: str, metric: str, value: Interval, labels: np.ndarray, mine: Context = mine, spec: str = spec):
            record = mine.record(spec, SUPERVISED, finding, metric, value, labels)
            records.append(dataclasses.replace(record, seeds=runs.seeds))

        for name, (once, values) in found.values.items():
            add(MACRO, f"{name}_score", interval(once, values, m), whole)
        for name in found.compared if m else ():
            difference, p_value = apart[name][m - 1]
            add(MACRO, f"{name}_difference", difference, whole)
            add(MACRO, f"{name}_difference (p)", p_value, whole)
        for c, finding in enumerate(test.classes):
            column = whole[:, c]
            if found.exclusive:
                recall = found.once.recall[0, :, c], found.drawn.recall[:, :, c]
                add(finding, "recall_score", interval(*recall, m), column)
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
