"""The curves of a training run as SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import TYPE_CHECKING

from tapetum.bench.pages.plots import svg

if TYPE_CHECKING:
    from tapetum.bench.pages.training import Stage

_WIDTH, _LEFT, _RIGHT, _TOP = 720, 78, 706, 12
_Point = tuple[float, float]


def loss_plot(stage: Stage) -> str:
    """Losses by epoch: of the steps, of the epochs, of held-out patients, and what chance is."""
    steps = _by_epoch(stage, "loss")
    train = [(i + 0.5, v) for i, v in enumerate(stage.train)]
    held = [(i + 1.0, v) for i, v in enumerate(stage.held)]
    average = [(i + 1.0, v) for i, v in enumerate(stage.average)]
    levels = [v for v in (stage.chance, stage.held_chance) if math.isfinite(v)]
    across = max(len(stage.train), *(math.ceil(x) for x, _ in steps), 1) if steps else max(len(stage.train), 1)
    values = [y for _, y in (*_most(steps), *train, *held, *average) if math.isfinite(y)] + levels
    bottom, height = 270, 316
    x, y = _scale(0, across, _LEFT, _RIGHT), _scale(*_around(values), bottom, _TOP)
    body = [*_axes(x, y, across, _around(values), bottom, "loss in nats per example")]
    for level, style, name in ((stage.chance, "c1", "training"), (stage.held_chance, "c2", "held-out")):
        if math.isfinite(level):
            title = f"<title>chance on {name} patients: {level:.4f}</title>"
            body.append(f'<path class="{style} thin dashed" d="M{_LEFT} {y(level):.1f}H{_RIGHT}">{title}</path>')
    body.append(_line(steps, "c6 thin", "loss of each step", x, y))
    for points, style, name in (
        (train, "c1", "training"),
        (held, "c2", "held out"),
        (average, "c3", "moving average, held out"),
    ):
        body.append(_line(points, style, name, x, y))
        body += [_dot(px, py, style, name, x, y) for px, py in points if len(points) <= 60]
    kept = stage.average if stage.averaged else stage.held
    if 0 <= stage.best_epoch < len(kept):
        value = kept[stage.best_epoch]
        title = f"<title>kept: epoch {stage.best_epoch + 1}, {value:.4f}</title>"
        body.append(
            f'<circle class="op" cx="{x(stage.best_epoch + 1):.1f}" cy="{y(value):.1f}" r="5.5">{title}</circle>'
        )
    return svg(_WIDTH, height, f"losses of {stage.name}", body, style="wide")


def rate_plot(stage: Stage) -> str:
    """The learning rate by epoch."""
    points = _by_epoch(stage, "rate")
    across = max(len(stage.train), math.ceil(max(px for px, _ in points)), 1)
    top = max(v for _, v in points) or 1.0
    bottom, height = 110, 156
    x, y = _scale(0, across, _LEFT, _RIGHT), _scale(0.0, top * 1.05, bottom, _TOP)
    body = [
        *_axes(x, y, across, (0.0, top * 1.05), bottom, "learning rate"),
        _line(points, "c1", "learning rate", x, y),
    ]
    return svg(_WIDTH, height, f"learning rate of {stage.name}", body, style="wide")


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers between two others.

    Example:
        >>> ticks(0.0, 1.0)
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    if not high > low:
        return [low]
    rough = (high - low) / about
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(m * unit for m in (1, 2, 5, 10) if m * unit >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _by_epoch(stage: Stage, name: str) -> list[_Point]:
    """The points of the curve of steps, placed on the axis of epochs."""
    each = stage.steps_per_epoch
    if math.isnan(each):
        return []
    pairs = zip(stage.curve.get("step", ()), stage.curve.get(name, ()), strict=True)
    return [((float(s) + 1) / each, float(v)) for s, v in pairs if v is not None and math.isfinite(v)]


def _most(points: Sequence[_Point]) -> list[_Point]:
    """The points without the highest fiftieth: one wild step shall not flatten all others."""
    if len(points) < 20:
        return list(points)
    limit = sorted(v for _, v in points)[int((len(points) - 1) * 0.98)]
    return [p for p in points if p[1] <= limit]


def _around(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return low - margin if low < 0 or low > margin else 0.0, high + margin


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    def at(value: float) -> float:
        share = min(max((value - low) / (high - low), 0.0), 1.0)
        return start + share * (end - start)

    return at


def _axes(
    x: Callable[[float], float],
    y: Callable[[float], float],
    across: float,
    bounds: tuple[float, float],
    bottom: int,
    up: str,
) -> list[str]:
    parts = [f'<rect class="frame" x="{_LEFT}" y="{_TOP}" width="{_RIGHT - _LEFT}" height="{bottom - _TOP}"/>']
    for value in ticks(0, across, 10):
        if value == int(value):
            parts.append(f'<path class="axis" d="M{x(value):.1f} {bottom}v4"/>')
            parts.append(f'<text x="{x(value):.1f}" y="{bottom + 18}" text-anchor="middle">{int(value)}</text>')
    for value in ticks(*bounds):
        parts.append(f'<path class="axis" d="M{_LEFT - 4} {y(value):.1f}h4"/>')
        parts.append(f'<text x="{_LEFT - 7}" y="{y(value) + 4:.1f}" text-anchor="end">{_short(value)}</text>')
    parts.append(f'<text x="{(_LEFT + _RIGHT) / 2}" y="{bottom + 38}" text-anchor="middle">epochs done</text>')
    middle = (_TOP + bottom) / 2
    parts.append(f'<text transform="translate(14 {middle}) rotate(-90)" text-anchor="middle">{escape(up)}</text>')
    return parts


def _short(value: float) -> str:
    """A tick's number: 0.25, 1e-4.

    Example:
        >>> _short(0.00025), _short(0.5), _short(0.0)
        ('2.5e-4', '0.5', '0')
    """
    if value and abs(value) < 0.001:
        mantissa, _, power = f"{value:.2e}".partition("e")
        return f"{float(mantissa):g}e{int(power)}"
    return f"{value:.4g}"


def _line(
    points: Sequence[_Point], style: str, name: str, x: Callable[[float], float], y: Callable[[float], float]
) -> str:
    known = " ".join(f"{x(px):.1f},{y(py):.1f}" for px, py in points if math.isfinite(py))
    return f'<polyline class="{style}" points="{known}"><title>{escape(name)}</title></polyline>' if known else ""


def _dot(px: float, py: float, style: str, name: str, x: Callable[[float], float], y: Callable[[float], float]) -> str:
    if not math.isfinite(py):
        return ""
    title = f"<title>{escape(name)}, epoch {math.ceil(px)}: {py:.4f}</title>"
    return f'<circle class="{style}dot" cx="{x(px):.1f}" cy="{y(py):.1f}" r="2.6">{title}</circle>'
