"""The calibration part of the page: every row beside the others, finding by finding, and in groups of patients."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tapetum.bench.pages.numbers import number_of
from tapetum.bench.pages.parts import paragraph, section, table, text
from tapetum.bench.tables.measures import MACRO
from tapetum.bench.tables.metric_words import head_of
from tapetum.bench.tables.results import Results
from tapetum.core.types import Record

_MEASURES = (
    "expected_calibration_error", "debiased_calibration_error", "brier_error", "log_loss_error", "calibration_slope",
    "calibration_intercept", "brier_reliability_error", "brier_resolution_score",
)  # fmt: skip
_DIFFERENCES = ("expected_calibration_difference", "brier_difference")
_OF_FINDINGS = "expected_calibration_error"


def calibration_section(results: Results, name: Callable[[str], str]) -> str:
    """Tables of `calibration`; nothing for other protocols."""
    if not results.records or results.records[0].protocol.partition("(")[0] != "calibration":
        return ""
    of = {(r.row, r.finding, r.metric): r for r in results.records}
    rows = list(dict.fromkeys(r.row for r in results.records if r.metric == "auroc_score"))
    groups = list(dict.fromkeys(r.row for r in results.records if r.row not in rows))
    parts = [_table(of, rows, (*_MEASURES, "auroc_score"), "Mean of the findings")]
    if len(rows) > 1:
        parts.append(_table(of, rows[1:], _DIFFERENCES, f"Minus {rows[0]}, on the same patients"))
    parts.append(_by_finding(of, rows, results.records, name))
    if groups:
        parts.append(_table(of, groups, _MEASURES[:6], "Within groups of patients, on the same findings in each"))
    method = of[rows[0], MACRO, "brier_error"].interval.method
    parts.append(paragraph(f"Brackets: 95 % intervals, {method}.", "soft"))
    return section("results", "Results", *parts)


def _table(of: dict[tuple[str, str, str], Record], rows: Sequence[str], metrics: Sequence[str], caption: str) -> str:
    lines = [[text(row), *(_cell(of.get((row, MACRO, m))) for m in metrics)] for row in rows]
    return table(["row", *(head_of(m) for m in metrics)], lines, caption=caption)


def _by_finding(
    of: dict[tuple[str, str, str], Record], rows: Sequence[str], records: Sequence[Record], name: Callable[[str], str]
) -> str:
    lines: list[list[str]] = []
    for finding in dict.fromkeys(r.finding for r in records if r.finding != MACRO):
        first = next(r for r in records if r.finding == finding)
        cells = [_cell(of.get((row, finding, _OF_FINDINGS))) for row in rows]
        lines.append([text(name(finding)), *cells, str(first.images), str(first.positives)])
    heads = ["finding", *rows, "images", "positive"]
    return table(heads, lines, caption=f"{head_of(_OF_FINDINGS)}, finding by finding") if lines else ""


def _cell(record: Record | None) -> str:
    return "" if record is None else number_of(record.interval)
