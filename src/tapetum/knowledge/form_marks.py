"""The marks of forms: how they name the eyes, part their rows, and with what words rows and heads of tables end.

Short names of the eyes ("R", "L") count here and nowhere else, since a row is understood whole or not at all.
"""

from __future__ import annotations

import functools
import re

from tapetum.core.types import Laterality
from tapetum.knowledge.phrases import REMEMBERED, words
from tapetum.knowledge.rules import load, table

# Last words of the names of eyes.
_NAMES = (
    *("right", "left", "eye", "eyes", "od", "os", "ou", "o.d", "o.s", "o.u", "r", "l", "re", "le", "be", "r/e", "l/e"),
    *("b/e", "rt", "lt", "bilateral", "bilaterally"),
)
# A head of a table is no longer, in words and in characters.
_HEAD, WIDEST = 14, 80
_SIDES = (
    (Laterality.BOTH, r"both(?:\s+eyes)?|each\s+eye|either\s+eye|bilateral(?:ly)?|[Oo]\.?[Uu]\b\.?|B/?E"),
    (Laterality.RIGHT, r"[Rr]ight(?:\s+eye)?|RIGHT(?:\s+EYE)?|O\.?D\b\.?|od|R[./]?E\b\.?|Rt\b\.?|R"),
    (Laterality.LEFT, r"[Ll]eft(?:\s+eye)?|LEFT(?:\s+EYE)?|O\.?S\b\.?|os|L[./]?E\b\.?|Lt\b\.?|L"),
)
EYE = re.compile(
    r"(?<!\w)(?<!\w\.)(?:(?:in|for|of|on|at|the)\s+)*(?:"
    + "|".join(f"({names})" for _, names in _SIDES)
    + r")(?![\w'’]|\s+of\b)"
)
EDGES = " \t:=：|(),;./…"
# One set of characters comes first, so that the search skips all others fast.
_UNIT = re.compile(r"[;；.,](?:(?<=[;；])|(?<=\.)(?=[\s|]|$)|(?<=,)(?=[^,:;.]{3,40}:))")


def blanked(text: str) -> str:
    """The text with blanks in place of its eyes."""
    return EYE.sub(lambda eye: " " * len(eye.group()), text)


def side_of(eye: re.Match[str]) -> Laterality:
    """The eye of a match of `EYE`."""
    return _SIDES[(eye.lastindex or 1) - 1][0]


def units_of(text: str, low: int, high: int, reach: int) -> list[tuple[int, int]]:
    """The parts of a line, at semicolons, full stops and commas before a new label.

    A row starts before `reach` and takes in two more parts at most; those behind are left out.
    """
    found: list[tuple[int, int]] = []
    at, behind = low, 0
    for mark in _UNIT.finditer(text, low, high):
        end, following = mark.span()
        start = end - len(text[at:end].lstrip())
        if start >= reach:
            behind += 1
            if behind > 2:
                return found
        found.append((start, end))
        at = following
    rest = text[at:high].lstrip()
    if rest:
        found.append((high - len(rest), high))
    return found


def head_of(line: str, language: str) -> tuple[Laterality, ...]:
    """The eyes in the order in which a line, which is nothing else, names them."""
    eyes = list(EYE.finditer(line))
    sides = tuple(side_of(eye) for eye in eyes)
    if not 2 <= len(sides) <= 3 or len(set(sides)) < len(sides):
        return ()
    known = form_keys("heads", language)
    rest = words(EYE.sub(" ", line), language=language)
    if len(rest) > _HEAD or any(word.raw[0].isalnum() and word.key not in known for word in rest):
        return ()
    return sides


@functools.cache
def endings(language: str) -> frozenset[str]:
    """The words with which a row or the head of a table may end."""
    names = ("yes", "no", "unsure", "open", "beside", "heads")
    phrases = [phrase for name in names for phrase in table("forms", name, language)]
    phrases += [phrase for forms in load(language).get("severity", {}).values() for phrase in forms]
    plain = {phrase.casefold().rpartition(" ")[2] for phrase in phrases}
    return frozenset({*plain, *(f"{word}s" for word in plain), *_NAMES})


@functools.cache
def form_keys(name: str, language: str) -> frozenset[str]:
    """The keys of the words of one list of the table `forms`."""
    return frozenset(word.key for phrase in table("forms", name, language) for word in words(phrase, language=language))


class Closing(dict[str, bool]):
    """The end of a unit → whether its last word may close a row or a head; forgets everything when it is full."""

    def __init__(self, language: str) -> None:
        super().__init__()
        self._ends = endings(language)

    def __missing__(self, end: str) -> bool:
        if len(self) >= REMEMBERED:
            self.clear()
        word = end.rstrip(EDGES + "]").rpartition(" ")[2].strip("()[]:=,").casefold()
        known = word in self._ends or word.rpartition("/")[2] in self._ends
        closes = self[end] = known or not word[-1:].isalpha() or "\t" in word or word[-1:] in "+-"
        return closes


@functools.cache
def closing(language: str) -> Closing:
    """How units end in a language."""
    return Closing(language)
