"""Which sentences a reader of the image alone could have written, and which are templates.

An aligner that is taught the history, the advice or the acuity learns to guess at them. What cannot be seen in the
image is marked here with its reason; leaving it out is the caller's choice.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tapetum.knowledge.phrases import PhraseTable, Word, words
from tapetum.knowledge.rules import load, table

KINDS = (
    "history",
    "advice",
    "symptoms",
    "acuity",
    "pressure",
    "comparison",
    "technique",
    "medication",
    "administration",
)
_ARTICLES = frozenset({"the", "a", "an", "el", "la", "los", "las", "un", "una"})
# In words: no template sentence is longer.
_TEMPLATE = 24
# So many words of a sentence tell most sentences from templates.
_OPENING = 3
_DIGIT = re.compile(r"\d")


class Named(NamedTuple):
    """A finding of the sentence: its words, its name, and whether an image of this kind can show it."""

    first: int
    last: int
    name: str
    visible: bool


def visibility(text: str, found: Sequence[Word], named: Sequence[Named], language: str = "en") -> tuple[bool, str]:
    """Whether the image can show what a sentence says, and why.

    A phrase of history, advice, symptoms, acuity, pressure, technique, medication or signature makes it unseen, unless
    a finding that can be seen stands before the phrase; a comparison with an earlier visit only where no such finding
    is named at all.

    Args:
        text: the sentence.
        found: its words.
        named: its findings, in order.
        language: code of the language.

    Returns:
        Visible or not, and the reason in plain words.
    """
    cues = _table(language).find(found)
    if cues:
        taken = {i for one in named for i in range(one.first, one.last)}
        cues = [hit for hit in cues if taken.isdisjoint(range(hit.first, hit.last))]
    seen = [one for one in named if one.visible]
    for cue in cues:
        said = " ".join(word.raw for word in found[cue.first : cue.last])
        before = [one for one in seen if cue.value == "comparison" or one.last <= cue.first]
        if not before:
            return False, f"not visible, {cue.value}: {said!r}"
    if not seen:
        measured = _measurement(language).search(text) if _DIGIT.search(text) else None
        if measured:
            return False, f"not visible, measurement: {measured.group()!r}"
        if named:
            return False, f"not visible: {named[0].name} leaves no mark in the image"
    if cues:
        return True, f"visible: a finding is named beside the {cues[0].value}"
    return True, "visible: no word of history, advice, symptoms, measurement, comparison, technique or medication"


def template_key(found: Sequence[Word]) -> tuple[str, ...]:
    """What two sentences of one template share: their words without marks and articles."""
    return tuple([key for _, _, raw, key in found if key not in _ARTICLES and raw[0].isalnum()])


@functools.lru_cache(maxsize=64)
def templates(extra: tuple[str, ...], language: str = "en") -> frozenset[tuple[str, ...]]:
    """The keys of known template sentences.

    Args:
        extra: sentences of the pack, besides those of the language.
        language: code of the language.
    """
    every: Iterable[str] = (*table("boilerplate", "phrases", language), *extra)
    return frozenset(template_key(words(phrase, language=language)) for phrase in every)


def is_template(found: Sequence[Word], extra: tuple[str, ...], language: str = "en") -> bool:
    """Whether a sentence is a known template; arguments as for `templates`."""
    if len(found) > _TEMPLATE:
        return False
    return template_key(found[:_OPENING]) in _openings(extra, language) and (
        template_key(found) in templates(extra, language)
    )


@functools.lru_cache(maxsize=64)
def _openings(extra: tuple[str, ...], language: str) -> frozenset[tuple[str, ...]]:
    """Everything that the first words of a template may leave, with marks and articles among them or not."""
    return frozenset(key[:n] for key in templates(extra, language) for n in range(_OPENING + 1))


@functools.cache
def _table(language: str) -> PhraseTable[str]:
    every = load(language).get("unseen", {})
    return PhraseTable(((phrase, kind) for kind in KINDS for phrase in every.get(kind, ())), language=language)


@functools.cache
def _measurement(language: str) -> re.Pattern[str]:
    return re.compile("|".join(table("unseen", "patterns", language)) or r"(?!)", re.IGNORECASE)
