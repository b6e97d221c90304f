"""The report parser: which findings a report states, denies or doubts, of which eye, how severe, and why it says so.

Rules only, so that every decision can be read in `Mention.why`; English. Meant for preparing training text and for weak
labels that are checked elsewhere: research and second-reader support, not a cleared device.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tapetum.core.types import Laterality
from tapetum.knowledge.laterality import Eye, breaks, combined, eye_of, eyes, opens_with_eye, part, turns
from tapetum.knowledge.mentions import Lexicon, lexicon
from tapetum.knowledge.model import Pack
from tapetum.knowledge.negation import decide, triggers
from tapetum.knowledge.phrases import Hit, Word, words
from tapetum.knowledge.rules import table
from tapetum.knowledge.sections import Section, find_sections
from tapetum.knowledge.sentences import split
from tapetum.knowledge.severity import severity_of, severity_words

_EITHER = frozenset({Laterality.BOTH, Laterality.UNKNOWN})


@dataclass(frozen=True)
class Sentence:
    """A sentence of the report.

    Attributes:
        start, end: place in the text, in characters. section: index into the report's sections.
        laterality: the eye it speaks of; both when it names both, unknown when it names none.
    """

    start: int
    end: int
    section: int
    laterality: Laterality


@dataclass(frozen=True)
class Mention:
    """A finding named in a report.

    Attributes:
        finding: id in the pack. start, end: place in the original text, in characters.
        status: present, absent, or uncertain (doubted, or said where nothing is observed, such as the history).
        laterality: the eye, both, or unknown where the report names none.
        severity: trace, mild, early, moderate, severe, advanced or `""`.
        sentence: index into the report's sentences. why: the rules that decided, in plain words.
    """

    finding: str
    start: int
    end: int
    status: Literal["present", "absent", "uncertain"]
    laterality: Laterality
    severity: str
    sentence: int
    why: str


@dataclass(frozen=True)
class ParsedReport:
    """A report taken apart; all places are offsets into `text`, which is kept unchanged."""

    text: str
    sections: tuple[Section, ...]
    sentences: tuple[Sentence, ...]
    mentions: tuple[Mention, ...]

    def present(self, laterality: Laterality | None = None) -> frozenset[str]:
        """Findings that the report states, doubted ones left out; not closed upwards (see `Pack.closure`).

        Args:
            laterality: an eye: what is said of it, of both or of no particular eye; unknown: only what is said of both
                or of no particular eye; None, both or not paired: everything.
        """
        return frozenset(
            mention.finding
            for mention in self.mentions
            if mention.status == "present" and _speaks_of(mention.laterality, laterality)
        )

    def text_for(self, laterality: Laterality | None = None) -> str:
        """The sentences that speak of an eye, of both or of no particular eye, joined by blanks; headings are left out.

        Args:
            laterality: as for `present`.
        """
        return " ".join(
            self.text[sentence.start : sentence.end]
            for sentence in self.sentences
            if _speaks_of(sentence.laterality, laterality)
        )


def parse_report(text: str, pack: Pack) -> ParsedReport:
    """Take a report apart.

    Args:
        text: the report, any length, any characters; English is understood.
        pack: the domain pack whose findings are looked for.

    Example:
        >>> from tapetum.knowledge import load_pack
        >>> report = parse_report("OD: normal. OS: moderate NPDR, no macular oedema.", load_pack("fundus"))
        >>> sorted(report.present(Laterality.LEFT)), sorted(report.present(Laterality.RIGHT))
        (['moderate_npdr'], ['normal_fundus'])
    """
    terms = lexicon(pack)
    sections = find_sections(text)
    sentences: list[Sentence] = []
    mentions: list[Mention] = []
    for index, section in enumerate(sections):
        topic, topic_why = section.eye, f"the heading {section.heading!r}"
        every = eyes(text, section.start, section.end, before=section.eye)
        for low, high in _by_eye(text, split(text, section.start, section.end), every):
            named = _within(every, low, high)
            if opens_with_eye(text, low, named) and len({eye.side for eye in named}) == 1:
                topic, topic_why = named[0].side, f"an earlier {text[named[0].start : named[0].end]!r}"
            spoken = combined([eye.side for eye in named]) if named else topic
            place = _Place(low, high, section, len(sentences), named, topic, topic_why)
            sentences.append(Sentence(low, high, index, spoken))
            mentions += _mentions(text, place, terms)
    return ParsedReport(text, sections, tuple(sentences), tuple(mentions))


@dataclass(frozen=True)
class _Place:
    """Where a sentence stands: its section, the eyes it names and the eye it inherits."""

    low: int
    high: int
    section: Section
    index: int
    named: tuple[Eye, ...]
    topic: Laterality
    topic_why: str


def _mentions(text: str, place: _Place, terms: Lexicon) -> list[Mention]:
    found = words(text, place.low, place.high)
    hits = terms.find(found)
    hits = _alone(found, place, terms, hits[0].first if hits else len(found)) + hits
    if not hits:
        return []
    cues = triggers(found, [(hit.first, hit.last) for hit in hits])
    graded = severity_words(found)
    places = frozenset(_word_at(found, at) for at in breaks(text, place.low, place.high, place.named))
    mentions: list[Mention] = []
    for number, hit in enumerate(hits):
        start, end = found[hit.first].start, found[hit.last - 1].end
        verdict = decide(found, cues, hit.first, hit.last, breaks=places)
        status, reasons = verdict.status, [verdict.why]
        if place.section.kind in table("sections", "unobserved"):
            status, reasons = "uncertain", [f"uncertain: under {place.section.heading!r}, which is no observation"]
        side = place.topic
        if place.named:
            side, why = eye_of(text, place.low, place.high, place.named, start, end)
            reasons.append(f"{side.value}: {why}")
        elif side is not Laterality.UNKNOWN:
            reasons.append(f"{side.value}: from {place.topic_why}")
        edge = max(
            hits[number - 1].last if number else 0, _word_at(found, part(text, place.low, place.high, start, end)[0])
        )
        level = severity_of(text, found, graded, hit.first, hit.last, edge)
        mentions.append(Mention(hit.value, start, end, status, side, level, place.index, "; ".join(reasons)))
    return mentions


def _alone(found: list[Word], place: _Place, terms: Lexicon, stop: int) -> list[Hit]:
    """A sentence, or its part before the first comma, that is nothing but "normal" and words for an eye."""
    comma = next((i for i, word in enumerate(found) if word.raw in {",", "，"}), len(found))
    for end in (len(found), comma):
        if end > stop:
            continue
        outside = [
            i for i in range(end) if not any(e.start < found[i].end and e.end > found[i].start for e in place.named)
        ]
        hit = terms.whole([found[i] for i in outside])
        if hit:
            return [Hit(outside[hit.first], outside[hit.last - 1] + 1, hit.value)]
    return []


def _by_eye(text: str, places: Sequence[tuple[int, int]], every: Sequence[Eye]) -> list[tuple[int, int]]:
    """Sentences that go through the eyes in turn ("OD normal, OS drusen") cut where the next eye starts."""
    cut: list[tuple[int, int]] = []
    for low, high in places:
        named, start = _within(every, low, high), low
        for end, following in turns(text, named, low) if len(named) > 1 else ():
            cut.append((start, end))
            start = following
        cut.append((start, high))
    return cut


def _within(every: Sequence[Eye], low: int, high: int) -> tuple[Eye, ...]:
    return tuple(eye for eye in every if eye.start >= low and eye.end <= high)


def _word_at(found: Sequence[Word], at: int) -> int:
    """Index of the first word that starts at a place in the text or after it."""
    return bisect.bisect_left(found, at, key=lambda word: word.start)


def _speaks_of(said: Laterality, asked: Laterality | None) -> bool:
    if asked in {None, Laterality.BOTH, Laterality.NOT_PAIRED}:
        return True
    return said is asked or said in _EITHER
