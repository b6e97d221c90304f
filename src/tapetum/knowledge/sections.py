"""Sections of a report: what stands under which heading, and of which eye.

A heading is a known word with a colon at the start of a line or sentence ("Impression: …"), a line of its own
("IMPRESSION"), or an eye ("OD: …", "Left eye - …"). A kind holds until the next heading of a kind, and so does an
eye: a new kind of section ends the eye's reign.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from tapetum.core.types import Laterality
from tapetum.knowledge.laterality import combined, eyes
from tapetum.knowledge.rules import english

PREAMBLE = "preamble"

_SIDE = (
    r"(?:right\s+eye|left\s+eye|both\s+eyes|(?:right|left)\s+(?:fundus|side|fundi)|right|left"
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


def find_sections(text: str) -> tuple[Section, ...]:
    """The sections of a report, in order; together they hold all of it but the headings.

    Example:
        >>> [(s.kind, s.eye.value) for s in find_sections("Findings: OD: clear. OS: drusen. Plan: review.")]
        [('findings', 'OD'), ('findings', 'OS'), ('advice', 'unknown')]
    """
    found: list[Section] = []
    kind, eye, heading, start = PREAMBLE, Laterality.UNKNOWN, "", 0

    def close(end: int) -> None:
        if text[start:end].strip(" \t\r\n.:-–"):
            found.append(Section(kind, eye, heading, start, end))

    for match in _headings(text):
        named = _kinds().get(" ".join((match["kind"] or "").lower().split()), "")
        side = combined([_side(text) for text in (match["before"], match["after"], match["eye"]) if text])
        close(match.start("all"))
        kind = named or kind
        eye = side if named or side is not Laterality.UNKNOWN else eye
        heading, start = match["all"].strip(" \t:：-–"), match.end()
    close(len(text))
    return tuple(found)


def _headings(text: str) -> list[re.Match[str]]:
    every = sorted(
        (match for pattern in _patterns() for match in pattern.finditer(text)),
        key=lambda match: (match.start("all"), -match.end()),
    )
    kept: list[re.Match[str]] = []
    for match in every:
        if not kept or match.start("all") >= kept[-1].end():
            kept.append(match)
    return kept


def _side(text: str) -> Laterality:
    plain = text.replace(".", "").replace("/", "").strip(" \t()").lower()
    if plain in {"r", "l"}:
        return Laterality.RIGHT if plain == "r" else Laterality.LEFT
    return combined([eye.side for eye in eyes(plain.upper() if len(plain) == 2 else plain)])


@functools.cache
def _kinds() -> dict[str, str]:
    tables = english()["sections"]
    return {" ".join(word.split()): kind for kind, names in tables.items() if kind != "unobserved" for word in names}


@functools.cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Headings at the start of a line, and headings within one."""
    names = "|".join(re.escape(name).replace(r"\ ", r"\s+") for name in sorted(_kinds(), key=len, reverse=True))
    eye = rf"(?P<eye>{_SIDE}(?:[ \t]*\([ \t]*{_SIDE}[ \t]*\))?)"
    known = rf"(?:(?P<before>{_SIDE})[ \t]+)?(?P<kind>{names})(?:[ \t]*\(?(?P<after>{_SIDE})\)?)?"
    mark = r"[ \t]*(?:[:：]|[-–—](?=[ \t])|(?=[\r\n]|\Z))"
    within = r"(?<![^\s.,;:：。；，])(?<!\bin )(?<!\bof )(?<!\bthe )(?<!\bon )"
    return (
        re.compile(rf"^[ \t]*(?:\d+[.)][ \t]*)?(?P<all>(?:{known}|{eye}){mark})", re.IGNORECASE | re.MULTILINE),
        re.compile(rf"{within}(?P<all>(?:(?<![^.;:：。；]\s)(?<!\w){known}|{eye})[ \t]*[:：])", re.IGNORECASE),
    )
