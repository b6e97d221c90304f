"""The whole run: one trial for every part, each part kept as soon as it is through, the rest told and gone on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tapetum.archive import Archive, audit
from tapetum.bench.pages.results import model_of
from tapetum.bench.tables.results import Results
from tapetum.bench.trial import BenchConfig, Trial, code_digest, trial_of
from tapetum.bench.whole.plan import OTHER, OWN, PROTOCOLS, Planned, one_label_each, planned
from tapetum.bench.whole.result import FAILED, LEFT_OUT, Outcome, Whole, read_outcome, tested
from tapetum.bench.whole.save import save_whole
from tapetum.core.config import digest
from tapetum.core.errors import TapetumError
from tapetum.core.store import atomic_write
from tapetum.learn import Model

_DEFAULT = BenchConfig()
MODEL = "model"  # the folder of the checkpoint that the card speaks of


@dataclass
class _Running:
    """What the parts of one run share: trials that embed once and are counted as one reading of their test set."""

    archive: Archive
    config: BenchConfig
    test: Archive | None
    model: Model | None
    progress: Callable[[int, int], None] | None
    trials: dict[str, Trial] = field(default_factory=dict[str, Trial])

    def trial(self, where: str) -> Trial:
        """On the archive's own test patients, or on the other archive.

        Raises:
            LeakageError, UsageError: see `Trial`.
        """
        if where not in self.trials:
            other = self.test if where == OTHER else None
            self.trials[where] = trial_of(
                self.archive, self.config, test=other, model=self.model, progress=self.progress, protocol="all"
            )
        return self.trials[where]

    def trial_for(self, one: Planned) -> Trial:
        """The trial with the labels taken as the part knows to take them; grades are classes too."""
        asked, takes = self.config, one.part.takes
        ordinal = asked.ordinal and "ordinal" in takes
        exclusive = (asked.exclusive or (asked.ordinal and not ordinal)) and "exclusive" in takes
        return self.trial(one.where).reading_labels(exclusive=exclusive, ordinal=ordinal)

    def key(self, one: Planned) -> str:
        """Everything that the part's numbers depend on."""
        other = self.test.digest if one.where == OTHER and self.test is not None else ""
        made = self.model.digest if self.model else ""
        whole = [one.spec, one.where, self.archive.digest, other, made, digest(self.config), code_digest()]
        return hashlib.sha256(json.dumps(whole).encode()).hexdigest()


def bench_all(
    archive: Archive,
    config: BenchConfig = _DEFAULT,
    *,
    out: Path,
    test: Archive | None = None,
    model: Model | None = None,
    parts: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
    say: Callable[[str], None] = lambda words: None,
) -> Whole:
    """Every family of questions on one archive; a part that cannot be answered is told, the others go on.

    All parts together are one reading of a test set: nothing is chosen between them. A part that is through is kept
    beside `out` until the run is, so that the same command goes on after a kill; run again with the same archives,
    settings and code, finished parts are taken over.

    Args:
        archive: learned on, and tested on its test patients.
        config: how, for all parts alike.
        out: the folder to write: one page, one table, all records, a card, checklists, and a folder per part.
        test: a second archive: another clinic where it shares findings, else what a model should notice.
        model: a checkpoint to test instead of training one.
        parts: names of parts; all if empty.
        progress: called with images embedded and images in all.
        say: called with a line before each part.

    Raises:
        LeakageError: see `Trial`. UsageError: a part that there is not. ArtefactError: `out` is something else.
    """
    start, plan = time.monotonic(), planned(archive, config, test, parts)
    running = _Running(archive, config, test, model, progress)
    for where in dict.fromkeys(one.where for one in plan if not one.left_out):
        _ = running.trial(where).test_records  # what is refused is refused before anything is run
    place = out.with_name(f"{out.name}_unfinished")
    outcomes: list[Outcome] = []
    for number, one in enumerate(plan, 1):
        say(f"{number} of {len(plan)}: {one.title}{f', {one.left_out}' if one.left_out else ''}")
        outcomes.append(_one(running, one, place, out))
    whole = _told(running, outcomes, time.monotonic() - start)
    save_whole(whole, archive, out, made=_checkpoint(outcomes))
    shutil.rmtree(place, ignore_errors=True)
    return whole


def _one(running: _Running, one: Planned, place: Path, out: Path) -> Outcome:
    """A part run, taken over, or left out."""
    if one.left_out:
        return Outcome(one, LEFT_OUT, one.left_out)
    key = running.key(one)
    for kept in (place, out):
        told, folder = kept / f"{one.name}.json", kept / one.name
        with contextlib.suppress(OSError, ValueError, KeyError, TapetumError):
            if json.loads(told.read_text(encoding="utf-8"))["key"] == key:
                return read_outcome(one, told, folder, again=True)
    start = time.monotonic()
    try:
        trial = running.trial_for(one)
        with _fresh(place / one.name) as folder:
            results: Results = PROTOCOLS.build(one.spec)(trial)
            results.save(folder)
    except TapetumError as error:
        return Outcome(one, FAILED, error.found, seconds=time.monotonic() - start)
    except Exception as error:  # a mistake in one part must not cost the others, nor be passed over
        words = f"internal error, please report: {type(error).__name__}: {str(error)[:200]}"
        return Outcome(one, FAILED, words, seconds=time.monotonic() - start)
    if one.name == "detection" and (fitted := model_of(results)) is not None:
        fitted.save(place / MODEL)
    control = [results.control.line()] if results.control else []
    said = {
        "key": key, "spec": one.spec, "seconds": time.monotonic() - start, "warnings": list(results.warnings),
        "notes": [*results.notes, *(results.trial.made if results.trial else ()), *control],
    }  # fmt: skip
    atomic_write(place / f"{one.name}.json", json.dumps(said, indent=1, ensure_ascii=False) + "\n")
    return read_outcome(one, place / f"{one.name}.json", folder, again=False)


def _checkpoint(outcomes: Sequence[Outcome]) -> Path | None:
    """What the detection part has fitted, or was handed in."""
    folders = [one.folder.parent / MODEL for one in outcomes if one.planned.name == "detection" and one.folder]
    return next((place for place in folders if place.exists()), None)


@contextlib.contextmanager
def _fresh(folder: Path) -> Generator[Path]:
    """An empty place; nothing is left of a part that was not through."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    yield folder


def _told(running: _Running, outcomes: Sequence[Outcome], seconds: float) -> Whole:
    archive, test = running.archive, running.test
    problems = [*audit(archive).problems]
    if test is not None:
        problems += [f"{test.name}: {words}" for words in audit(test).problems]
    if one_label_each(archive) and not (running.config.exclusive or running.config.ordinal):
        problems.append("every labelled image has one label and no other: exclusive=true reads them as classes")
    trials = [running.trials[where] for where in (OWN, OTHER) if where in running.trials]
    notes = dict.fromkeys(note for trial in trials for note in (*trial.notes, *trial.tried))
    records = [r for one in outcomes for r in one.records]
    reads = max((r.test_reads for r in records), default=0)
    return Whole(
        archive.name, test.name if test else "", archive.phantom or bool(test and test.phantom), tuple(outcomes),
        tuple(problems), tuple(notes), {"archive": archive.digest, **tested(records)}, reads, seconds,
        running.config.mode,
    )  # fmt: skip
