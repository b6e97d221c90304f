"""One sentence on its own: its findings with polarity, eye, severity and change, and whether the image can show it.

Everything here depends on the words of the sentence alone and not on its section or neighbours; so the sentences that
reports repeat are understood once and remembered.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

from tapetum.core.types import Laterality
from tapetum.knowledge.approximate import defined_hits
from tapetum.knowledge.change import change_of, change_words
from tapetum.knowledge.inferable import Named, is_template, visibility
from tapetum.knowledge.laterality import Eye, breaks, eye_of
from tapetum.knowledge.mentions import Lexicon, lexicon
from tapetum.knowledge.model import Pack
from tapetum.knowledge.negation import Status, Verdict, decide, triggers
from tapetum.knowledge.phrases import Hit, Word, word_at, words
from tapetum.knowledge.severity import severity_of, severity_words

# In words: no clause that is nothing but "normal" and words for an eye is longer.
_CLAUSE = 14
_COMMAS = frozenset({",", "，"})


class Said(NamedTuple):
    """A finding in the sentence, at characters `start:end` of it; `side` is None where it names no eye."""

    finding: str
    start: int
    end: int
    status: Status
    side: Laterality | None
    severity: str
    change: str
    why: str
    side_why: str
    change_why: str


@dataclass(frozen=True)
class Statement:
    """What a sentence says.

    Attributes:
        said: its findings, in order. visible: whether an image can show it. why: the reason for that.
        boilerplate: whether it is a template sentence.
    """

    said: tuple[Said, ...]
    visible: bool
    why: str
    boilerplate: bool


@functools.lru_cache(maxsize=16384)
def understand(
    text: str, eyes: tuple[Eye, ...], pack: Pack, language: str, defined: tuple[tuple[str, str], ...] = ()
) -> Statement:
    """What one sentence says.

    Args:
        text: the sentence.
        eyes: the eyes it names, with places in it.
        pack: the domain pack.
        language: code of the language.
        defined: abbreviations of the report's own, each with its finding.
    """
    terms = lexicon(pack, language)
    found = words(text, language=language)
    hits = terms.find(found)
    if defined:
        hits = defined_hits(found, hits, dict(defined))
    hits = _alone(text, found, eyes, terms, hits[0].first if hits else len(found)) + hits
    known = pack.findings
    named = [Named(first, last, known[name].name, known[name].visible) for first, last, name in hits]
    visible, why = visibility(text, found, named, language)
    boilerplate = is_template(found, pack.boilerplate, language)
    said = _said(text, found, hits, eyes, language) if hits else ()
    return Statement(said, visible, why, boilerplate)


def _said(text: str, found: list[Word], hits: list[Hit], eyes: tuple[Eye, ...], language: str) -> tuple[Said, ...]:
    places = [(hit.first, hit.last) for hit in hits]
    cues = triggers(found, places, language=language)
    graded = severity_words(found, language)
    changes = change_words(found, places, language)
    ends = frozenset[int]()
    if len(eyes) > 1:
        ends = frozenset(word_at(found, at) for at in breaks(text, 0, len(text), eyes, language))
    said: list[Said] = []
    for number, hit in enumerate(hits):
        start, end = found[hit.first].start, found[hit.last - 1].end
        verdict = decide(found, cues, hit.first, hit.last, breaks=ends, language=language)
        side, side_why = None, ""
        if eyes:
            side, side_why = eye_of(text, 0, len(text), eyes, start, end, language)
        level = ""
        if graded:
            least = hits[number - 1].last if number else 0
            level = severity_of(text, found, graded, hit.first, hit.last, least, language)
        change, change_why = "", ""
        if changes:
            change, change_why = change_of(found, changes, places, number, verdict.status, language)
        if change == "resolved" and verdict.status == "present":
            verdict = Verdict("absent", "absent: resolved since the earlier visit")
        said.append(Said(hit.value, start, end, verdict.status, side, level, change, verdict.why, side_why, change_why))
    return tuple(said)


def _alone(text: str, found: list[Word], eyes: tuple[Eye, ...], terms: Lexicon, stop: int) -> list[Hit]:
    """A sentence, or its part before the first comma, that is nothing but "normal" and words for an eye."""
    if not terms.opens_whole(found) or (len(found) > _CLAUSE and "," not in text and "，" not in text):
        return []
    if stop < len(found) and _COMMAS.isdisjoint([word[2] for word in found[: stop + 1]]):
        return []
    comma = next((i for i, word in enumerate(found) if word[2] in _COMMAS), len(found))
    for end in dict.fromkeys((len(found), comma)):
        if end > stop or end > _CLAUSE:
            continue
        outside = [i for i in range(end) if not any(e.start < found[i].end and e.end > found[i].start for e in eyes)]
        hit = terms.whole([found[i] for i in outside])
        if hit:
            return [Hit(outside[hit.first], outside[hit.last - 1] + 1, hit.value)]
    return []
