"""Sections of a report: what stands under which heading, and of which eye.

A heading is a known word with a colon at the start of a line or sentence ("Impression: …"), a line of its own
("IMPRESSION"), or an eye ("OD: …", "Left eye - …"). A kind holds until the next heading of a kind, and so does an
eye: a new kind of section ends the eye's reign.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tapetum.core.types import Laterality
from tapetum.knowledge.laterality import combined, eye_pattern, eyes
from tapetum.knowledge.rules import ENGLISH, load, table

PREAMBLE = "preamble"

# The first word of a line, where a heading may start.
_FIRST = re.compile(r"[ \t]*(?:\d+[.)][ \t]*)?(?P<word>[^\W\d_]+)")
_LETTERS = re.compile(r"[^\W\d_]+")

_WORDS = re.compile(r"[a-z]+")
_RIGHT, _LEFT = frozenset({"right", "od", "re", "r"}), frozenset({"left", "os", "le", "l"})
_COLON = re.compile(r"[:：]")
# No heading is longer, its eyes included.
_WIDEST = 90

_SIDE = (
    r"(?:(?-i:(?:OD|RE|R)\s*(?:\+|&|/|and)\s*(?:OS|LE|L)\b)|right\s+and\s+left(?:\s+eyes?)?|right\s+eye|left\s+eye|both\s+eyes|(?:right|left)\s+(?:fundus|side|fundi)|right|left"
    r"|O\.?D\b\.?|O\.?S\b\.?|O\.?U\b\.?|(?-i:R[./]?E\b\.?|L[./]?E\b\.?|B/?E|R|L))"
)


@dataclass(frozen=True)
class Section:
    """A part of the report under one heading.

    Attributes:
        kind: findings, impression, history, indication, advice, technique, comparison; `preamble` before any heading.
        eye: the eye that the heading names or inherits. heading: its text, `""` for the preamble.
        start, end: place of the content in the text, without the heading.
    """

    kind: str
    eye: Laterality
    heading: str
    start: int
    end: int


def find_sections(text: str, language: str = ENGLISH, taken: Sequence[tuple[int, int]] = ()) -> tuple[Section, ...]:
    """The sections of a report, in order; together they hold all of it but the headings.

    Args:
        text: the report.
        language: code of its language.
        taken: places that hold no headings, in order.

    Example:
        >>> [(s.kind, s.eye.value) for s in find_sections("Findings: OD: clear. OS: drusen. Plan: review.")]
        [('findings', 'OD'), ('findings', 'OS'), ('advice', 'unknown')]
    """
    found: list[Section] = []
    kind, eye, heading, start = PREAMBLE, Laterality.UNKNOWN, "", 0

    def close(end: int) -> None:
        if text[start:end].strip(" \t\r\n.:-–"):
            found.append(Section(kind, eye, heading, start, end))

    for match in _headings(text, language):
        if taken and any(a <= match.start("all") < b for a, b in taken):
            continue
        named, side = _told(*match.group("kind", "before", "after", "eye"), language)
        close(match.start("all"))
        kind = named or kind
        eye = side if named or side is not Laterality.UNKNOWN else eye
        heading, start = match["all"].strip(" \t:：-–"), match.end()
    close(len(text))
    return tuple(found)


def _headings(text: str, language: str) -> list[re.Match[str]]:
    at_line, within = _patterns(language)
    quick = language == ENGLISH
    firsts, lasts = _edge_words() if quick else (frozenset[str](), frozenset[str]())
    every: list[re.Match[str]] = []
    if quick:
        for start in _line_starts(text):
            word = _FIRST.match(text, start)
            if word and word["word"].lower() in firsts:
                every += filter(None, (at_line.match(text, start),))
    else:
        every += at_line.finditer(text)
    taken = {match.end("all") for match in every}
    low = 0
    for colon in _COLON.finditer(text):
        high = colon.end()
        # Most colons stand behind a heading that has been found, or behind a word that ends no heading.
        if not quick or (high not in taken and _last_word(text, low, high - 1) in lasts):
            start = max(low, high - _WIDEST)
            every += within.finditer(text, _reach(text, start, high) if quick else start, high)
        low = high
    every.sort(key=lambda match: (match.start("all"), -match.end()))
    kept: list[re.Match[str]] = []
    for match in every:
        if not kept or match.start("all") >= kept[-1].end():
            kept.append(match)
    return kept


def _line_starts(text: str) -> Iterator[int]:
    yield 0
    at = text.find("\n") + 1
    while at:
        yield at
        at = text.find("\n", at) + 1


def _reach(text: str, low: int, high: int) -> int:
    """Where a heading that ends at `high` may start: no other words stand in it."""
    if not text.isascii():
        return low
    known, at = _heading_words(), high
    while at > low:
        end, at = at, max(low, text.rfind(" ", low, at - 1) + 1)
        if not known.issuperset(_LETTERS.findall(text[at:end].lower())):
            break
    return at


def _last_word(text: str, low: int, high: int) -> str:
    """The word before a colon in small letters; `""` where a mark stands there, which may close a bracket."""
    tail = text[max(low, high - 24) : high].rstrip(" \t")
    if not tail or not tail[-1].isalpha():
        return ""
    return _LETTERS.findall(tail.rpartition(" ")[2])[-1].lower()


@functools.cache
def _edge_words() -> tuple[frozenset[str], frozenset[str]]:
    """The first and the last words of English headings; `""` stands for any mark."""
    names = [name.lower().replace("-", " ").split() for name in _kinds(ENGLISH)]
    sides = {"right", "left", "both", "o", "od", "os", "ou", "re", "le", "be", "b", "r", "l"}
    ends = sides | {"eyes", "eye", "fundus", "side", "fundi", "e", "d", "s", "u", ""}
    return frozenset(sides | {name[0] for name in names}), frozenset(ends | {name[-1] for name in names})


@functools.cache
def _heading_words() -> frozenset[str]:
    """All words of English headings, also those that are written together with an eye ("findingsOD")."""
    sides = {"right", "left", "both", "eyes", "eye", "fundus", "side", "fundi", "o", "od", "os", "ou", "d", "s", "u"}
    sides |= {"re", "le", "be", "r", "l", "b", "e", "and"}
    sides |= {f"{one}and{two}" for one in ("od", "re", "r", "") for two in ("os", "le", "l", "")}
    names = {word for name in _kinds(ENGLISH) for word in _LETTERS.findall(name.lower())}
    return frozenset(sides | names | {f"{name}{side}" for name in names for side in sides})


@functools.lru_cache(maxsize=1024)
def _told(
    kind: str | None, before: str | None, after: str | None, eye: str | None, language: str
) -> tuple[str, Laterality]:
    """The kind that a heading names, `""` where it names none, and its eye."""
    named = _kinds(language).get(" ".join((kind or "").lower().split()), "")
    return named, combined([_side(side, language) for side in (before, after, eye) if side])


@functools.lru_cache(maxsize=1024)
def _side(text: str, language: str) -> Laterality:
    if language != ENGLISH:
        return combined([eye.side for eye in eyes(text, language=language)])
    named = set(_WORDS.findall(text.lower()))
    if not named.isdisjoint(_RIGHT) and not named.isdisjoint(_LEFT):
        return Laterality.BOTH
    plain = text.replace(".", "").replace("/", "").strip(" \t()").lower()
    if plain in {"r", "l"}:
        return Laterality.RIGHT if plain == "r" else Laterality.LEFT
    return combined([eye.side for eye in eyes(plain.upper() if len(plain) == 2 else plain)])


@functools.cache
def _kinds(language: str) -> dict[str, str]:
    tables = load(language).get("sections", {})
    return {
        " ".join(word.split()): kind
        for kind, names in tables.items()
        if kind not in {"unobserved", "unseen"}
        for word in names
    }


@functools.cache
def _patterns(language: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Headings at the start of a line, and headings within one."""
    kinds = sorted(_kinds(language), key=len, reverse=True)
    names = "|".join(re.escape(name).replace(r"\ ", r"\s+") for name in kinds) or "(?!)"
    side = _SIDE
    if language != ENGLISH:
        entries = [entry for name in ("OU", "OD", "OS") for entry in table("eyes", name, language)]
        side = f"(?-i:{eye_pattern(entries)})" if entries else "(?!)"
    eye = rf"(?P<eye>{side}(?:[ \t]*[(（][ \t]*{side}[ \t]*[)）])?)"
    known = rf"(?:(?P<before>{side})[ \t]*)?(?P<kind>{names})(?:[ \t]*[(（]?(?P<after>{side})[)）]?)?"
    if language == ENGLISH:
        known = known.replace(r")[ \t]*)?(?P<kind>", r")[ \t]+)?(?P<kind>")
    mark = r"[ \t]*(?:[:：]|[-–—](?=[ \t])|(?=[\r\n]|\Z))"
    within = r"(?<![^\s.,;:：。；，])(?<!\bin )(?<!\bof )(?<!\bthe )(?<!\bon )"
    return (
        re.compile(rf"^[ \t]*(?:\d+[.)][ \t]*)?(?P<all>(?:{known}|{eye}){mark})", re.IGNORECASE | re.MULTILINE),
        re.compile(rf"{within}(?P<all>(?:(?<![^.;:：。；]\s)(?<!\w){known}|{eye})[ \t]*[:：])", re.IGNORECASE),
    )
