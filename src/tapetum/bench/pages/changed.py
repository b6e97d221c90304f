"""The part of the page on spoilt and masked images: one line per change, and for masks the curves."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from tapetum.bench.pages.numbers import number_of
from tapetum.bench.pages.parts import figure, paragraph, section, table, text
from tapetum.bench.pages.plots import Line, step_panel
from tapetum.bench.tables.measures import MACRO
from tapetum.bench.tables.metric_words import head_of
from tapetum.bench.tables.results import Results
from tapetum.core.types import Record

PROTOCOLS = ("corrupted", "masked")
_STEP = re.compile(r"(.*?)(hidden|only) ([\d.]+)")
_SHOWN = {
    "": "the model", "random ": "the model, the same shape at a random place", "learned so: ": "learned on such images",
    "learned so: random ": "learned on such images, at a random place",
}  # fmt: skip


def changed_section(results: Results, name: Callable[[str], str]) -> str:
    """Curves and tables of `masked` and `corrupted`; nothing for other protocols."""
    if not results.records or results.records[0].protocol not in PROTOCOLS:
        return ""
    of = {(r.row, r.finding, r.metric): r for r in results.records}
    rows = list(dict.fromkeys(r.row for r in results.records))
    columns = [m for m in results.columns if any((row, MACRO, m) in of for row in rows)]
    parts = [_curves(of, rows)]
    for start in range(0, len(columns), 5):
        block = columns[start : start + 5]
        lines = [[text(row), *(_cell(of.get((row, MACRO, m))) for m in block)] for row in rows]
        heads = ["images", *(head_of(m) for m in block)]
        parts.append(table(heads, [line for line in lines if any(line[1:])], caption="Mean of the findings"))
    findings = list(dict.fromkeys(r.finding for r in results.records if r.finding != MACRO))
    if len(findings) > 1:
        lines = [[text(row), *(_cell(of.get((row, f, "auroc_score"))) for f in findings)] for row in rows]
        heads = ["images", *(text(name(f)) for f in findings)]
        parts.append(table(heads, [line for line in lines if any(line[1:])], caption="AUROC ↑, finding by finding"))
    method = results.records[0].interval.method
    return section("results", "Results", *parts, paragraph(f"Brackets: 95 % intervals, {method}.", "soft"))


def _curves(of: dict[tuple[str, str, str], Record], rows: Sequence[str]) -> str:
    """Macro AUROC against the step, with the region hidden and alone, a panel for each kind of rows."""
    points = dict[str, dict[str, list[tuple[float, float]]]]()
    for row in rows:
        match = _STEP.fullmatch(row)
        if match:
            value = of[row, MACRO, "auroc_score"].interval.estimate
            points.setdefault(match[1], {}).setdefault(match[2], []).append((float(match[3]), value))
    if not points:
        return ""
    largest = max(x for kinds in points.values() for ones in kinds.values() for x, _ in ones) or 1.0
    panels: list[str] = []
    for kind, kinds in points.items():
        lines = [
            Line(what, style, np.array([x / largest for x, _ in kinds[what]]), np.array([y for _, y in kinds[what]]))
            for what, style in (("hidden", "c1"), ("only", "c2"))
        ]
        shown = _SHOWN[kind]
        panels.append(
            figure(step_panel(f"AUROC by step, {shown}", "step, in parts of the largest", lines), text(shown))
        )
    legend = (
        '<span class="key k1"></span>the region hidden &emsp;<span class="key k2"></span>nothing but the region shown '
    )
    return f'<p class="soft">{legend}</p><div class="grid">{"".join(panels)}</div>'


def _cell(record: Record | None) -> str:
    return "" if record is None else number_of(record.interval)
