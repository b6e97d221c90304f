"""How severe a finding is said to be: the word beside it, brought to one of six."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from tapetum.knowledge.laterality import part, parted
from tapetum.knowledge.phrases import Hit, PhraseTable, Word, word_at
from tapetum.knowledge.rules import load, number, table

_REACH = 3
_MARKS = frozenset({",", "，", ":", ";", "?"})


def severity_words(found: Sequence[Word], language: str = "en") -> list[Hit]:
    """The severity words of a sentence, with the severity they stand for as value."""
    return _table(language).find(found)


def severity_of(
    text: str,
    found: Sequence[Word],
    hits: Sequence[Hit],
    first: int,
    last: int,
    least: int,
    language: str = "en",
) -> str:
    """How severe the finding is said to be: trace, mild, early, moderate, severe, advanced or `""`.

    A word inside it counts first ("moderate NPDR"), then one up to three words before it, then one linked behind it; in
    languages where the adjective follows its noun, first the one directly behind it.

    Args:
        text: the report.
        found: the sentence's words.
        hits: `severity_words` of it.
        first: the finding's first word.
        last: the word after it.
        least: no word before this one is looked at (where the finding before ends), nor one of an earlier part of
            the sentence.
        language: code of the language.
    """
    inside = [hit.value for hit in hits if hit.first >= first and hit.last <= last]
    if inside:
        return str(inside[0])
    follows = number("scope", "severity_follows", language)
    if follows:
        behind = [hit for hit in hits if hit.first == last]
        if behind:
            return str(behind[0].value)
    before = [hit for hit in hits if hit.last <= first and first - hit.last < _REACH]
    if before and follows:
        edge = part(text, 0, len(text), found[first].start, found[last - 1].end, language)[0]
        low = max(least, word_at(found, edge))
        low += any(hit.first == low for hit in hits)
        before = [hit for hit in before if hit.first >= low]
    if before and (follows or before[-1].first >= least):
        nearest = before[-1]
        between = [word[2] for word in found[nearest.last : first]]
        if _MARKS.isdisjoint(between) and (
            follows or not parted(text, found[nearest.first].start, found[first].start, language)
        ):
            return str(nearest.value)
    for hit in hits:
        if hit.first >= last:
            link = text[found[last - 1].end : found[hit.first].start]
            ends = hit.last == len(found) or not found[hit.last].raw[0].isalpha()
            linked = ends or ("," not in link and bool(_copula(language).search(link)))
            return str(hit.value) if linked and _link(language).fullmatch(link) else ""
    return ""


# A severity behind the finding is its own where a verb or a colon links it, or where no noun comes after it:
# "cataract: mild", "cataract is moderate", "cataract, mild." but not "cataract, mild haemorrhages".
@functools.cache
def _link(language: str) -> re.Pattern[str]:
    verbs = "|".join(re.escape(word) for word in (*table("scope", "copula", language), *table("scope", "of", language)))
    return re.compile(rf"[\s:：(（\-–,，]*(?:{verbs})?\s*", re.IGNORECASE)


@functools.cache
def _copula(language: str) -> re.Pattern[str]:
    verbs = "|".join(re.escape(word) for word in table("scope", "copula", language))
    return re.compile(rf"(?<![a-z])(?:{verbs or '(?!)'})(?![a-z])", re.IGNORECASE)


@functools.cache
def _table(language: str) -> PhraseTable[str]:
    every = load(language).get("severity", {}).items()
    return PhraseTable(((word, name) for name, forms in every for word in forms), language=language)
