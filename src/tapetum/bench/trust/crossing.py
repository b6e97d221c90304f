"""Long tail × wrong labels × another clinic: the cells of one table, and what every method came to in each."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float64

from tapetum.bench.models.adapting import taught_findings
from tapetum.bench.tables.measures import MACRO, Context
from tapetum.bench.tables.rows import context
from tapetum.bench.trial import Trial
from tapetum.bench.trust.label_noise import AS_GIVEN
from tapetum.bench.trust.robustness import learned
from tapetum.bench.trust.tail_methods import method_of
from tapetum.bench.trust.tail_rows import Rows, Tail, pictures_of, rows_of
from tapetum.bench.trust.tailed import SUPERVISED, Measured, Runs, measure
from tapetum.core.types import Interval, Record
from tapetum.learn.classifying.pictures import Pictures
from tapetum.learn.classifying.plan import Pace
from tapetum.learn.fitting.components import Components
from tapetum.score.stats.bounds import drawn_difference, drawn_interval
from tapetum.score.stats.multiple import holm

BALANCED, APART, P_VALUE = "balanced_accuracy_score", "balanced_accuracy_difference", "balanced_accuracy_difference (p)"


@dataclass(frozen=True)
class Tested:
    """Where it is tested: a name for people, rows with one class each, and what the Records of them share.

    Attributes:
        pictures: where a tower learns, those of the archive.
    """

    name: str
    rows: Rows
    within: Context
    pictures: Pictures | None = None

    def asked(self, view: Components | None) -> Any:
        """What a classifier is given: features, or pictures."""
        if view is not None:
            return view(self.rows.embeddings.features)
        assert self.pictures is not None
        return self.pictures.asked(self.rows.embeddings.image_ids)


@dataclass(frozen=True)
class Teaching:
    """What is done to the training rows: how they are thinned, and which labels are made wrong."""

    tail: Tail
    maker: str

    @property
    def name(self) -> str:
        """For people."""
        thinned = f"1:{self.tail.imbalance:g}" if self.tail.imbalance else "as they are"
        return f"{thinned}, {self.maker}"


@dataclass(frozen=True)
class Cell:
    """One way of teaching, tested in one place."""

    teaching: Teaching
    tested: Tested
    found: Measured

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.teaching.name}, {self.tested.name}"


def run_teaching(
    train: Rows,
    tested: Sequence[Tested],
    teaching: Teaching,
    methods: Sequence[str],
    seeds: Sequence[int],
    pace: Pace,
    components: int,
    pictures: Pictures | None = None,
) -> list[Cell]:
    """Every method from every seed on the same thinned rows and wrong labels, tested everywhere.

    Args:
        train: rows to thin and to make wrong.
        tested: places to test.
        teaching: how.
        methods: specs of `learn/methods`; differences are to the first.
        seeds: of thinning, flips, folds and training.
        pace: of all methods.
        components: principal components of the features of the rows taught, 0 = all columns.
        pictures: of the rows, from which a tower learns, too; None = frozen features.

    Raises:
        UsageError: a method that cannot learn classes. DataError: a class too small for the imbalance.
    """
    built = [method_of(m) for m in methods]
    logits = [[list[np.ndarray]() for _ in methods] for _ in tested]
    counts = train.counts
    for seed in seeds:
        rows = teaching.tail.thin(train, np.random.default_rng([seed, 1]))
        counts, of = rows.counts, rows.embeddings
        view = (
            Components.fit(of.features, components, np.random.default_rng([seed, 5]), of.blocks)
            if pictures is None
            else None
        )
        features = of.features if view is None else view(of.features)
        made = learned(rows, features, teaching.maker, built, seed, pace, pictures)
        asked = [place.asked(view) for place in tested]
        for m, fitted in enumerate(made.fitted):
            for place, query in enumerate(asked):
                logits[place][m].append(fitted(query))
    cells: list[Cell] = []
    for place, of in zip(tested, logits, strict=True):
        runs = Runs(tuple(methods), tuple(seeds), counts, np.stack([run for each in of for run in each]))
        cells.append(Cell(teaching, place, measure(runs, place.rows, (), place.within)))
    return cells


def run_cells(
    train: Rows,
    tested: Sequence[Tested],
    planned: Sequence[Teaching],
    methods: Sequence[str],
    seeds: Sequence[int],
    pace: Pace,
    components: int,
    pictures: Pictures | None = None,
) -> list[Cell]:
    """Every way of teaching, see `run_teaching`; a class too small for one of them is refused before any is run."""
    for teaching in planned:
        teaching.tail.wanted(train)
    return [
        cell
        for teaching in planned
        for cell in run_teaching(train, tested, teaching, methods, seeds, pace, components, pictures)
    ]


def cell_records(cells: Sequence[Cell]) -> list[Record]:
    """Of every method: the mean over the cells, the cell where it is worst, then each cell; differences to the first.

    The worst cell is the one with the lowest value on all images; in the draws it stays that cell.
    """
    drawn = [_Drawn.of(cell) for cell in cells]
    mean = _Drawn(
        np.mean([d.once for d in drawn], axis=0), np.mean([d.values for d in drawn], axis=0), drawn[0].patients
    )
    records: list[Record] = []
    for m in range(len(cells[0].found.runs.methods)):
        records += _rows(cells[0], m, MACRO, mean, cells)
        worst = int(np.argmin([d.once[m] for d in drawn]))
        value = drawn[worst].interval(m)
        records.append(_record(cells[worst], m, MACRO, "worst_cell_score", value))
        for cell, d in zip(cells, drawn, strict=True):
            records += _rows(cell, m, cell.name, d, [cell])
    return records


@dataclass(frozen=True)
class _Drawn:
    """Balanced accuracy of every method, meaned over its runs: on all images, and in every draw."""

    once: Float64[np.ndarray, "m"]
    values: Float64[np.ndarray, "b m"]
    patients: Sequence[str]

    @staticmethod
    def of(cell: Cell) -> _Drawn:
        runs, within = cell.found.runs, cell.tested.within
        number = len(runs.seeds)
        shares = within.rng().multinomial(number, np.full(number, 1 / number), size=within.draws) / number
        once, values = cell.found.values["balanced_accuracy"]
        each = [runs.of(m) for m in range(len(runs.methods))]
        return _Drawn(
            np.array([once[of].mean() for of in each]),
            np.stack([(values[:, of] * shares).sum(axis=1) for of in each], axis=1),
            within.patients,
        )

    def interval(self, m: int) -> Interval:
        return drawn_interval(float(self.once[m]), self.values[:, m], self.patients, level=0.95, note=" and of runs")

    def apart(self) -> tuple[list[Interval], Float64[np.ndarray, "j"]]:
        """Each further method minus the first, and p after Holm."""
        found = [
            drawn_difference(
                float(self.once[m] - self.once[0]), self.values[:, m] - self.values[:, 0], self.patients, level=0.95,
                note=" and of runs",
            )
            for m in range(1, len(self.once))
        ]  # fmt: skip
        return [f.interval for f in found], holm(np.array([f.p_value for f in found]))


def _rows(cell: Cell, m: int, finding: str, drawn: _Drawn, cells: Sequence[Cell]) -> list[Record]:
    found = [_record(cell, m, finding, BALANCED, drawn.interval(m), cells)]
    if m:
        intervals, adjusted = drawn.apart()
        how = f"two-sided, patient-cluster bootstrap, Holm over {len(adjusted)} methods"
        p_value = Interval(float(adjusted[m - 1]), np.nan, np.nan, how)
        found.append(_record(cell, m, finding, APART, intervals[m - 1], cells))
        found.append(_record(cell, m, finding, P_VALUE, p_value, cells))
    return found


def _record(
    cell: Cell, m: int, finding: str, metric: str, interval: Interval, cells: Sequence[Cell] | None = None
) -> Record:
    runs, rows = cell.found.runs, cell.tested.rows
    whole = hashlib.sha256(f"{runs.methods[m]}\0{runs.seeds}\0".encode())
    for each in cells or [cell]:
        whole.update(f"{each.name}\0".encode() + np.ascontiguousarray(_logits(each, m)).tobytes())
    within = cell.tested.within
    mine = dataclasses.replace(within, digests={**within.digests, "model": whole.hexdigest()})
    truth = np.eye(len(rows.classes))[rows.labels]
    record = mine.record(runs.methods[m], SUPERVISED, finding, metric, interval, truth)
    return dataclasses.replace(record, seeds=runs.seeds)


def _logits(cell: Cell, m: int) -> Float[np.ndarray, "s n k"]:
    return cell.found.runs.logits[cell.found.runs.of(m)]


def places(trial: Trial, protocol: str, selection: str) -> tuple[Rows, list[Tested], list[str]]:
    """Training rows, where they are tested (here, and with `--test` there too), and notes.

    Args:
        trial: what is learned on and tested.
        protocol: its name in the Records.
        selection: the rule by which anything was chosen.

    Raises:
        DataError: an image with several classes, or fewer than two classes.
    """
    classes, notes = taught_findings(trial)
    there = trial.reading_labels(findings=classes)
    here = there
    if trial.external:
        here = trial.beside(None, trial.protocol).reading_labels(findings=classes)
    train, own, found = rows_of(here)
    asked = [("own patients", here, own)]
    if trial.external:
        _, other, more = rows_of(there)
        asked.append((trial.test_archive.name, there, other))
        found += [note for note in more if note not in found]

    def within(of: Trial, rows: Rows) -> Context:
        return dataclasses.replace(context(of, protocol, selection, None), patients=rows.embeddings.patient_ids)

    places = [Tested(name, rows, within(of, rows), _pictures(of)) for name, of, rows in asked]
    return train, places, [*notes, *found]


def _pictures(trial: Trial) -> Pictures | None:
    both = pictures_of(trial)
    return both[1] if both else None


def teachings(imbalances: Sequence[float], largest: int, makers: Sequence[str]) -> list[Teaching]:
    """Every tail with every kind of wrong labels, plain ones first."""
    return [Teaching(Tail(i, largest if i else 0), maker) for i in (0.0, *imbalances) for maker in (AS_GIVEN, *makers)]
