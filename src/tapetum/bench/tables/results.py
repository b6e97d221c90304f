"""What a benchmark gives back: Records, and the material for its page."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from tapetum.bench.tables.metric_words import head_of
from tapetum.bench.tables.side_by_side import side_by_side
from tapetum.bench.trial import Scored, Trial
from tapetum.core.errors import ArtefactError
from tapetum.core.store import Meta, new_artefact
from tapetum.core.types import Interval, Record

TOO_FEW = "too few to say"
SHOWN = (
    "auroc_score", "average_precision_score", "sensitivity_score", "specificity_score", "expected_calibration_error",
    "fpr_at_95_tpr_error", "quadratic_kappa_score", "accuracy_score", "false_alarm_error", "auroc_gap",
    "equal_opportunity_difference", "aurc_error", "error_at_100_coverage", "error_at_90_coverage",
    "error_at_80_coverage", "error_at_50_coverage", "present_kept_score", "absent_kept_score", "single_answer_score",
    "single_answer_right_score", "let_through_score",
)  # fmt: skip


@dataclass(frozen=True)
class Control:
    """A negative control: the same pipeline on reports shuffled between patients.

    Attributes:
        real: macro AUROC of the real run. shuffled: of each shuffle. per_finding: finding → AUROC of each shuffle.
        p_value: permutation p that chance does as well.
        holds: the shuffles' mean lies within two standard errors of 0.5, and the real result above every shuffle.
    """

    real: float
    shuffled: tuple[float, ...]
    per_finding: Mapping[str, tuple[float, ...]]
    p_value: float
    mean: float
    standard_error: float
    holds: bool

    def line(self) -> str:
        """One line for a person."""
        verdict = "holds" if self.holds else "DOES NOT HOLD: something leaks, or the test set is too small"
        return (
            f"negative control, {len(self.shuffled)} shuffles: macro AUROC {self.mean:.3f} ± {self.standard_error:.3f} "
            f"(SE), largest {max(self.shuffled):.3f}, real {self.real:.3f}, p = {self.p_value:.3f}: {verdict}"
        )


@dataclass(frozen=True)
class Results:
    """Records of one benchmark run, ready to be printed, saved or shown.

    Attributes:
        records: all of them. scored: rows with scores, for curves and examples, the main one first.
        notes: sentences that a reader of the table needs. control: the negative control, if it was run.
        warnings: what speaks against the numbers; stands above them.
        columns: with them, the table has one line per method and these macro metrics.
        by_finding: and then, finding by finding, this metric.
    """

    records: tuple[Record, ...]
    scored: tuple[Scored, ...] = ()
    notes: tuple[str, ...] = ()
    control: Control | None = None
    trial: Trial | None = field(default=None, repr=False)
    warnings: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    by_finding: str = ""

    def table(self) -> str:
        """One line per row and finding, or per method, with the main metrics and their 95 % intervals."""
        lines = side_by_side(self.records, self.columns, self.by_finding) if self.columns else self._row_by_row()
        head = []
        if self.records:
            r = self.records[0]
            label = " · PHANTOM: proves mechanisms, not medicine" if r.phantom else ""
            head = [f"{r.protocol} on {r.data}{label} · test set read {r.test_reads} time(s) · {r.interval.method}"]
        tail = [self.control.line()] if self.control else []
        warned = ["", *(f"WARNING: {warning}" for warning in self.warnings)] if self.warnings else []
        return "\n".join([*head, *warned, *lines, "", *tail, *self.all_notes])

    def _row_by_row(self) -> list[str]:
        lines: list[str] = []
        wide = max((len(r.finding) for r in self.records), default=0)
        for row, supervision in dict.fromkeys((r.row, r.supervision) for r in self.records):
            mine = [r for r in self.records if (r.row, r.supervision) == (row, supervision)]
            metrics = [m for m in SHOWN if any(r.metric == m for r in mine)]
            lines += ["", f"{row} · {supervision}"]
            if not metrics:
                lines += [f"  {r.finding}: {r.metric} {r.interval}" for r in mine]
                continue
            lines.append(_row("finding", "images", "positive", [head_of(m) for m in metrics], wide))
            for finding in dict.fromkeys(r.finding for r in mine):
                of = {r.metric: r for r in mine if r.finding == finding}
                cells = [_cell(of[m].interval) if m in of else "" for m in metrics]
                first = next(iter(of.values()))
                lines.append(_row(finding, str(first.images), str(first.positives), cells, wide))
        return lines

    @property
    def all_notes(self) -> tuple[str, ...]:
        """The run's notes, and those on its test set."""
        return self.notes + (self.trial.notes if self.trial else ())

    def find(self, finding: str, metric: str, row: str = "", supervision: str = "") -> Record:
        """The first record of a finding and metric.

        Raises:
            KeyError: there is none.
        """
        for record in self.records:
            wanted = (finding, metric, row or record.row, supervision or record.supervision)
            if (record.finding, record.metric, record.row, record.supervision) == wanted:
                return record
        raise KeyError(f"{finding} {metric} {row}")

    def save(self, out: Path, *, page: bool = True) -> Path:
        """Write `records.jsonl`, `table.txt` and the self-contained `report.html` as an artefact."""
        from tapetum.bench.pages.results import write_page

        parents = dict(self.records[0].digests) if self.records else {}
        with new_artefact(out, Meta("records", parents=parents)) as folder:
            (folder / "records.jsonl").write_text(
                "".join(json.dumps(as_json(r), ensure_ascii=False) + "\n" for r in self.records), encoding="utf-8"
            )
            (folder / "table.txt").write_text(self.table() + "\n", encoding="utf-8")
            if self.control:
                control = json.dumps(_plain(dataclasses.asdict(self.control)), indent=1, allow_nan=False)
                (folder / "control.json").write_text(control + "\n", encoding="utf-8")
            if page:
                write_page(self, folder / "report.html")
        return out

    def html(self, path: Path | str) -> Path:
        """Write the self-contained page alone."""
        from tapetum.bench.pages.results import write_page

        return write_page(self, Path(path))


def as_json(record: Record) -> dict[str, Any]:
    """A record as plain JSON: NaN becomes null, so that any reader takes it."""
    return _plain(dataclasses.asdict(record))


def read_records(path: Path) -> list[Record]:
    """Records back from `records.jsonl`.

    Raises:
        ArtefactError: no such file, or a line of it is no record.
    """
    found: list[Record] = []
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            raw: dict[str, Any] = json.loads(line)
            interval: dict[str, Any] = raw["interval"]
            known: dict[str, Any] = {k: math.nan if v is None else v for k, v in interval.items()}
            raw["interval"] = Interval(**known)
            raw["seeds"] = tuple(raw["seeds"])
            found.append(Record(**raw))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ArtefactError(f"{path}, line {len(found) + 1}: {error!r}", "records as JSON lines") from error
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in cast(Mapping[Any, Any], value).items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in cast(Sequence[Any], value)]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _cell(interval: Interval) -> str:
    """As `str`, where a number was withheld the reason in two words, and no brackets without bounds."""
    if math.isnan(interval.estimate):
        return TOO_FEW if interval.method.startswith(TOO_FEW) else str(interval)
    return f"{interval.estimate:.3f}" if math.isnan(interval.low) else str(interval)


def _row(finding: str, images: str, positives: str, cells: Sequence[str], wide: int) -> str:
    cut = "  ".join(f"{c:<21}" for c in cells).rstrip()
    return f"  {finding:<{max(34, wide + 1)}}{images:>7}{positives:>9}  {cut}"
