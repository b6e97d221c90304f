"""Findings named in a sentence: the pack's terms, longest first, in whatever spelling the report uses."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from tapetum.knowledge.model import Pack
from tapetum.knowledge.phrases import Hit, PhraseTable, Word

_SHORT = 2
_FILLERS = frozenset({"in", "of", "the", "for", "on", "fundus", "entirely", "completely"})
_TITLES = frozenset({"by", "signed", "attending", "physician", "consultant", "surgeon", "prof"})


class Lexicon:
    """The English terms of a pack, ready to be found.

    Names, English synonyms, abbreviations and variants count; other languages wait for their own rules of negation.

    Args:
        pack: the domain pack.
    """

    def __init__(self, pack: Pack) -> None:
        phrases: list[tuple[str, str]] = [(phrase, "") for phrase in pack.ignore]
        capitals: set[str] = set()
        alone: list[tuple[str, str]] = []
        for finding in pack.findings.values():
            if finding.level in {"modality", "group"}:
                continue
            capitals.update(short for short in finding.abbreviations if len(short) <= _SHORT)
            terms = (finding.name, *finding.synonyms.get("en", ()), *finding.abbreviations, *finding.variants)
            phrases += [(term, finding.id) for term in terms]
            alone += [(term, finding.id) for term in finding.alone]
        self._capitals = frozenset(capitals)
        self._named = PhraseTable(phrases, gaps=True, capitals=self._capitals, typos=True)
        self._alone = PhraseTable(alone)

    def find(self, found: Sequence[Word]) -> list[Hit]:
        """The findings in the words of a sentence, from left to right; phrases that state nothing are left out."""
        return [hit for hit in self._named.find(found) if hit.value and not self._is_title(found, hit)]

    def whole(self, found: Sequence[Word]) -> Hit | None:
        """The finding that a clause names only when it is nothing else ("normal"), the words for an eye left out."""
        marks = [i for i, word in enumerate(found) if word.raw[0].isalnum() and word.key not in _FILLERS]
        if not marks:
            return None
        hits = self._alone.find([found[i] for i in marks])
        if len(hits) != 1 or hits[0].first != 0 or hits[0].last != len(marks):
            return None
        return Hit(marks[0], marks[-1] + 1, hits[0].value)

    def _is_title(self, found: Sequence[Word], hit: Hit) -> bool:
        """Whether "DR" is a title in capitals ("signed by DR Smith") and not the disease."""
        one = hit.last == hit.first + 1 and found[hit.first].raw == "DR"
        return one and hit.first > 0 and found[hit.first - 1].key in _TITLES


@functools.lru_cache(maxsize=8)
def lexicon(pack: Pack) -> Lexicon:
    """The lexicon of a pack, built once."""
    return Lexicon(pack)
