"""What has become of a finding since an earlier visit: new, worse, stable, better or resolved."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

from tapetum.knowledge.phrases import Hit, PhraseTable, Word
from tapetum.knowledge.rules import load, table

CHANGES = ("new", "worse", "stable", "better", "resolved")
_BEFORE, _AFTER = 3, 8


def change_words(found: Sequence[Word], taken: Iterable[tuple[int, int]] = (), language: str = "en") -> list[Hit]:
    """The phrases of change in a sentence, with the change as value.

    Args:
        found: the sentence's words.
        taken: places of findings, whose own words ("progressive …") say nothing of change.
        language: code of the language.
    """
    hits = _table(language).find(found)
    if not hits:
        return hits
    occupied = {i for first, last in taken for i in range(first, last)}
    return [hit for hit in hits if occupied.isdisjoint(range(hit.first, hit.last))]


def change_of(
    found: Sequence[Word], hits: Sequence[Hit], findings: Sequence[tuple[int, int]], at: int, status: str, language: str
) -> tuple[str, str]:
    """The change of one finding, and the words that say so.

    A phrase up to three words before the finding or up to eight behind it counts, where no comma and no word that ends
    a scope lies between, and where it does not stand directly before another finding. Of a denied finding nothing but
    "resolved" is told: "no new bleeding" says that there is none.

    Args:
        found: the sentence's words.
        hits: `change_words` of it.
        findings: places of its findings.
        at: which of them.
        status: present, absent or uncertain.
        language: code of the language.
    """
    first, last = findings[at]
    best: Hit | None = None
    distance = _AFTER + 1
    for hit in hits:
        before = hit.last <= first
        gap = first - hit.last if before else hit.first - last
        if gap < 0 or gap > (_BEFORE if before else _AFTER) or gap >= distance:
            continue
        between = found[hit.last : first] if before else found[last : hit.first]
        if any(word.key in _stops(language) for word in between):
            continue
        if not before and any(other == hit.last for other, _ in findings):
            continue
        best, distance = hit, gap
    if best is None or (status == "absent" and best.value != "resolved"):
        return "", ""
    said = " ".join(word.raw for word in found[best.first : best.last])
    return str(best.value), f"{best.value}: {said!r}"


@functools.cache
def _stops(language: str) -> frozenset[str]:
    marks = (*table("scope", "comma", language), ";", "；", "(", "（")
    words = ("but", "however", "while", "whereas", "which", "although")
    return frozenset((*marks, *(words if language == "en" else table("eyes", "separator", language))))


@functools.cache
def _table(language: str) -> PhraseTable[str]:
    every = load(language).get("change", {})
    phrases = ((phrase, name) for name in reversed(CHANGES) for phrase in every.get(name, ()))
    return PhraseTable(phrases, language=language)
