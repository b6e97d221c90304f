"""Figures as inline SVG: they take the page's colours, light or dark, print sharp, and their text can be read.

Drawn by hand, since a page of small panels needs a frame, two axes and lines, and no drawing library lets CSS decide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from jaxtyping import Float

from tapetum.bench.tables.results import Control
from tapetum.core.types import Interval
from tapetum.score.reliability import ReliabilityBins, RocCurve

PANEL = 200  # side of a small panel in CSS pixels
LEFT, TOP, SPAN = 34, 8, 152  # the plotted square inside it


@dataclass(frozen=True)
class Line:
    """One curve of a panel: `style` is the CSS class that colours it, `name` its entry in the legend."""

    name: str
    style: str
    x: Float[np.ndarray, "p"]
    y: Float[np.ndarray, "p"]


def roc_line(name: str, style: str, curve: RocCurve) -> Line:
    """A ROC curve as a line of `roc_panel`, thinned where points lie on one straight run."""
    return Line(name, style, *_corners(curve.false_positive_rate, curve.true_positive_rate))


def roc_panel(label: str, lines: Sequence[Line], point: tuple[float, float] | None = None) -> str:
    """ROC curves of one finding.

    Args:
        label: read out by screen readers.
        lines: at most two.
        point: false and true positive rate at the threshold.
    """
    body = [_frame("1 − specificity", "sensitivity")]
    body += [_polyline(line) for line in lines]
    if point is not None and not any(math.isnan(v) for v in point):
        x, y = _x(point[0]), _y(point[1])
        text = f"at the threshold: sensitivity {point[1]:.2f}, specificity {1 - point[0]:.2f}"
        body.append(f'<circle class="op" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{text}</title></circle>')
    return svg(PANEL, PANEL, label, body)


def reliability_panel(label: str, after: ReliabilityBins, before: ReliabilityBins | None = None) -> str:
    """Stated against observed, with the bins' intervals; dots grow with the number of images."""
    body = [_frame("stated probability", "observed share")]
    if before is not None:
        body.append(_polyline(Line("before", "c2 dashed", before.stated, before.observed)))
    body.append(_polyline(Line("after", "c1", after.stated, after.observed)))
    largest = float(after.images.max(initial=1))
    for x, y, low, high, n in zip(after.stated, after.observed, after.low, after.high, after.images, strict=True):
        body.append(f'<path class="c1 thin" d="M{_x(x):.1f} {_y(low):.1f}V{_y(high):.1f}"/>')
        radius = 1.6 + 2.6 * math.sqrt(float(n) / largest)
        title = f"stated {x:.2f}, observed {y:.2f} [{low:.2f}, {high:.2f}], {int(n)} images"
        body.append(
            f'<circle class="c1dot" cx="{_x(x):.1f}" cy="{_y(y):.1f}" r="{radius:.1f}"><title>{title}</title></circle>'
        )
    return svg(PANEL, PANEL, label, body)


def step_panel(label: str, across: str, lines: Sequence[Line]) -> str:
    """AUROC against a share of 0 to 1, with a line at chance.

    Args:
        label: read out by screen readers.
        across: what the share is of.
        lines: at most two.
    """
    body = [_frame(across, "AUROC", chance=0.5), *map(_polyline, lines)]
    for line in lines:
        for x, y in zip(line.x.tolist(), line.y.tolist(), strict=True):
            place = f'cx="{_x(x):.1f}" cy="{_y(y):.1f}" r="2.4"'
            body.append(f'<circle class="{line.style}dot" {place}><title>{line.name}: {y:.3f}</title></circle>')
    return svg(PANEL, PANEL, label, body)


def interval_bar(interval: Interval, *, chance: float = math.nan, style: str = "c1") -> str:
    """An estimate with its interval on a scale of 0 to 1, small enough for a table cell; `chance` is a thin mark."""
    width, height, middle = 104, 14, 7

    def at(value: float) -> float:
        return 2 + min(max(value, 0.0), 1.0) * (width - 4)

    body = [f'<path class="axis" d="M2 {middle}H{width - 2}"/>']
    if not math.isnan(chance):
        body.append(f'<path class="axis" d="M{at(chance):.1f} 2V{height - 2}"/>')
    if not math.isnan(interval.low):
        body.append(f'<path class="{style} bar" d="M{at(interval.low):.1f} {middle}H{at(interval.high):.1f}"/>')
    if not math.isnan(interval.estimate):
        body.append(f'<circle class="{style}dot" cx="{at(interval.estimate):.1f}" cy="{middle}" r="3.4"/>')
    # The number stands beside it: for a screen reader the bar is an ornament.
    return f'<svg class="cell" aria-hidden="true" viewBox="0 0 {width} {height}">{"".join(body)}</svg>'


def control_plot(control: Control) -> str:
    """The macro AUROC of every shuffle as a dot, their mean with two standard errors, and the real value."""
    width, height, left, right, base = 640, 136, 20, 620, 84
    known = [v for v in (*control.shuffled, control.real, 0.5) if not math.isnan(v)]
    low, high = math.floor(min(known) * 10 - 0.5) / 10, min(1.0, math.ceil(max(known) * 10 + 0.5) / 10)

    def at(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    body = [f'<path class="axis" d="M{left} {base}H{right}"/>']
    for tick in np.arange(round(low * 10), round(high * 10) + 1) / 10:
        body.append(f'<path class="axis" d="M{at(tick):.1f} {base}v4"/>')
        body.append(f'<text x="{at(tick):.1f}" y="{base + 17}" text-anchor="middle">{tick:.1f}</text>')
    body.append(f'<path class="axis dashed" d="M{at(0.5):.1f} 18V{base}"/>')
    body.append(f'<text x="{at(0.5):.1f}" y="12" text-anchor="middle">chance</text>')
    if not math.isnan(control.standard_error):
        ends = [at(control.mean + s * 2 * control.standard_error) for s in (-1, 1)]
        body.append(f'<path class="c2 bar" d="M{ends[0]:.1f} {base - 8}H{ends[1]:.1f}"/>')
    for place, height_of in _piled([at(v) for v in control.shuffled if not math.isnan(v)]):
        body.append(f'<circle class="c2dot" cx="{place:.1f}" cy="{base - 20 - height_of:.1f}" r="4.5"/>')
    x, y = at(control.real), base - 20
    body.append(f'<path class="c1fill" d="M{x:.1f} {y - 9}l8 9-8 9-8-9z"/>')
    body.append(f'<text class="strong" x="{x:.1f}" y="{y - 16}" text-anchor="middle">real {control.real:.3f}</text>')
    body.append(
        f'<text x="{(left + right) / 2}" y="{height - 8}" text-anchor="middle">macro AUROC on the test set</text>'
    )
    return svg(width, height, control.line(), body, style="wide")


def svg(width: int, height: int, label: str, body: Sequence[str], *, style: str = "panel") -> str:
    """A drawing of some CSS pixels with its label for screen readers."""
    name = escape(label, quote=True)
    return f'<svg class="{style}" viewBox="0 0 {width} {height}" role="img" aria-label="{name}">{"".join(body)}</svg>'


def _x(value: float) -> float:
    return LEFT + float(value) * SPAN


def _y(value: float) -> float:
    return TOP + (1 - float(value)) * SPAN


def _frame(across: str, up: str, *, chance: float = math.nan) -> str:
    """A unit square with its diagonal or a level line, ticks at 0, ½ and 1, and the names of the axes."""
    right, bottom, middle = LEFT + SPAN, TOP + SPAN, TOP + SPAN / 2
    ends = (bottom, TOP) if math.isnan(chance) else (_y(chance), _y(chance))
    parts = [
        f'<rect class="frame" x="{LEFT}" y="{TOP}" width="{SPAN}" height="{SPAN}"/>',
        f'<path class="axis dashed" d="M{LEFT} {ends[0]}L{right} {ends[1]}"/>',
    ]
    for value, name in ((0.0, "0"), (0.5, ".5"), (1.0, "1")):
        parts.append(f'<text x="{_x(value):.0f}" y="{bottom + 13}" text-anchor="middle">{name}</text>')
        parts.append(f'<text x="{LEFT - 5}" y="{_y(value) + 3.5:.1f}" text-anchor="end">{name}</text>')
    parts.append(f'<text x="{LEFT + SPAN / 2}" y="{bottom + 28}" text-anchor="middle">{across}</text>')
    parts.append(f'<text transform="translate(10 {middle}) rotate(-90)" text-anchor="middle">{up}</text>')
    return "".join(parts)


def _polyline(line: Line) -> str:
    points = " ".join(f"{_x(x):.1f},{_y(y):.1f}" for x, y in zip(line.x, line.y, strict=True))
    return f'<polyline class="{line.style}" points="{points}"><title>{escape(line.name)}</title></polyline>'


def _corners(x: Float[np.ndarray, "p"], y: Float[np.ndarray, "p"]) -> tuple[np.ndarray, np.ndarray]:
    """The points of a staircase at which it turns: the same picture from far fewer numbers."""
    if len(x) < 3:
        return x, y
    cross = np.diff(x)[:-1] * np.diff(y)[1:] - np.diff(y)[:-1] * np.diff(x)[1:]
    kept = np.concatenate([[True], np.abs(cross) > 1e-12, [True]])
    return x[kept], y[kept]


def _piled(places: Sequence[float]) -> list[tuple[float, float]]:
    """Dots that would lie on each other are piled up."""
    found: list[tuple[float, float]] = []
    for place in sorted(places):
        level = 0.0
        while any(abs(place - x) < 9 and abs(level - y) < 9 for x, y in found):
            level += 9.5
        found.append((place, level))
    return found
