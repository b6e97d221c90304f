"""Sentences: where one statement ends, in prose, in notes without full stops and in lists of keywords."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator

from tapetum.knowledge.phrases import word_key
from tapetum.knowledge.rules import english, table

# A full stop ends a sentence unless a digit follows ("0.5"); so do ! ? followed by a blank, ; and every line break.
_END = re.compile(r"[.!?]+(?=[\s)\"'”]|$)|[。！？；;]|\.(?=[A-Z][a-z])|[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+")
_LAST_WORD = re.compile(r"([^\W\d_]+(?:\.[^\W\d_]+)*)$")
# What stands before a person's initial: a title or another initial.
_NAMED = re.compile(r"(?:\b(?:Drs?|Mr|Mrs|Ms|Prof)\.?|\b[A-Z]\.)\s*$")
_INITIAL = re.compile(r"\s*[A-Z]\.")
_COMMA = re.compile(r"[,，、]")
_LETTERS = re.compile(r"[^\W\d_]+")


def split(text: str, start: int = 0, end: int | None = None) -> list[tuple[int, int]]:
    """Places of the sentences in `text[start:end]`, without surrounding blanks.

    A comma-separated list of keywords ("cataract, drusen") has one sentence for each item.

    Args:
        text: the report.
        start: first character of the part to split.
        end: the character after it; the text's end by default.

    Returns:
        Pairs (start, end) in the original text, in order, not overlapping.

    Example:
        >>> [("Seen by Dr. Who. C/D 0.5"[a:b]) for a, b in split("Seen by Dr. Who. C/D 0.5")]
        ['Seen by Dr. Who.', 'C/D 0.5']
    """
    stop = len(text) if end is None else end
    found: list[tuple[int, int]] = []
    for low, high in _prose(text, start, stop):
        found += _keywords(text, low, high) or [(low, high)]
    return found


def sentence_at(text: str, start: int, end: int) -> tuple[int, int]:
    """The sentence that holds `text[start:end]`; a concept across several sentences joins them. Lists are not split."""
    low, high = start, end
    for a, b in _prose(text, 0, len(text)):
        if a < end and b > start:
            low, high = min(low, a), max(high, b)
    return low, high


def _prose(text: str, start: int, stop: int) -> Iterator[tuple[int, int]]:
    at = start
    for match in _END.finditer(text, start, stop):
        if match.group() == "." and not _ends(text, at, match):
            continue
        if match.group()[0] == "?" and not _question_ends(text, at, match.start(), match.end(), stop):
            continue
        yield from _trimmed(text, at, match.end())
        at = match.end()
    yield from _trimmed(text, at, stop)


def _ends(text: str, at: int, match: re.Match[str]) -> bool:
    """Whether a full stop ends the sentence: not after "Dr" (but after "DR", the disease), nor after "1."."""
    before = text[at : match.start()]
    if before.strip().isdigit():
        return False
    word = _LAST_WORD.search(before)
    if word is None:
        return True
    raw = word.group(1)
    initial = len(raw) == 1 and raw.isupper()
    if initial and (_NAMED.search(before[: word.start()]) or _INITIAL.match(text, match.end())):
        return False
    if raw.lower() in _eye_abbreviations():
        return not text[match.end() :].lstrip(" ")[:1].islower()
    return raw.lower() not in _abbreviations() or (raw.isupper() and "." not in raw) or not text[match.end() :].strip()


def _question_ends(text: str, at: int, mark: int, after: int, stop: int) -> bool:
    """Whether "?" ends a sentence: glued to the word before and followed by a capital. "? glaucoma" starts one."""
    glued = mark > at and not text[mark - 1].isspace()
    following = text[after:stop].lstrip()
    return glued and (not following or following[0].isupper())


def _trimmed(text: str, low: int, high: int) -> Iterator[tuple[int, int]]:
    while low < high and (text[low].isspace() or text[low] in "-–—•*·"):
        low += 1
    while high > low and text[high - 1].isspace():
        high -= 1
    if any(char.isalnum() for char in text[low:high]):
        yield low, high


def _keywords(text: str, low: int, high: int) -> list[tuple[int, int]]:
    """The items of a keyword list, or nothing where the sentence is prose."""
    commas = [match.start() for match in _COMMA.finditer(text, low, high)]
    if not commas:
        return []
    edges = [low, *(place + 1 for place in commas)]
    items = list(zip(edges, [*commas, high], strict=True))
    for a, b in items:
        keys = [word_key(word) for word in _LETTERS.findall(text[a:b])]
        if len(keys) > english()["sentences"]["list_words"] or _prose_words().intersection(keys):
            return []
        if "?" in text[a:b] or ":" in text[a:b]:
            return []
    return [place for a, b in items for place in _trimmed(text, a, b)]


@functools.cache
def _abbreviations() -> frozenset[str]:
    return frozenset(table("sentences", "abbreviations"))


@functools.cache
def _eye_abbreviations() -> frozenset[str]:
    return frozenset(table("sentences", "eyes"))


@functools.cache
def _prose_words() -> frozenset[str]:
    return frozenset(word_key(word) for word in table("sentences", "prose"))
