"""One picture of the demonstration for a page that shows what it is: where scores come from, curves, the control."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from sklearn.metrics import roc_curve

from tapetum.bench.pages.examples import Pictures, heat_cases, measurable
from tapetum.bench.tables.results import Results
from tapetum.core.errors import TapetumError
from tapetum.core.store import atomic_write

_SHOWN = 4
_COLOURS = ("#1f5fa8", "#b5561c", "#1d6b3a", "#7a3a8a")
BANNER = (
    "Phantom: computed eyes of nobody. It proves mechanisms, not medicine. "
    "Research and second-reader support, not a cleared device."
)


def results_picture(results: Results, out: Path) -> Path:
    """Write a PNG: photographs with heat-maps, ROC curves of the same findings, and the negative control.

    Args:
        results: of `zero_shot`, with its trial.
        out: the file.

    Returns:
        `out`.
    """
    scored = results.scored[0]
    columns = sorted(measurable(scored)[:12], key=lambda j: -_auroc(results, scored.predictions.findings[j]))[:_SHOWN]
    figure = Figure(figsize=(11, 6.4), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 2 * _SHOWN, height_ratios=[1, 1.5])
    try:
        cases = heat_cases(scored, columns, Pictures(results.trial.test_archive)) if results.trial else []
    except TapetumError:
        cases = []
    for i, case in enumerate(cases):
        for k, (picture, title) in enumerate(((case.case.picture, _words(case.finding)), (case.overlay, ""))):
            axes = figure.add_subplot(grid[0, 2 * i + k])
            axes.imshow(np.asarray(Image.open(io.BytesIO(picture))))
            axes.set_title(title, fontsize=8, loc="left")
            axes.axis("off")
    axes = figure.add_subplot(grid[1, :_SHOWN])
    for j, colour in zip(columns, _COLOURS, strict=False):
        known = ~np.isnan(scored.labels[:, j])
        x, y, _ = roc_curve(scored.labels[known, j], scored.predictions.logits[known, j])
        finding = scored.predictions.findings[j]
        axes.plot(x, y, color=colour, label=f"{_words(finding)}, AUROC {_auroc(results, finding):.2f}")
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1, linestyle="--")
    axes.set(xlabel="1 − specificity", ylabel="sensitivity", title="Detection by name, on test patients")
    axes.legend(fontsize=8, loc="lower right")
    if results.control:
        axes = figure.add_subplot(grid[1, _SHOWN:])
        axes.hist(
            results.control.shuffled, bins=np.linspace(0.3, 1, 36).tolist(), color="0.6", label="reports shuffled"
        )
        axes.axvline(results.control.real, color=_COLOURS[1], linewidth=3, label="reports as written")
        axes.axvline(0.5, color="0.3", linewidth=1, linestyle="--", label="chance")
        axes.set(xlabel="macro AUROC", ylabel="runs", title="Negative control")
        axes.legend(fontsize=8)
    figure.text(0.01, -0.03, BANNER, fontsize=8)
    stream = io.BytesIO()
    canvas.print_figure(stream, format="png", bbox_inches="tight")
    atomic_write(out, stream.getvalue())
    return out


def _auroc(results: Results, finding: str) -> float:
    return results.find(finding, "auroc_score").interval.estimate


def _words(finding: str) -> str:
    return finding.replace("_", " ")
