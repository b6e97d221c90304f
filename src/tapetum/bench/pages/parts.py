"""The page's parts: style, tables, figures, pictures. Every text that comes from outside goes through `text`."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from importlib.resources import files

from tapetum.bench.pages.examples import Case

REPORT_LENGTH = 200  # characters of a report that are shown; the whole one appears when pointed at


def text(value: object) -> str:
    """A text made harmless."""
    return escape(str(value), quote=True)


def style() -> str:
    """The page's style sheet, which travels beside this file."""
    return files("tapetum.bench.pages").joinpath("page.css").read_text(encoding="utf-8")


def document(title: str, head: str, body: str, foot: str) -> str:
    """The whole page. Its policy lets no script run and nothing load, whatever a report may hold."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{text(title)}</title><style>{style()}</style></head>\n"
        f"<body><header>{head}</header>\n<main>{body}</main>\n<footer>{foot}</footer></body></html>\n"
    )


def section(anchor: str, title: str, *parts: str) -> str:
    """A section with a heading; nothing where there is nothing to show."""
    inside = "\n".join(part for part in parts if part)
    return f'<section id="{anchor}"><h2>{text(title)}</h2>\n{inside}\n</section>' if inside else ""


def paragraph(words: str, style: str = "") -> str:
    """A paragraph of plain words."""
    return f'<p class="{style}">{text(words)}</p>' if style else f"<p>{text(words)}</p>"


def definitions(pairs: Sequence[tuple[str, str]]) -> str:
    """A list of terms; values are HTML, empty ones are left out."""
    return "<dl>" + "".join(f"<dt>{text(k)}</dt><dd>{v}</dd>" for k, v in pairs if v) + "</dl>"


def table(
    heads: Sequence[str], rows: Sequence[Sequence[str]], *, caption: str = "", totals: frozenset[int] = frozenset()
) -> str:
    """A table that scrolls inside itself on a narrow screen; cells are HTML, the first of a row names it."""
    top = "".join(f'<th scope="col">{text(h)}</th>' for h in heads)
    lines: list[str] = []
    for i, row in enumerate(rows):
        cells = "".join(f"<td>{cell}</td>" for cell in row[1:])
        kind = ' class="total"' if i in totals else ""
        lines.append(f'<tr{kind}><th scope="row">{row[0]}</th>{cells}</tr>')
    said = f"<caption>{text(caption)}</caption>" if caption else ""
    body = "\n".join(lines)
    return f'<div class="scroll"><table>{said}<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def figure(drawing: str, caption: str) -> str:
    """A drawing with its caption (HTML)."""
    return f"<figure>{drawing}<figcaption>{caption}</figcaption></figure>"


def image(jpeg: bytes, alt: str) -> str:
    """A picture inside the page."""
    data = base64.b64encode(jpeg).decode()
    return f'<img src="data:image/jpeg;base64,{data}" alt="{text(alt)}" loading="lazy">'


def report(words: str, length: int = REPORT_LENGTH) -> str:
    """The words of a report, in any language and direction; a long one is cut and shown whole when pointed at."""
    cut = words if len(words) <= length else words[: length - 1].rstrip() + "…"
    whole = f' title="{text(words)}"' if cut != words else ""
    return f'<span class="report" dir="auto"{whole}>{text(cut) or "no report"}</span>'


def case_card(case: Case, name: str, *, about: str = "") -> str:
    """A picture with what was found and said."""
    good = {"found": "good", "missed": "warn", "false alarm": "warn", "absent": "warn", "present": "good"}
    tag = f'<span class="tag {good.get(case.verdict, "soft")}">{text(case.verdict)}</span> ' if case.verdict else ""
    alt = f"{name}: {case.verdict or 'image'}, image {case.image_id[:8]}, eye {case.eye}"
    return (
        f'<figure class="case">{image(case.picture, alt)}<figcaption>{tag}{text(about)}'
        f"{report(case.report)}{identity(case)}</figcaption></figure>"
    )


def identity(case: Case) -> str:
    """Enough to find the image in the archive, and no more: no patient and no file name."""
    return f'<span class="who">image <code>{text(case.image_id[:8])}</code> · {text(case.eye)}</span>'
