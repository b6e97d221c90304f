"""The comparison as one self-contained page."""

from __future__ import annotations

import math

from tapetum.bench.comparison.pictures import colour_of, curves, prices
from tapetum.bench.comparison.plan import ALL
from tapetum.bench.comparison.result import Comparison, Line
from tapetum.bench.pages.parts import document, figure, paragraph, section, table, text
from tapetum.bench.pages.results import PHANTOM, contents
from tapetum.core.store import package_version
from tapetum.learn.model import INTENDED_USE

_HEADS = (
    "mode", "learned from", "macro AUROC ↑", "minus first encoder", "p", "values learned", "MB on top", "ms an image",
    "seconds to learn",
)  # fmt: skip


def comparison_page(found: Comparison) -> str:
    """The page as text; equal comparisons give equal pages.

    Args:
        found: at least one line.
    """
    first = found.records[0]
    encoders = list(dict.fromkeys(line.cell.encoder for line in found.lines))
    modes = list(dict.fromkeys(line.cell.mode for line in found.lines if line.cell.shots >= ALL))
    legend = " ".join(
        f'<span class="key k{colour_of(encoders, one)}"></span>{text(one)}{" (the first)" if i == 0 else ""}<br>'
        for i, one in enumerate(encoders)
    )
    panels = "".join(figure(curves(found.lines, mode), f"<b>{text(mode)}</b>") for mode in modes)
    dashed = paragraph("Dashed: by reports alone, no label.", "soft") if len(found.lines) > len(modes) else ""
    parts = [
        section("table", "The table", *(_table(found, encoder) for encoder in encoders)),
        section("labels", "What labels are worth", f"<p>{legend}</p>", dashed, f'<div class="curves">{panels}</div>'),
        section("price", "What quality costs", figure(prices(found.lines), "At the most labels of each mode.")),
        section("left_out", "Left out", *(paragraph(words, "soft") for words in found.absent)),
        section("alarms", "Alarms", *(paragraph(words, "warn") for words in found.alarms)),
        section("notes", "Notes", *(paragraph(note) for note in found.notes)),
        section("findings", "Findings", paragraph(", ".join(name.replace("_", " ") for name in found.findings))),
    ]
    body = "\n".join(part for part in parts if part)
    title = f"Comparison · {first.data}"
    head = [f"<h1>{text(title)}</h1>", f'<p class="use"><b>Intended use.</b> {text(INTENDED_USE)}</p>']
    if first.phantom:
        head.append(f'<p class="banner" role="note">{text(PHANTOM)}</p>')
    if first.test_reads > 1:
        words = (
            f"The test set has now been read {first.test_reads} times; what was changed after a look at it is too good."
        )
        head.append(paragraph(words, "warn"))
    foot = f"<p>tapetum {text(package_version())} · archive <code>{text(first.digests['archive'][:12])}</code></p>"
    return document(title, "".join(head) + contents(body), body, foot)


def _table(found: Comparison, encoder: str) -> str:
    lines = [line for line in found.lines if line.cell.encoder == encoder]
    caption = f"{encoder} · {lines[0].cost.parameters / 1e6:.2f} M parameters"
    return table(_HEADS, [_cells(line) for line in lines], caption=caption)


def _cells(line: Line) -> list[str]:
    runs = f" ({line.runs} runs, SD {line.spread:.3f})" if line.runs > 1 else ""
    versus = text(line.versus.interval) if line.versus else ""
    return [
        text(line.cell.mode), text(line.cell.supervision),
        f"{text(line.auroc)}{runs}",
        versus, "" if math.isnan(line.adjusted_p) else f"{line.adjusted_p:.3f}", f"{line.cost.learned:,}",
        f"{line.cost.megabytes:.2f}", f"{line.cost.image_ms:.1f}", f"{line.cost.learn_s:.1f}",
    ]  # fmt: skip
