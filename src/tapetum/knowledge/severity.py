"""How severe a finding is said to be: the word beside it, brought to one of six."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from tapetum.knowledge.phrases import Hit, PhraseTable, Word
from tapetum.knowledge.rules import english

# "cataract: mild", "cataract is moderate", "cataract, mild." but not "cataract, mild haemorrhages".
_LINK = re.compile(r"[\s:(\-–,]*(?:is|are|was|were|appears?|of)?\s*", re.IGNORECASE)
_REACH = 3


def severity_words(found: Sequence[Word]) -> list[Hit]:
    """The severity words of a sentence, with the severity they stand for as value."""
    return _table().find(found)


def severity_of(text: str, found: Sequence[Word], hits: Sequence[Hit], first: int, last: int, edge: int) -> str:
    """How severe the finding is said to be: trace, mild, early, moderate, severe, advanced or `""`.

    A word inside it counts first ("moderate NPDR"), then one up to three words before it, then one linked behind it.

    Args:
        text: the report.
        found: the sentence's words.
        hits: `severity_words` of it.
        first: the finding's first word.
        last: the word after it.
        edge: no word before this one is looked at (where the part of the sentence, or the finding before, ends).
    """
    inside = [hit.value for hit in hits if hit.first >= first and hit.last <= last]
    if inside:
        return str(inside[0])
    before = [hit for hit in hits if edge <= hit.first and hit.last <= first and first - hit.last < _REACH]
    if before and not any(found[i].raw in {",", "，", ":", ";", "?"} for i in range(before[-1].last, first)):
        return str(before[-1].value)
    for hit in hits:
        if hit.first >= last:
            link = text[found[last - 1].end : found[hit.first].start]
            ends = hit.last == len(found) or not found[hit.last].raw[0].isalpha()
            return str(hit.value) if _LINK.fullmatch(link) and (ends or "," not in link) and _closes(link, ends) else ""
    return ""


def _closes(link: str, ends: bool) -> bool:
    """Whether a severity behind the finding is its own: linked by verb or colon, or with no noun after it."""
    return ends or bool(re.search(r"\b(?:is|are|was|were|appears?)\b", link, re.IGNORECASE))


@functools.cache
def _table() -> PhraseTable[str]:
    return PhraseTable((word, name) for name, forms in english()["severity"].items() for word in forms)
