"""The comparison itself: every cell on the same patients, the same draws of labels and the same test set."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tapetum.archive import Archive
from tapetum.bench.comparison.cells import Bench, LeftOut, Measured
from tapetum.bench.comparison.plan import Cell, CompareConfig, cells_of
from tapetum.bench.comparison.result import Comparison, lines_of
from tapetum.bench.tables.measures import Context
from tapetum.bench.trial import BenchConfig, Trial, trial_of
from tapetum.core.errors import DataError
from tapetum.core.types import Split

_DEFAULT = CompareConfig()
SELECTION = (
    "the same for every encoder: what a method chooses, it chooses on patient folds of what it learns from; networks "
    "are stopped on held-out patients of the same; the test set is read once for the whole table"
)


def compare(
    archive: Archive,
    config: CompareConfig = _DEFAULT,
    *,
    test: Archive | None = None,
    progress: Callable[[int, int], None] | None = None,
    say: Callable[[str], None] = lambda words: None,
) -> Comparison:
    """Every encoder with every mode at every number of labels, in one table with intervals, tests and prices.

    Cells that were run before on the same archive, code and settings are read from the archive's cache.

    Args:
        archive: its train and val patients are learned on, its test patients tested.
        config: what is compared.
        test: another archive to test on instead; nothing is fitted on it.
        progress: called with images embedded and images in all.
        say: called with one line before each cell.

    Raises:
        UsageError: an unknown encoder, mode or setting, or modes with unequal numbers of settings.
        DataError: no labels, no finding with both classes, or no cell that could be run.
        LeakageError: see `Trial`.
    """
    cells = cells_of(config)
    trial = _trial(archive, config, cells[0].encoder, test, progress)
    budgets = trial.refuse_unequal_budgets([cell.mode for cell in cells])
    findings = _findings(trial, config)
    labels, truth = trial.labels(findings)
    found: list[Measured | LeftOut] = []
    for bench, cell in _each(archive, config, cells, test, progress, findings):
        say(f"{len(found) + 1} of {len(cells)}: {cell}")
        found.append(bench.run(cell))
    measured = [one for one in found if isinstance(one, Measured)]
    left_out = tuple(one for one in found if isinstance(one, LeftOut))
    if not measured:
        raise DataError(f"none of {len(cells)} cells could be run, first: {left_out[0].reason}", "a mode that fits")
    within = Context(
        "compare", tuple(r.patient_id for r in trial.test_records), config.seed, config.draws, SELECTION,
        trial.test_reads, trial.digests(None), trial.test_archive.name,
        trial.test_archive.phantom or trial.archive.phantom,
    )  # fmt: skip
    lines, records = lines_of(measured, labels, within)
    alarms = tuple(f"{one.cell}: {alarm}" for one in measured for alarm in one.alarms)
    return Comparison(lines, left_out, (*_notes(trial, truth, config), *budgets), records, findings, alarms)


def _each(
    archive: Archive,
    config: CompareConfig,
    cells: Sequence[Cell],
    test: Archive | None,
    progress: Callable[[int, int], None] | None,
    findings: tuple[str, ...],
) -> Iterator[tuple[Bench, Cell]]:
    """The cells with their encoder's bench; features of one encoder are held at a time."""
    for encoder, group in itertools.groupby(cells, key=lambda cell: cell.encoder):
        bench = Bench(_trial(archive, config, encoder, test, progress), config, findings)
        for cell in group:
            yield bench, cell


def _trial(
    archive: Archive,
    config: CompareConfig,
    encoder: str,
    test: Archive | None,
    progress: Callable[[int, int], None] | None,
) -> Trial:
    settings = BenchConfig(
        encoders=encoder, text_encoder=config.text_encoder, task=config.task, findings=config.findings,
        test_split=config.test_split, draws=config.draws, copies=config.copies, seed=config.seed,
        unequal_budgets=config.unequal_budgets,
        threads=config.threads,
    )  # fmt: skip
    return trial_of(archive, settings, test=test, progress=progress)


def _findings(trial: Trial, config: CompareConfig) -> tuple[str, ...]:
    """The findings asked for, or every label name with both classes among the training images."""
    if config.findings:
        return config.findings
    names = trial.archive.label_names
    if not names:
        raise DataError(
            f"{trial.archive.name} has no labels", "labels to learn from and to test on",
            "tapetum ingest … --labels COLUMN",
        )  # fmt: skip
    train = trial.archive.labels(names, image_ids=[r.image_id for r in trial.archive.in_split(Split.TRAIN)])
    tested = trial.labels(names)[0]
    both = [_has_both(train[:, j]) and _has_both(tested[:, j]) for j in range(len(names))]
    kept = tuple(name for name, ok in zip(names, both, strict=True) if ok)
    if not kept:
        raise DataError(f"no label of {trial.archive.name} has both classes in training and test", "one that has")
    return kept


def _has_both(column: np.ndarray) -> bool:
    return bool((column == 1).any() and (column == 0).any())


def _notes(trial: Trial, truth: str, config: CompareConfig) -> tuple[str, ...]:
    tested, learned = trial.test_records, trial.archive.in_split(Split.TRAIN)
    return (
        f"tested: {len(tested)} images of {len({r.patient_id for r in tested})} patients, truth: {truth}; learned from "
        f"at most {len(learned)} images; interval: patients and runs drawn together",
        "p: two-sided, against the first encoder in the same mode on the same labels, Holm-adjusted over this table",
        "s: seconds from images to a fitted model, embedding included; learned: values learned or kept; MB: stored on "
        "top of the towers",
        f"chosen: {SELECTION}",
        *([f"trained networks, all alike: {config.tuning}"] if config.tuning else []),
        *trial.notes,
    )
