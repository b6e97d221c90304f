"""Findings named in a sentence: the pack's terms, longest first, in whatever spelling the report uses."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from tapetum.knowledge.approximate import Approximate
from tapetum.knowledge.described import Described
from tapetum.knowledge.model import Finding, Pack
from tapetum.knowledge.phrases import Hit, PhraseTable, Word
from tapetum.knowledge.rules import table
from tapetum.knowledge.synonyms import described, expanded, said_alone, shorthand

_SHORT = 2
_SHELVES = frozenset({"modality", "group"})
_FILLERS = frozenset({"in", "of", "the", "for", "on", "fundus", "entirely", "completely"})
_TITLES = frozenset({"by", "signed", "attending", "physician", "consultant", "surgeon", "prof"})


class Lexicon:
    """The terms of a pack in one language, ready to be found.

    English names, synonyms, abbreviations and variants always count, since reports in any language use them; a
    language's own words come first where one spelling has two meanings.

    Args:
        pack: the domain pack.
        language: code of the language.
    """

    def __init__(self, pack: Pack, language: str = "en") -> None:
        phrases: list[tuple[str, str]] = [(phrase, "") for phrase in pack.ignore]
        capitals: set[str] = set()
        own = [(term, f.id) for f in pack.findings.values() if f.level not in _SHELVES for term in _own(f, language)]
        capitals.update(term for term, _ in own if len(term) <= _SHORT and term.isascii() and term.isupper())
        phrases += own
        alone: list[tuple[str, str]] = []
        loose: list[tuple[str, str]] = []
        for finding in pack.findings.values():
            if finding.level in _SHELVES:
                continue
            capitals.update(short for short in finding.abbreviations if len(short) <= _SHORT)
            terms = (finding.name, *finding.synonyms.get("en", ()), *finding.abbreviations, *finding.variants)
            if pack.loose:
                terms += tuple(shorthand(finding.name))
            phrases += [(term, finding.id) for term in terms]
            loose += [(term, finding.id) for term in terms if term not in finding.abbreviations]
            alone += [(term, finding.id) for term in finding.alone]
        made: list[tuple[str, str]] = []
        if pack.loose and language == "en":
            phrases += expanded([(term, name) for term, name in phrases if not term.isupper()])
            made = expanded(loose, both=False)
        self._capitals = frozenset(capitals)
        fillers = table("findings", "fillers", language)
        self._named = PhraseTable(
            phrases, gaps=True, capitals=self._capitals, typos=True, language=language, fillers=fillers
        )
        if pack.loose:
            alone += [(term, f.id) for f in pack.findings.values() for term in said_alone(f.name)]
        self._alone = PhraseTable(alone, language=language)
        loosely = language == "en" and pack.loose
        self._loose = Approximate(loose, made=made) if loosely else None
        named = [f for f in pack.findings.values() if f.level not in _SHELVES] if loosely else []
        self._described = Described((pattern, f.id) for f in named for pattern in described(f.name))

    def find(self, found: Sequence[Word]) -> list[Hit]:
        """The findings in the words of a sentence, from left to right; phrases that state nothing are left out."""
        hits = [hit for hit in self._named.find(found) if not self._is_title(found, hit)]
        if self._loose is not None:
            hits = self._loose.merge(found, _with_described(hits, self._described.find(found)))
        return [hit for hit in hits if hit.value]

    def opens_whole(self, found: Sequence[Word]) -> bool:
        """Whether any of these words may start what `whole` finds."""
        return self._alone.opens(found)

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


def _with_described(named: list[Hit], described: list[Hit]) -> list[Hit]:
    """Both, where a description takes the place of shorter names inside it and gives way to any other."""
    for hit in described:
        touched = [one for one in named if one.first < hit.last and one.last > hit.first]
        if all(
            hit.first <= one.first and one.last <= hit.last and one.last - one.first < hit.last - hit.first
            for one in touched
        ):
            named = [one for one in named if one not in touched]
            named.append(hit)
    return sorted(named) if described else named


def _own(finding: Finding, language: str) -> tuple[str, ...]:
    return finding.synonyms.get(language, ()) if language != "en" else ()


@functools.lru_cache(maxsize=16)
def lexicon(pack: Pack, language: str = "en") -> Lexicon:
    """The lexicon of a pack in one language, built once."""
    return Lexicon(pack, language)
