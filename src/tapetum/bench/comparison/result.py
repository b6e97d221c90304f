"""What a comparison gives back: one table, its Records, a CSV, a page."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float

from tapetum.bench.comparison.cells import LeftOut, Measured
from tapetum.bench.comparison.cost import Cost
from tapetum.bench.comparison.plan import Cell
from tapetum.bench.tables.measures import MACRO, Context
from tapetum.bench.tables.results import as_json
from tapetum.core.store import Meta, new_artefact
from tapetum.core.types import Interval, Record
from tapetum.score.ranking import rank
from tapetum.score.stats import PairedDifference, paired_runs_difference, runs_auroc_interval
from tapetum.score.stats.multiple import holm

COLUMNS = (
    "encoder", "mode", "supervision", "auroc", "low", "high", "runs", "spread", "versus_first", "versus_low",
    "versus_high", "versus_p", "parameters", "learned", "megabytes", "image_ms", "fit_s", "learn_s", "images",
)  # fmt: skip
_SHOWN = 6  # alarms in the text of the table


@dataclass(frozen=True)
class Line:
    """One line of the table.

    Attributes:
        auroc: macro AUROC over tested patients and runs. spread: standard deviation over the runs, NaN for one run.
        versus: minus the first encoder in the same mode, on the same labels; None for the first encoder itself.
        adjusted_p: Holm's, over all such differences of the table; NaN where there is none.
    """

    cell: Cell
    auroc: Interval
    per_finding: Float[np.ndarray, "k"]
    runs: int
    spread: float
    cost: Cost
    versus: PairedDifference | None = None
    adjusted_p: float = math.nan


@dataclass(frozen=True)
class Comparison:
    """The one table.

    Attributes:
        lines: encoder by encoder. left_out: cells that cannot be, with the reason. notes: what a reader needs to know.
        records: one per line. findings: the columns behind the macro mean. alarms: what went wrong in training.
    """

    lines: tuple[Line, ...]
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]
    records: tuple[Record, ...] = field(repr=False)
    findings: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()

    def table(self) -> str:
        """For a terminal: AUROC with its interval, the difference to the first encoder, and the price."""
        head = self.records[0] if self.records else None
        label = " · PHANTOM: proves mechanisms, not medicine" if head and head.phantom else ""
        lines = [f"compare on {head.data}{label} · test set read {head.test_reads} time(s)"] if head else []
        for encoder in dict.fromkeys(line.cell.encoder for line in self.lines):
            mine = [line for line in self.lines if line.cell.encoder == encoder]
            cost = mine[0].cost
            lines += ["", f"{encoder} · {cost.parameters / 1e6:.2f} M parameters · {cost.image_ms:.1f} ms an image"]
            lines.append(
                _row("mode", "learned from", "macro AUROC ↑", "minus first encoder", "p", "learned", "MB", "s")
            )
            lines += [_row(*_cells(line)) for line in mine]
        alarms = [f"ALARM in {alarm}" for alarm in self.alarms[:_SHOWN]]
        if len(self.alarms) > _SHOWN:
            alarms.append(f"… and {len(self.alarms) - _SHOWN} more alarms, see --json or report.html")
        return "\n".join([*lines, "", *(f"left out: {words}" for words in self.absent), *self.notes, *alarms])

    @property
    def absent(self) -> tuple[str, ...]:
        """What was left out and why; a method that fits an encoder at no number of labels is told once."""
        told: dict[tuple[str, str, str], list[str]] = {}
        for one in self.left_out:
            told.setdefault((one.cell.encoder, one.cell.mode, one.reason), []).append(one.cell.supervision)
        return tuple(f"{e} · {mode} · {', '.join(on)}: {why}" for (e, mode, why), on in told.items())

    def csv(self) -> str:
        """The table as CSV, one line per cell; what is unknown is empty."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for line in self.lines:
            versus = line.versus.interval if line.versus else Interval(math.nan, math.nan, math.nan, "")
            cost = line.cost
            values = (
                line.cell.encoder, line.cell.mode, line.cell.supervision, line.auroc.estimate, line.auroc.low,
                line.auroc.high, line.runs, line.spread, versus.estimate, versus.low, versus.high,
                line.versus.p_value if line.versus else math.nan, cost.parameters, cost.learned, cost.megabytes,
                cost.image_ms, cost.fit_s, cost.learn_s, cost.images,
            )  # fmt: skip
            writer.writerow([_short(value) for value in values])
        return stream.getvalue()

    def save(self, out: Path) -> Path:
        """Write `records.jsonl`, `table.txt`, `comparison.csv` and the self-contained `report.html` as an artefact."""
        from tapetum.bench.comparison.page import comparison_page

        parents = dict(self.records[0].digests) if self.records else {}
        with new_artefact(out, Meta("records", parents=parents)) as folder:
            told = "".join(json.dumps(as_json(r), ensure_ascii=False) + "\n" for r in self.records)
            (folder / "records.jsonl").write_text(told, encoding="utf-8")
            (folder / "table.txt").write_text(self.table() + "\n", encoding="utf-8")
            (folder / "comparison.csv").write_text(self.csv(), encoding="utf-8")
            (folder / "report.html").write_text(comparison_page(self), encoding="utf-8")
        return out


def lines_of(
    measured: Sequence[Measured], labels: Float[np.ndarray, "n k"], within: Context
) -> tuple[tuple[Line, ...], tuple[Record, ...]]:
    """Intervals, paired differences to the first encoder, and Records.

    Args:
        measured: the cells that were run; the first one's encoder is what the others are compared with.
        labels: of the tested images.
        within: patients, draws and digests that all Records share.
    """
    first = measured[0].cell.encoder if measured else ""
    reference = {(m.cell.mode, m.cell.shots): m.scores for m in measured if m.cell.encoder == first}
    lines: list[Line] = []
    for one in measured:
        auroc = runs_auroc_interval(one.scores, labels, within.patients, rng=within.rng(), draws=within.draws)
        other = reference.get((one.cell.mode, one.cell.shots))
        versus = None
        if other is not None and one.cell.encoder != first:
            versus = paired_runs_difference(
                one.scores, other, labels, within.patients, rng=within.rng(), draws=within.draws
            )
        each = np.array([_aurocs(run, labels) for run in one.scores])
        macro = np.nanmean(each, axis=1)
        spread = float(macro.std(ddof=1)) if len(macro) > 1 else math.nan
        lines.append(Line(one.cell, auroc, each.mean(axis=0), len(one.scores), spread, one.cost, versus))
    adjusted = holm(np.array([line.versus.p_value if line.versus else math.nan for line in lines]))
    lines = [_adjusted(line, float(p)) for line, p in zip(lines, adjusted, strict=True)]
    records = [
        within.record(
            f"{line.cell.encoder} · {line.cell.mode}", line.cell.supervision, MACRO, "auroc_score", line.auroc, labels
        )
        for line in lines
    ]
    return tuple(lines), tuple(records)


def _adjusted(line: Line, p_value: float) -> Line:
    return dataclasses.replace(line, adjusted_p=p_value)


def _aurocs(scores: Float[np.ndarray, "n k"], labels: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "k"]:
    """AUROC per finding over the images whose label is known."""
    known = ~np.isnan(labels)
    return np.array(
        [rank(s[k].astype(np.float64), y[k]).auroc for s, y, k in zip(scores.T, labels.T, known.T, strict=True)]
    )


def _cells(line: Line) -> tuple[str, ...]:
    versus = str(line.versus.interval) if line.versus else ""
    p_value = "" if math.isnan(line.adjusted_p) else f"{line.adjusted_p:.3f}"
    runs = f" ({line.runs} runs)" if line.runs > 1 else ""
    learned = f"{line.cost.learned:,}"
    return (
        line.cell.mode, line.cell.supervision, f"{line.auroc}{runs}", versus, p_value, learned,
        f"{line.cost.megabytes:.2f}", f"{line.cost.learn_s:.1f}",
    )  # fmt: skip


def _row(*cells: str) -> str:
    widths = (26, 18, 30, 24, 7, 11, 8, 8)
    left = 3
    parts = [c.ljust(w) if i < left + 1 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
    return ("  " + " ".join(parts)).rstrip()


def _short(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return "" if math.isnan(value) else f"{value:.6g}"
