"""A comparison as pictures: quality against labels, one panel a mode, and quality against its price."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np

from tapetum.bench.comparison.plan import ALL
from tapetum.bench.comparison.result import Line
from tapetum.bench.pages.plots import svg

COLOURS = 6
_WIDTH, _HEIGHT = 340, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 328, 12, 190


def colour_of(encoders: Sequence[str], encoder: str) -> int:
    """Number of an encoder's colour, from 1; the last one is shared where there are more encoders than colours."""
    return min(encoders.index(encoder), COLOURS - 1) + 1


def curves(lines: Sequence[Line], mode: str) -> str:
    """Macro AUROC of every encoder against the number of labels, with intervals; zero-shot is a dashed level.

    Args:
        lines: of the whole table.
        mode: the one that the panel shows.
    """
    encoders = list(dict.fromkeys(line.cell.encoder for line in lines))
    mine = [line for line in lines if line.cell.mode == mode and line.cell.shots >= ALL]
    levels = [line for line in lines if line.cell.shots < ALL]
    shots = sorted({line.cell.shots for line in mine}, key=lambda n: (n == ALL, n))
    low, high = _bounds([*mine, *levels])
    step = (_RIGHT - _LEFT - 40) / max(1, len(shots) - 1)
    place = {n: _LEFT + 20 + i * step for i, n in enumerate(shots)}
    body = [_frame(low, high)]
    for n, x in place.items():
        body.append(_text(x, _BOTTOM + 15, "all" if n == ALL else str(n)))
    body.append(_text((_LEFT + _RIGHT) / 2, _BOTTOM + 32, "images with, and as many without, each finding"))
    for line in levels:
        y, colour = _y(line.auroc.estimate, low, high), colour_of(encoders, line.cell.encoder)
        title = f"<title>{escape(line.cell.encoder)}, reports alone: {line.auroc}</title>"
        body.append(f'<path class="c{colour} thin dashed" d="M{_LEFT} {y:.1f}H{_RIGHT}">{title}</path>')
    for encoder in encoders:
        own = sorted((line for line in mine if line.cell.encoder == encoder), key=lambda a: place[a.cell.shots])
        colour = colour_of(encoders, encoder)
        shift = 3 * (colour - (len(encoders) + 1) / 2)
        points = [(place[line.cell.shots] + shift, _y(line.auroc.estimate, low, high)) for line in own]
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        body.append(f'<polyline class="c{colour}" points="{joined}"/>')
        body += [_dot(x, y, line, colour, low, high) for (x, y), line in zip(points, own, strict=True)]
    return svg(_WIDTH, _HEIGHT, f"macro AUROC by number of labels, {mode}", body, style="curve")


def prices(lines: Sequence[Line]) -> str:
    """Macro AUROC against the seconds that learning takes, at the most labels of each mode and by reports alone."""
    encoders = list(dict.fromkeys(line.cell.encoder for line in lines))
    most = [line for line in lines if line.cell.shots < ALL or line.cell.shots == _most(lines, line.cell.mode)]
    low, high = _bounds(most)
    seconds = [max(line.cost.learn_s, 0.1) for line in most]
    first, last = math.floor(math.log10(min(seconds))), math.ceil(math.log10(max(seconds)))
    last = max(last, first + 1)
    width, height, right = 700, 330, 660

    def x_of(value: float) -> float:
        return _LEFT + (math.log10(max(value, 0.1)) - first) / (last - first) * (right - _LEFT)

    body = [_frame(low, high, right=right, bottom=270)]
    for power in range(first, last + 1):
        x = _LEFT + (power - first) / (last - first) * (right - _LEFT)
        body.append(f'<path class="axis" d="M{x:.1f} 270v4"/>')
        body.append(_text(x, 288, f"{10.0**power:,g} s"))
    body.append(_text((_LEFT + right) / 2, 310, "from images to a fitted model, on this machine (logarithmic)"))
    placed: list[tuple[float, float]] = []
    for line, s in sorted(zip(most, seconds, strict=True), key=lambda pair: pair[1]):
        x, y, colour = x_of(s), _y(line.auroc.estimate, low, high, 270), colour_of(encoders, line.cell.encoder)
        body.append(_dot(x, y, line, colour, low, high, bottom=270))
        down = next(d for d in range(-4, 400, 13) if all(abs(y + d - b) > 12 or abs(x - a) > 150 for a, b in placed))
        placed.append((x, y + down))
        left = x > right - 130
        anchor = "end" if left else "start"
        body.append(_text(x + (-8 if left else 8), y + down, line.cell.mode.partition("(")[0], anchor))
    return svg(width, height, "macro AUROC against the seconds that learning takes", body, style="wide")


def _most(lines: Sequence[Line], mode: str) -> int:
    shots = [line.cell.shots for line in lines if line.cell.mode == mode]
    return ALL if ALL in shots else max(shots)


def _bounds(lines: Sequence[Line]) -> tuple[float, float]:
    """Tenths that hold every interval."""
    values = [v for line in lines for v in (line.auroc.low, line.auroc.high, line.auroc.estimate) if not math.isnan(v)]
    low, high = min(values, default=0.5), max(values, default=1.0)
    return max(0.0, math.floor(low * 10) / 10), min(1.0, math.ceil(high * 10) / 10)


def _y(value: float, low: float, high: float, bottom: float = _BOTTOM) -> float:
    return bottom - (value - low) / max(high - low, 1e-9) * (bottom - _TOP)


def _frame(low: float, high: float, *, right: float = _RIGHT, bottom: float = _BOTTOM) -> str:
    parts = [f'<rect class="frame" x="{_LEFT}" y="{_TOP}" width="{right - _LEFT}" height="{bottom - _TOP}"/>']
    for tick in np.arange(round(low * 10), round(high * 10) + 1) / 10:
        y = _y(float(tick), low, high, bottom)
        parts.append(f'<path class="frame" d="M{_LEFT} {y:.1f}H{right}"/>')
        parts.append(_text(_LEFT - 6, y + 3.5, f"{tick:.1f}", "end"))
    middle = (_TOP + bottom) / 2
    parts.append(f'<text transform="translate(11 {middle}) rotate(-90)" text-anchor="middle">macro AUROC</text>')
    return "".join(parts)


def _dot(x: float, y: float, line: Line, colour: int, low: float, high: float, *, bottom: float = _BOTTOM) -> str:
    """An estimate with its interval; pointed at, it says what it is."""
    bar = ""
    if not math.isnan(line.auroc.low):
        ends = [_y(v, low, high, bottom) for v in (line.auroc.low, line.auroc.high)]
        bar = f'<path class="c{colour} thin" d="M{x:.1f} {ends[0]:.1f}V{ends[1]:.1f}"/>'
    title = f"<title>{escape(str(line.cell))}: {line.auroc}</title>"
    return f'{bar}<circle class="c{colour}dot" cx="{x:.1f}" cy="{y:.1f}" r="3.6">{title}</circle>'


def _text(x: float, y: float, words: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
