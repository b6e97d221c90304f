"""The report parser: which findings a report states, denies or doubts, of which eye, how severe, and why it says so.

Rules only, so that every decision can be read in `Mention.why`; the languages are those of `rules`. Meant for preparing
training text and for weak labels that are checked elsewhere: research and second-reader support, not a cleared device.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from tapetum.core.types import Laterality
from tapetum.knowledge.approximate import definitions
from tapetum.knowledge.forms import Row, form_rows
from tapetum.knowledge.laterality import Eye, combined, eyes, opens_with_eye, turns
from tapetum.knowledge.mentions import lexicon
from tapetum.knowledge.model import Pack
from tapetum.knowledge.rules import recognise, table
from tapetum.knowledge.sections import Section, find_sections
from tapetum.knowledge.sentences import split
from tapetum.knowledge.statement import Said, understand

_EITHER = frozenset({Laterality.BOTH, Laterality.UNKNOWN, Laterality.NOT_PAIRED})
_COMMAS = ",，、"
# A sentence's place and the eyes it names.
_Place = tuple[int, int, tuple[Eye, ...]]
# Past the named constructors, which cost a call for each sentence and finding.
_new = tuple.__new__


class Sentence(NamedTuple):
    """A sentence of the report.

    Attributes:
        start, end: place in the text, in characters. section: index into the report's sections.
        laterality: the eye it speaks of; both when it names both, unknown when it names none.
        visible: whether the image can show it. boilerplate: whether it is a template. why: the reason, in plain words.
    """

    start: int
    end: int
    section: int
    laterality: Laterality
    visible: bool = True
    boilerplate: bool = False
    why: str = ""


class Mention(NamedTuple):
    """A finding named in a report.

    Attributes:
        finding: id in the pack. start, end: place in the original text, in characters.
        status: present, absent, or uncertain (doubted, or said where nothing is observed, such as the history).
        laterality: the eye, both, or unknown where the report names none.
        severity: trace, mild, early, moderate, severe, advanced or `""`.
        sentence: index into the report's sentences. why: the rules that decided, in plain words.
        change: since an earlier visit: new, worse, stable, better, resolved or `""`.
    """

    finding: str
    start: int
    end: int
    status: Literal["present", "absent", "uncertain"]
    laterality: Laterality
    severity: str
    sentence: int
    why: str
    change: str = ""


@dataclass(frozen=True)
class ParsedReport:
    """A report taken apart; all places are offsets into `text`, which is kept unchanged.

    Attributes:
        text: as given. sections, sentences, mentions: in order. language: code of the language it was read in.
    """

    text: str
    sections: tuple[Section, ...]
    sentences: tuple[Sentence, ...]
    mentions: tuple[Mention, ...]
    language: str = "en"

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

    def text_for(self, laterality: Laterality | None = None, *, visible_only: bool = False) -> str:
        """The sentences that speak of an eye, of both or of no particular eye; headings are left out.

        What stood between two of them ("," or "and") is kept where they are neighbours, a blank joins the others.

        Args:
            laterality: as for `present`.
            visible_only: leave out what the image cannot show (`Sentence.visible`).
        """
        kept = [
            index
            for index, sentence in enumerate(self.sentences)
            if _speaks_of(sentence.laterality, laterality) and (sentence.visible or not visible_only)
        ]
        pieces: list[str] = []
        for before, index in zip([-1, *kept], kept, strict=False):
            sentence = self.sentences[index]
            if before >= 0:
                pieces.append(self._link(before, index))
            pieces.append(self.text[sentence.start : sentence.end])
        return "".join(pieces)

    def _link(self, before: int, after: int) -> str:
        """What joins two sentences: what stood between neighbours, a comma between items of one list, else a blank."""
        one, two = self.sentences[before], self.sentences[after]
        gap = self.text[self.sentences[after - 1].end : two.start]
        if one.section != two.section or any(mark in gap for mark in "\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029"):
            return " "
        mark = gap.strip()[:1]
        if before == after - 1 and (mark.isalpha() or mark in _COMMAS):
            return gap
        return f"{mark} " if mark and mark in _COMMAS else " "


def parse_report(text: str, pack: Pack, *, language: str = "") -> ParsedReport:
    """Take a report apart.

    Args:
        text: the report, any length, any characters.
        pack: the domain pack whose findings are looked for.
        language: code of its language, for example `en`; `""` to have it recognised by script and frequent words.

    Raises:
        UsageError: there are no rules for the language.

    Example:
        >>> from tapetum.knowledge import load_pack
        >>> report = parse_report("OD: normal. OS: moderate NPDR, no macular oedema.", load_pack("fundus"))
        >>> sorted(report.present(Laterality.LEFT)), sorted(report.present(Laterality.RIGHT))
        (['moderate_npdr'], ['normal_fundus'])
    """
    reader = _Reader(text, pack, language or recognise(text))
    places = [(row.start, row.end) for row in reader.rows.values()]
    sections = find_sections(text, reader.language, places)
    for index, section in enumerate(sections):
        reader.read(index, section)
    return ParsedReport(text, sections, tuple(reader.sentences), tuple(reader.mentions), reader.language)


def sentence_places(text: str, *, language: str = "") -> tuple[tuple[int, int], ...]:
    """Places of the sentences of a report, as in `ParsedReport.sentences` of a paired organ.

    Args:
        text: the report.
        language: code of its language, `""` to have it recognised.
    """
    language = language or recognise(text)
    return tuple(
        (low, high)
        for section in find_sections(text, language)
        for low, high, _ in _sentences(text, section, language, {}, paired=True)
    )


class _Reader:
    """Reads a report section by section into `sentences` and `mentions`."""

    def __init__(self, text: str, pack: Pack, language: str) -> None:
        self.text, self.pack, self.language = text, pack, language
        self.rows = {row.start: row for row in form_rows(text, pack, language)}
        self.defined = definitions(text, lexicon(pack, language).find) if "(" in text else ()
        self.sentences: list[Sentence] = []
        self.mentions: list[Mention] = []

    def read(self, index: int, section: Section) -> None:
        """Add what a section says."""
        text, pack, language, rows, defined = self.text, self.pack, self.language, self.rows, self.defined
        sentences, mentions = self.sentences, self.mentions
        unobserved, unseen = _special(language)
        doubted = section.heading if section.kind in unobserved else ""
        unseen_why = f"not visible: under {section.heading!r}" if section.kind in unseen else ""
        topic = section.eye if pack.paired else Laterality.NOT_PAIRED
        topic_why = _from(topic, "the heading", section.heading)
        for low, high, named in _sentences(text, section, language, rows, paired=pack.paired):
            number = len(sentences)
            row = rows.get(low) if rows else None
            if row is not None and row.end == high:
                mentions += [_mention(said, low, number, topic, topic_why, doubted) for said in row.said]
                spoken = topic if row.spoken is Laterality.UNKNOWN else row.spoken
                why = unseen_why or "visible: a row of a form"
                sentences.append(Sentence(low, high, index, spoken, not unseen_why, False, why))
                continue
            inside: tuple[Eye, ...] = ()
            spoken = topic
            if named:
                sides = [eye.side for eye in named]
                spoken = combined(sides)
                if len(set(sides)) == 1 and opens_with_eye(text, low, named, language):
                    topic = sides[0]
                    topic_why = _from(topic, "an earlier", text[named[0].start : named[0].end])
                inside = tuple([Eye(eye.start - low, eye.end - low, eye.side) for eye in named])
            statement = understand(text[low:high], inside, pack, language, defined)
            for said in statement.said:
                mentions.append(_mention(said, low, number, topic, topic_why, doubted))
            why = unseen_why or statement.why
            if statement.boilerplate:
                why += "; a template sentence"
            visible = statement.visible and not unseen_why
            sentences.append(_new(Sentence, (low, high, index, spoken, visible, statement.boilerplate, why)))


@functools.cache
def _special(language: str) -> tuple[frozenset[str], frozenset[str]]:
    """The kinds of sections in which nothing is observed, and those that no image shows."""
    return frozenset(table("sections", "unobserved", language)), frozenset(table("sections", "unseen", language))


def _from(topic: Laterality, what: str, name: str) -> str:
    """Why a finding whose sentence names no eye is of this one, to be added to the reasons."""
    sided = topic is not Laterality.UNKNOWN and topic is not Laterality.NOT_PAIRED
    return f"; {topic}: from {what} {name!r}" if sided else ""


def _mention(said: Said, low: int, sentence: int, topic: Laterality, topic_why: str, doubted: str) -> Mention:
    """A finding of a sentence, in the light of its section; `doubted` is the heading where nothing is observed."""
    finding, start, end, status, side, severity, change, why, side_why, change_why = said
    if doubted:
        status, why = "uncertain", f"uncertain: under {doubted!r}, which is no observation"
    if side is None:
        side = topic
        why += topic_why
    else:
        why += f"; {side}: {side_why}"
    if change:
        why += f"; {change_why}"
    return _new(Mention, (finding, start + low, end + low, status, side, severity, sentence, why, change))


def _sentences(text: str, section: Section, language: str, rows: Mapping[int, Row], *, paired: bool) -> list[_Place]:
    """The sentences of a section with the eyes each names; those that go through the eyes in turn are cut.

    Rows of forms come out whole and name no eye here.
    """
    found: list[_Place] = []
    at = section.start
    for row in [row for row in rows.values() if section.start <= row.start < section.end] if rows else ():
        found += _prose(text, at, row.start, section.eye, language, paired=paired)
        found.append((row.start, row.end, ()))
        at = row.end
    found += _prose(text, at, section.end, section.eye, language, paired=paired)
    return found


def _prose(text: str, start: int, end: int, eye: Laterality, language: str, *, paired: bool) -> list[_Place]:
    """Sentences that go through the eyes in turn ("OD normal, OS drusen") are cut where the next eye starts."""
    places = split(text, start, end, language)
    every = eyes(text, start, end, before=eye, language=language) if paired else []
    if not every:
        return [(low, high, ()) for low, high in places]
    cut: list[_Place] = []
    for low, high in places:
        named = _within(every, low, high)
        edges = turns(text, named, low, language) if len(named) > 1 else ()
        if not edges:
            cut.append((low, high, named))
            continue
        starts, stops = [low, *(start for _, start in edges)], [*(stop for stop, _ in edges), high]
        cut += [(a, b, _within(every, a, b)) for a, b in zip(starts, stops, strict=True)]
    return cut


def _within(every: Sequence[Eye], low: int, high: int) -> tuple[Eye, ...]:
    return tuple([eye for eye in every if eye[0] >= low and eye[1] <= high])


def _speaks_of(said: Laterality, asked: Laterality | None) -> bool:
    if asked in {None, Laterality.BOTH, Laterality.NOT_PAIRED}:
        return True
    return said is asked or said in _EITHER
