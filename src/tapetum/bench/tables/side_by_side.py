"""A table with one line per method, for protocols that set many methods beside each other."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tapetum.bench.tables.measures import MACRO
from tapetum.bench.tables.metric_words import head_of
from tapetum.core.types import Record

WIDE = 5  # columns in a block
LONG = 16  # letters of a finding's name
UNBOUNDED = ("_rate", "_share", "relative_")  # measures without an interval


def side_by_side(records: Sequence[Record], columns: Sequence[str], by_finding: str) -> list[str]:
    """Macro measures of every method in blocks of a few columns, then one measure finding by finding.

    Args:
        records: all of them.
        columns: macro metrics to print, in this order, where there is such a record; the others stand in the records
            alone.
        by_finding: the metric that is printed for every finding, without its interval; `""` for none.

    Returns:
        Lines; a difference has its sign, a p value no interval.
    """
    rows = list(dict.fromkeys(r.row for r in records))
    of = {(r.row, r.finding, r.metric): r for r in records}
    widest = max((len(row) for row in rows), default=0)
    columns = [metric for metric in columns if any((row, MACRO, metric) in of for row in rows)]
    lines: list[str] = []
    for start in range(0, len(columns), WIDE):
        block = columns[start : start + WIDE]
        heads = "  ".join(f"{head_of(metric):<23}" for metric in block).rstrip()
        lines += ["", f"  {MACRO:<{widest}}  {heads}"]
        for row in rows:
            cells = [_cell(of.get((row, MACRO, metric))) for metric in block]
            if any(cells):
                lines.append(f"  {row:<{widest}}  " + "  ".join(f"{c:<23}" for c in cells).rstrip())
    findings = list(dict.fromkeys(r.finding for r in records if r.metric == by_finding and r.finding != MACRO))
    if findings:
        shown, legend = _names(findings)
        heads = "  ".join(f"{name:<{LONG}}" for name in shown).rstrip()
        lines += ["", f"  {head_of(by_finding):<{widest}}  {heads}"]
        for row in dict.fromkeys(r.row for r in records if r.metric == by_finding and r.finding != MACRO):
            found = (of.get((row, name, by_finding)) for name in findings)
            values = (math.nan if r is None else r.interval.estimate for r in found)
            lines.append(f"  {row:<{widest}}  " + "  ".join(f"{_number(v):<{LONG}}" for v in values).rstrip())
        lines += legend
    return lines


def _names(findings: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names cut short; where two of them would then look alike, numbers, and lines that say what these are."""
    cut = [name[:LONG] for name in findings]
    if len(set(cut)) == len(cut):
        return cut, []
    numbers = [f"({i})" for i in range(1, len(findings) + 1)]
    return numbers, ["", *(f"  {n} {name}" for n, name in zip(numbers, findings, strict=True))]


def _cell(record: Record | None) -> str:
    if record is None:
        return ""
    if record.metric.endswith("(p)"):
        return "" if math.isnan(record.interval.estimate) else f"{record.interval.estimate:.2g}"
    if record.metric.endswith("_difference") and not math.isnan(record.interval.estimate):
        x = record.interval
        return f"{x.estimate:+.3f} [{x.low:+.3f}, {x.high:+.3f}]"
    if any(word in record.metric for word in UNBOUNDED) and math.isnan(record.interval.low):
        return _number(record.interval.estimate)
    return str(record.interval)


def _number(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.3f}"
