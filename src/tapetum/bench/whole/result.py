"""What a whole run gives back: every part's outcome, its main numbers, and the folder with the page."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tapetum.bench.tables.measures import MACRO
from tapetum.bench.tables.metric_words import head_of
from tapetum.bench.tables.results import read_records
from tapetum.bench.whole.plan import Planned, on_their_own
from tapetum.core.types import Record

DONE, LEFT_OUT, FAILED = "done", "left out", "FAILED"
MAIN = 3
CONTROL = "negative control"
_SHOUTED = re.compile(r"(WARNING|ALARM)\b")
_LEFT = re.compile(
    r"left out(: they look|, no |, one )|cannot be checked|not known here|different settings|taken for different people"
    r"|DOES NOT HOLD"
)


@dataclass(frozen=True)
class Outcome:
    """What became of one part.

    Attributes:
        planned: what was asked. status: `done`, `left out` or `FAILED`; reason: of the latter two.
        records, notes, warned: of the protocol. seconds: it took. again: taken over from an earlier run.
        folder: with its own table and page; None where it was not run.
    """

    planned: Planned
    status: str
    reason: str = ""
    records: tuple[Record, ...] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()
    seconds: float = math.nan
    again: bool = False
    folder: Path | None = None
    warned: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What must be read before the numbers: the protocol's own warnings, and notes on what is missing."""
        loud = [f"WARNING: {words}" for words in self.warned]
        loud += [n for n in self.notes if _SHOUTED.match(n) or _LEFT.search(n)]
        return (f"{self.status}: {self.reason}", *loud) if self.status == FAILED else tuple(loud)

    @property
    def main(self) -> tuple[Record, ...]:
        """At most three telling numbers: those that the part names, else the first ones it measured.

        Each is the mean over the findings where there is one, else that of the worst finding.
        """
        real = [r for r in self.records if r.supervision != CONTROL and not math.isnan(r.interval.estimate)]
        found: list[Record] = []
        for asked in (*self.planned.part.main, *dict.fromkeys(r.metric for r in real if "(" not in r.metric)):
            metric, _, row = asked.partition(" @ ")
            of = [r for r in real if r.metric == metric and row in r.row]
            new = not any(metric == r.metric and (not row or row in r.row) for r in found)
            if of and new and len(found) < MAIN:
                found.append(_telling([r for r in of if r.row == of[0].row]))
        return tuple(found)


@dataclass(frozen=True)
class Whole:
    """A whole run.

    Attributes:
        data, other: names of the archives, `other` empty where there is one only. phantom: numbers prove mechanisms.
        outcomes: in the order of `PARTS`. problems: what the audit of the archives found. notes: on the test sets.
        digests: role → digest. reads: how often the test set has now been read. seconds: in all.
        mode: `frozen` features, or `finetune`.
    """

    data: str
    other: str
    phantom: bool
    outcomes: tuple[Outcome, ...]
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    digests: dict[str, str] = field(default_factory=dict[str, str])
    reads: int = 0
    seconds: float = math.nan
    mode: str = "frozen"

    @property
    def title(self) -> str:
        """Of page and table."""
        return f"{self.data}{'' if self.mode == 'frozen' else f', mode={self.mode}'}"

    @property
    def records(self) -> tuple[Record, ...]:
        """Of all parts."""
        return tuple(r for one in self.outcomes for r in one.records)

    @property
    def partial(self) -> bool:
        """Whether something that was to be asked got no answer."""
        return any(one.status == FAILED or one.planned.partial for one in self.outcomes)

    @property
    def warnings(self) -> tuple[tuple[str, str], ...]:
        """(where from, words), most serious first; what several parts say is said once."""
        loud = [("audit", words) for words in self.problems] + [("test set", words) for words in self.notes]
        loud += [(one.planned.title, words) for one in self.outcomes for words in one.warnings]
        seen: dict[str, str] = {}
        for where, words in loud:
            seen.setdefault(words, where)
        first = [w for w in seen if _SHOUTED.match(w) or w.startswith(FAILED)]
        return tuple((seen[w], w) for w in (*first, *(w for w in seen if w not in first)))

    def table(self) -> str:
        """Warnings, then a few lines per part: its main numbers with 95 % intervals, or why there are none."""
        label = " · PHANTOM: proves mechanisms, not medicine" if self.phantom else ""
        against = f", other archive {self.other}" if self.other else ""
        lines = [f"bench all on {self.title}{against}{label} · test set read {self.reads} time(s)"]
        lines += (
            ["", "read first", *(f"  ! {where}: {words}" for where, words in self.warnings)] if self.warnings else []
        )
        for one in self.outcomes:
            took = "as before" if one.again else f"{one.seconds:.0f} s"
            lines += ["", f"{one.planned.title}: {one.planned.part.question}"]
            lines.append(f"  {one.planned.spec} · {took}" if one.status == DONE else f"  {one.status}: {one.reason}")
            for r in one.main:
                lines.append(f"  {head_of(r.metric):<30}{number(r):<26}{told_of(r)}")
        return "\n".join([*lines, "", self.beside])

    @property
    def beside(self) -> str:
        """What a whole run does not ask."""
        return f"not asked here: {', '.join(on_their_own())} (tapetum bench NAME ARCHIVE)"

    def as_dict(self) -> dict[str, Any]:
        """For `--json`: the summary; records lie in `records.jsonl`."""
        return {
            "data": self.data, "other": self.other, "phantom": self.phantom, "mode": self.mode,
            "test_reads": self.reads, "digests": self.digests, "seconds": self.seconds,
            "warnings": [{"from": where, "says": words} for where, words in self.warnings],
            "parts": [
                {
                    "name": one.planned.name, "spec": one.planned.spec, "where": one.planned.where,
                    "status": one.status, "reason": one.reason, "seconds": one.seconds, "again": one.again,
                    "notes": one.notes,
                    "main": [
                        {"row": r.row, "finding": r.finding, "metric": r.metric, **dataclasses.asdict(r.interval)}
                        for r in one.main
                    ],
                }
                for one in self.outcomes
            ],
        }  # fmt: skip


def number(record: Record) -> str:
    """A number with its bounds, where it has any.

    Example:
        >>> from tapetum.core.types import Interval
        >>> from types import SimpleNamespace
        >>> number(SimpleNamespace(interval=Interval(0.5, math.nan, math.nan, "")))
        '0.500 [no bounds]'
    """
    found = record.interval
    return f"{found.estimate:.3f} [no bounds]" if math.isnan(found.low) else str(found)


def told_of(record: Record) -> str:
    """The method, and the finding where it is not the mean of all."""
    return record.row if record.finding == MACRO else f"{record.row}, {record.finding.replace('_', ' ')}"


def _telling(records: Sequence[Record]) -> Record:
    """The mean over findings, or the positive side of a question, else the worst finding."""
    for finding in (MACRO, "OOD"):
        if found := [r for r in records if r.finding == finding]:
            return found[0]
    if records[0].metric.endswith("_score"):
        return min(records, key=lambda r: r.interval.estimate)
    return max(records, key=lambda r: abs(r.interval.estimate))


def read_outcome(planned: Planned, told: Path, folder: Path, *, again: bool) -> Outcome:
    """A finished part back from its folder and the file that tells of it.

    Raises:
        ArtefactError: its records are damaged.
    """
    said: dict[str, Any] = json.loads(told.read_text(encoding="utf-8"))
    records = tuple(read_records(folder / "records.jsonl"))
    notes, warned = tuple(said["notes"]), tuple(said.get("warnings", ()))
    return Outcome(planned, DONE, "", records, notes, float(said["seconds"]), again, folder, warned)


def tested(records: Sequence[Record]) -> dict[str, str]:
    """Digests that all records of a run agree on."""
    first = dict(records[0].digests) if records else {}
    return {k: v for k, v in first.items() if all(r.digests.get(k) == v for r in records)}
