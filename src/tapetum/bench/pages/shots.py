"""The few-shot part of the page: curves of AUROC against shots, and the numbers below them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from html import escape

from tapetum.bench.pages.parts import figure, paragraph, section, table, text
from tapetum.bench.tables.results import Results
from tapetum.core.types import Interval, Record

_SHOT = re.compile(r"auroc_(\d+)_shot_(score|difference|range)")
_LEFT, _RIGHT, _TOP, _BOTTOM, _WIDTH, _LINE = 44, 470, 14, 292, 680, 15
_COLOURS = 6


def shots_section(results: Results) -> str:
    """Curves and tables of `few_shot`; nothing for other protocols."""
    rows = list(dict.fromkeys(r.row for r in results.records if r.metric == "shot_curve_score"))
    if not rows:
        return ""
    of = {row: {r.metric: r for r in results.records if r.row == row} for row in rows}
    shots = sorted({int(m[1]) for r in results.records if (m := _SHOT.fullmatch(r.metric))})
    curves = {row: [of[row][f"auroc_{n}_shot_score"].interval for n in shots] for row in rows}
    first = of[rows[0]]["shot_curve_score"]
    caption = (
        "Macro AUROC on the tested patients after learning from so many images with, and as many without, each "
        "finding; bars are 95 % intervals over patients and draws. Every method saw the same images."
    )
    return section(
        "results",
        "Result",
        figure(shot_plot(shots, curves), caption),
        _numbers(rows, shots, of),
        paragraph(f"Brackets: 95 % intervals, {first.interval.method}.", "soft"),
    )


def shot_plot(shots: Sequence[int], curves: dict[str, list[Interval]]) -> str:
    """AUROC against shots as inline SVG, every curve named at its right end.

    Args:
        shots: where the curves are measured, rising.
        curves: row → an interval per number of shots.
    """
    known = [v for c in curves.values() for i in c for v in (i.estimate, i.low, i.high) if not math.isnan(v)]
    low = min(math.floor(min(known, default=0.5) * 20) / 20, 0.95)
    high = max(math.ceil(max(known, default=1.0) * 20) / 20, low + 0.05)

    def across(n: float) -> float:
        width = math.log2(shots[-1] / shots[0]) or 1.0
        return _LEFT + 12 + math.log2(n / shots[0]) / width * (_RIGHT - _LEFT - 24)

    def up(value: float) -> float:
        return _BOTTOM - (value - low) / (high - low) * (_BOTTOM - _TOP)

    body = [f'<rect class="frame" x="{_LEFT}" y="{_TOP}" width="{_RIGHT - _LEFT}" height="{_BOTTOM - _TOP}"/>']
    step = 0.05 if high - low < 0.35 else 0.1
    for tick in range(round((high - low) / step) + 1):
        value = low + tick * step
        body.append(f'<path class="axis" d="M{_LEFT - 4} {up(value):.1f}h4"/>')
        body.append(f'<text x="{_LEFT - 7}" y="{up(value) + 3.5:.1f}" text-anchor="end">{value:.2f}</text>')
    body += [f'<text x="{across(n):.1f}" y="{_BOTTOM + 15}" text-anchor="middle">{n}</text>' for n in shots]
    middle = (_LEFT + _RIGHT) / 2
    body.append(f'<text x="{middle}" y="{_BOTTOM + 32}" text-anchor="middle">images with each finding</text>')
    ends = _apart([up(c[-1].estimate) for c in curves.values()])
    for i, ((row, curve), end) in enumerate(zip(curves.items(), ends, strict=True)):
        style = f"c{i % _COLOURS + 1}" + (" dashed" if i >= _COLOURS else "")
        shift = (i - (len(curves) - 1) / 2) * min(3.0, 20 / len(curves))  # so that bars do not lie on each other
        points = [(across(n) + shift, interval) for n, interval in zip(shots, curve, strict=True)]
        line = " ".join(f"{x:.1f},{up(v.estimate):.1f}" for x, v in points if not math.isnan(v.estimate))
        body.append(f'<polyline class="{style}" fill="none" points="{line}"><title>{escape(row)}</title></polyline>')
        for x, v in points:
            if not math.isnan(v.low):
                body.append(
                    f'<path class="{style.split(maxsplit=1)[0]} thin" d="M{x:.1f} {up(v.low):.1f}V{up(v.high):.1f}"/>'
                )
        x, last = points[-1][0], curve[-1].estimate
        if math.isnan(last):
            continue
        body.append(f'<path class="{style} thin" d="M{x:.1f} {up(last):.1f}L{_RIGHT + 14} {end:.1f}h10"/>')
        body.append(f'<text x="{_RIGHT + 28}" y="{end + 3.5:.1f}">{escape(row)} {last:.3f}</text>')
    label = escape(f"macro AUROC against shots of {', '.join(curves)}", quote=True)
    height = max(_BOTTOM + 40, round(max(ends, default=0)) + 10)
    return f'<svg class="wide" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{label}">{"".join(body)}</svg>'


def _numbers(rows: Sequence[str], shots: Sequence[int], of: dict[str, dict[str, Record]]) -> str:
    heads = ["method", *(f"{n} shots" if n > 1 else "1 shot" for n in shots), "mean height ↑"]

    def line(row: str, kind: str, curve: str) -> list[str]:
        mine = of[row]
        return [
            text(row),
            *(_cell(mine[f"auroc_{n}_shot_{kind}"].interval) for n in shots),
            _cell(mine[curve].interval),
        ]

    scores = table(heads, [line(r, "score", "shot_curve_score") for r in rows], caption="Macro AUROC ↑")
    if len(rows) == 1:
        return scores
    apart = [line(r, "difference", "shot_curve_difference") for r in rows[1:]]
    return scores + table(heads, apart, caption=f"Minus {rows[0]}, after the same draws, on the same patients")


def _cell(interval: Interval) -> str:
    if math.isnan(interval.low):
        return f"<b>{interval.estimate:.3f}</b>"
    return f'<b>{interval.estimate:.3f}</b> <span class="soft">[{interval.low:.3f}, {interval.high:.3f}]</span>'


def _apart(places: Sequence[float]) -> list[float]:
    """Heights of the names: in the order of the curves' ends, a line apart, inside the frame where they fit."""
    order = sorted(range(len(places)), key=lambda i: (math.isnan(places[i]), places[i]))
    found = [0.0] * len(places)
    below = _TOP - _LINE + 4.0
    for i in order:
        below = max(below + _LINE, _TOP + 4.0 if math.isnan(places[i]) else places[i])
        found[i] = below
    above = _BOTTOM + _LINE * 1.0
    for i in reversed(order):
        found[i] = min(found[i], max(above - _LINE, _TOP + 4.0))
        above = found[i]
    return found
