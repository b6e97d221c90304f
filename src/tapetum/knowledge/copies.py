"""Sentences carried from one visit's report into the next, which say nothing of the new image."""

from __future__ import annotations

from collections.abc import Sequence

from tapetum.knowledge.inferable import template_key
from tapetum.knowledge.phrases import one_slip, words
from tapetum.knowledge.report import sentence_places
from tapetum.knowledge.rules import recognise

_WORDS = 4
_SLIP = 6


def copied_forward(reports: Sequence[str], *, language: str = "") -> tuple[tuple[bool, ...], ...]:
    """Which sentences of a patient's reports stand already in the report before.

    Repeated word for word, capitals, marks and articles aside, or with one letter mistyped in one word. A changed
    number or word is a new statement. Sentences of fewer than four words are too short to tell.

    Args:
        reports: of one patient, earliest visit first.
        language: code of their language, `""` to have it recognised report by report.

    Returns:
        For each report one value for each of `ParsedReport.sentences`; nothing in the first is copied.

    Example:
        >>> copied_forward(["Soft drusen in both eyes. Clear.", "Soft drusen in both eyes. New bleeding. Clear."])
        ((False, False), (True, False, False))
    """
    found: list[tuple[bool, ...]] = []
    earlier: set[tuple[str, ...]] = set()
    for text in reports:
        spoken = language or recognise(text)
        keys = [template_key(words(text, a, b, spoken)) for a, b in sentence_places(text, language=spoken)]
        found.append(tuple(len(key) >= _WORDS and _stands(key, earlier) for key in keys))
        earlier = set(keys)
    return tuple(found)


def _stands(key: tuple[str, ...], earlier: set[tuple[str, ...]]) -> bool:
    return key in earlier or any(len(old) == len(key) and _mistyped(key, old) for old in earlier)


def _mistyped(key: tuple[str, ...], old: tuple[str, ...]) -> bool:
    apart = [(a, b) for a, b in zip(key, old, strict=True) if a != b]
    if len(apart) != 1:
        return False
    a, b = apart[0]
    return a.isalpha() and b.isalpha() and min(len(a), len(b)) >= _SLIP and one_slip(a, b)
