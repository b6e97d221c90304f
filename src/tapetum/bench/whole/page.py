"""The page of a whole run: warnings, one table, each part in full, checklists; no script, nothing loaded."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from tapetum.bench.pages.checklist import Checklist
from tapetum.bench.pages.numbers import glossary_section
from tapetum.bench.pages.parts import definitions, document, paragraph, section, text
from tapetum.bench.pages.results import PHANTOM, PRIVATE, contents
from tapetum.bench.tables.metric_words import head_of
from tapetum.bench.tables.results import Results
from tapetum.bench.whole.result import DONE, FAILED, MAIN, Outcome, Whole, told_of
from tapetum.core.store import package_version
from tapetum.core.types import Record
from tapetum.learn.model import INTENDED_USE

LISTS = (
    "For a paper on this model: filled in where the run knows, with the source; the rest is the authors'. The same as "
    "Markdown in the folder checklists."
)
SHOWN = 3  # tables of a section; more are folded
WARNINGS = 12  # shown; the others behind a line
_SECTION = re.compile(r'<section id="(\w+)"><h2>(.*?)</h2>\n(.*?)\n</section>', re.S)
_ONCE = ("glossary",)  # sections that stand once for all parts
_PICTURES, _PICTURED = ("heat", "search", "failures"), ("detection", "words")  # pictures, and the parts that show them
_FOLDED = ("done", "notes")


def whole_page(whole: Whole, checklists: Sequence[Checklist] = (), *, card: bool = False) -> str:
    """The page as text; equal runs give equal pages but for seconds.

    Args:
        whole: the run; the parts' own pages are read from their folders.
        checklists: drafts, filled in.
        card: whether a model card lies beside the page.
    """
    title = f"Bench · {whole.title}"
    listed = [one.html() for one in checklists]
    parts = [
        section("summary", "Summary", _summary(whole)),
        *(_part(one) for one in whole.outcomes if one.status == DONE),
        section("checklists", "Draft checklists", paragraph(LISTS), *listed) if listed else "",
        section("made", "What it was made with", _made(whole, card)),
        glossary_section(Results(whole.records)),
    ]  # fmt: skip
    body = "\n".join(p for p in parts if p)
    return document(title, _head(title, whole) + contents(body), body, _foot(whole))


def _head(title: str, whole: Whole) -> str:
    parts = [f"<h1>{text(title)}</h1>", f'<p class="use"><b>Intended use.</b> {text(INTENDED_USE)}</p>']
    parts.append(f'<p class="banner" role="note">{text(PHANTOM)}</p>' if whole.phantom else paragraph(PRIVATE, "soft"))
    lines = [f"<li><b>{text(where)}:</b> {text(words)}</li>" for where, words in whole.warnings]
    if lines:
        more = lines[WARNINGS:]
        folded = f"<details><summary>{len(more)} more</summary><ul>{''.join(more)}</ul></details>" if more else ""
        parts.append(
            f'<div class="banner first" role="note">Read first: {len(lines)} warnings'
            f"<ul>{''.join(lines[:WARNINGS])}</ul>{folded}</div>"
        )
    else:
        parts.append(paragraph("No warning: nothing was left out, refused or found suspicious.", "good"))
    return "\n".join(parts)


def _summary(whole: Whole) -> str:
    """One line per part: what it asks, and three main numbers, or why there are none."""
    rows: list[str] = []
    for one in whole.outcomes:
        name = text(one.planned.title)
        if one.status == DONE:
            name = f'<a href="#{one.planned.name}">{name}</a>'
            cells = [f"<td>{_cell(r)}</td>" for r in one.main]
            cells += ["<td></td>"] * (MAIN - len(cells))
        else:
            style = "warn" if one.status == FAILED else "soft"
            cells = [f'<td colspan="{MAIN}" class="{style}">{text(f"{one.status}: {one.reason}")}</td>']
        asked = f"{name}<small>{text(one.planned.part.question)}</small>"
        rows.append(f'<tr><th scope="row">{asked}</th>{"".join(cells)}</tr>')
    told = paragraph(
        "Brackets: 95 % intervals; whole patients are drawn again. Which numbers stand here was fixed before they were "
        "measured: the mean over the findings, else the worst finding. Each part below has all of its own.", "soft",
    )  # fmt: skip
    head = f'<tr><th scope="col">part</th><th scope="col" colspan="{MAIN}">main numbers</th></tr>'
    body = f"<thead>{head}</thead><tbody>{''.join(rows)}</tbody>"
    return f'<div class="scroll"><table class="whole">{body}</table></div>{told}'


def _cell(record: Record) -> str:
    found = record.interval
    bounds = "no bounds" if math.isnan(found.low) else f"{found.low:.3f}, {found.high:.3f}"
    return (
        f'<span class="soft">{text(head_of(record.metric))}</span><br><b>{found.estimate:.3f}</b> '
        f'<span class="soft">[{bounds}]</span><small>{text(told_of(record))}</small>'
    )


def _part(one: Outcome) -> str:
    """A part's own page, one level down, with anchors of its own."""
    if one.folder is None:
        return ""
    page = (one.folder / "report.html").read_text(encoding="utf-8")
    own = f"{text(one.planned.part.question)} On a page of its own: <code>{text(one.planned.name)}/report.html</code>."
    inside = [f'<p class="soft">{own}</p>']
    if one.warnings:
        inside.append(f'<ul class="warn">{"".join(f"<li>{text(words)}</li>" for words in one.warnings)}</ul>')
    for anchor, title, words in _SECTION.findall(page.partition("<main>")[2].rpartition("</main>")[0]):
        if anchor in _ONCE or (anchor in _PICTURES and one.planned.part.name not in _PICTURED):
            continue
        lower = _folded(re.sub(r"<(/?)h3>", r"<\1h4>", words))
        if anchor in _FOLDED:
            inside.append(f"<details><summary>{title}</summary>{lower}</details>")
        else:
            inside.append(f'<section id="{one.planned.name}-{anchor}"><h3>{title}</h3>\n{lower}\n</section>')
    return section(one.planned.name, one.planned.title, *inside)


def _folded(words: str) -> str:
    """The first tables of a section; many more are one click away."""
    head, *blocks = re.split(r"(?=<h4>)", words)
    if len(blocks) <= SHOWN or "<figure" in words:
        return words
    more = "".join(blocks[SHOWN:])
    shown = head + "".join(blocks[:SHOWN])
    return f"{shown}<details><summary>{len(blocks) - SHOWN} more tables</summary>{more}</details>"


def _made(whole: Whole, card: bool) -> str:
    again = sum(one.again for one in whole.outcomes)
    pairs = [
        ("Archive", text(whole.data)), ("Other archive", text(whole.other)),
        ("Test set read", f"{whole.reads} time(s): all parts of one run are one reading"),
        ("Digests", " · ".join(f"{text(k)} <code>{text(v[:12])}</code>" for k, v in whole.digests.items())),
        ("Taken over from an earlier run", f"{again} parts" if again else ""),
        ("Left to other commands", text(whole.beside.removeprefix("not asked here: "))),
        ("Beside this page", "table.txt, records.jsonl, summary.json, checklists, a folder per part"
         + (", card.md and the model it speaks of" if card else "")),
    ]  # fmt: skip
    return definitions(pairs)


def _foot(whole: Whole) -> str:
    return (
        f'<p class="soft">{text(INTENDED_USE)} Measured on {text(whole.data)} and on nothing else'
        f"{text(f' but {whole.other}') if whole.other else ''}. Written by tapetum {text(package_version())}.</p>"
    )
