"""The reference page of a domain pack, written from the pack itself."""

from __future__ import annotations

from collections.abc import Iterator

from tapetum.knowledge.model import Finding, Pack


def pack_page(pack: Pack) -> str:
    """The pack as a Markdown page: the tree, then every finding with its words, descriptions and sources.

    Args:
        pack: the domain pack. `docs/reference/fundus-pack.md` is this text for `load_pack("fundus")`, and a test
            compares the two.
    """
    lines = [*_opening(pack), "## The tree", "", *_tree(pack, pack.modality, 0), "", "## Findings", ""]
    sources = sorted({source for finding in pack.findings.values() for source in finding.sources})
    number = {source: index for index, source in enumerate(sources, start=1)}
    for finding in pack.findings.values():
        lines += _entry(finding, number)
    lines += ["## Sources", "", *(f"{index}. {source}" for source, index in number.items()), ""]
    return "\n".join(lines)


def _opening(pack: Pack) -> list[str]:
    levels = [finding.level for finding in pack.findings.values()]
    numbers = ", ".join(f"{levels.count(level)} {level}s" for level in ("group", "disease", "grade", "sign"))
    return [
        f"# The {pack.name} pack",
        "",
        f"Written by `tapetum.knowledge.page.pack_page`; edit `src/tapetum/knowledge/packs/{pack.name}.toml` instead.",
        "Research and second-reader support, not a cleared device.",
        "",
        f"{len(pack.findings)} nodes: {numbers}; above them the modality and its statuses. *Disease* holds conditions",
        "and anomalies too.",
        "",
        "**Closure.** Whoever has a finding has everything above it: `pack.closure` adds every ancestor, and the",
        "labels of an archive are closed in this way. A node therefore hangs below another only where it implies it.",
        "A sign that several diseases share hangs below a group of signs, and a suspect is not below the disease.",
        "",
        "**Words.** The report parser knows the English names, synonyms, abbreviations and variants, and in Spanish",
        "and Chinese reports their synonyms too. Abbreviations of two letters count in capitals only. Where a phrase",
        'has "…", filler words may stand. Words under *alone* name the finding only where they are the whole clause.',
        "",
        "**Notes.** " + pack.notes if pack.notes else "",
        "",
    ]


def _tree(pack: Pack, at: str, depth: int) -> Iterator[str]:
    finding = pack.findings[at]
    yield f"{'  ' * depth}- {finding.name} `{finding.id}` ({finding.level}{'' if finding.visible else ', not visible'})"
    for child in pack.children(at):
        yield from _tree(pack, child, depth + 1)


def _entry(finding: Finding, number: dict[str, int]) -> list[str]:
    lines = [
        f"### {finding.name}",
        "",
        f"`{finding.id}`, {finding.level}" + (f", below `{finding.parent}`" if finding.parent else ""),
    ]
    rows = [(f"synonyms ({code})", terms) for code, terms in finding.synonyms.items()]
    rows += [("abbreviations", finding.abbreviations), ("variants", finding.variants), ("alone", finding.alone)]
    lines += (
        ["", *(f"- {title}: {'; '.join(terms)}" for title, terms in rows if terms)] if any(t for _, t in rows) else []
    )
    if finding.descriptions:
        lines += ["", *(f"> {description}  " for description in finding.descriptions)]
        lines += ["", f"Sources: {', '.join(f'[{number[source]}]' for source in finding.sources)}"]
    return [*lines, ""]
