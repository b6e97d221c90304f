"""Sentences: where one statement ends, in prose, in notes without full stops and in lists of keywords."""

from __future__ import annotations

import functools
import re

from tapetum.knowledge.phrases import REMEMBERED, word_key
from tapetum.knowledge.rules import number, table

# A full stop ends a sentence unless a digit follows ("0.5"); so do ! ? followed by a blank, ; and every line break.
# One set of characters comes first, so that the search skips all others fast.
_BREAKS = r"\r\n\v\f\x1c-\x1e\x85\u2028\u2029"
_END = re.compile(
    rf"[.!?。！？；;{_BREAKS}](?:(?<=[.!?])[.!?]*(?=[\s)\"'”]|$)|(?<=[。！？；;])|(?<=\.)(?=[A-Z][a-z])"
    rf"|(?<=[{_BREAKS}])[{_BREAKS}]*)"
)
# Words longer than this are no abbreviations.
_LONGEST = 8
# So many characters before a full stop tell whether it stands behind a plain word.
_TAIL = _LONGEST + 3
# What stands before a person's initial: a title or another initial.
_NAMED = re.compile(r"(?:\b(?:Drs?|Mr|Mrs|Ms|Prof)\.?|\b[A-Z]\.)\s*$")
_INITIAL = re.compile(r"\s*[A-Z]\.")
_COMMA = re.compile(r"[,，、]")
_LETTERS = re.compile(r"[^\W\d_\u3400-\u9fff]+|[\u3400-\u9fff]")


def split(text: str, start: int = 0, end: int | None = None, language: str = "en") -> list[tuple[int, int]]:
    """Places of the sentences in `text[start:end]`, without surrounding blanks.

    A comma-separated list of keywords ("cataract, drusen") has one sentence for each item.

    Args:
        text: the report.
        start: first character of the part to split.
        end: the character after it; the text's end by default.
        language: code of its language.

    Returns:
        Pairs (start, end) in the original text, in order, not overlapping.

    Example:
        >>> [("Seen by Dr. Who. C/D 0.5"[a:b]) for a, b in split("Seen by Dr. Who. C/D 0.5")]
        ['Seen by Dr. Who.', 'C/D 0.5']
    """
    stop = len(text) if end is None else end
    places = _prose(text, start, stop, language)
    plain = text.isascii()
    if plain and text.find(",", start, stop) < 0:
        return places
    found: list[tuple[int, int]] = []
    for place in places:
        low, high = place
        if text.find(",", low, high) < 0 and (plain or not _COMMA.search(text, low, high)):
            found.append(place)
        else:
            found += _keywords(text, low, high, language) or (place,)
    return found


def sentence_at(text: str, start: int, end: int, language: str = "en") -> tuple[int, int]:
    """The sentence that holds `text[start:end]`; a concept across several sentences joins them. Lists are not split."""
    low, high = start, end
    for a, b in _prose(text, 0, len(text), language):
        if a < end and b > start:
            low, high = min(low, a), max(high, b)
    return low, high


def _prose(text: str, start: int, stop: int, language: str) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    at = start
    plain = _plain(language)
    for match in _END.finditer(text, start, stop):
        first, after = match.span()
        mark = text[first]
        if mark == ".":
            # Most sentences end with a plain word.
            known = after - first > 1 or plain[text[max(at, first - _TAIL) : first]]
            if not known and not _ends(text, at, match, language):
                continue
        elif mark == "?" and not _question_ends(text, at, first, after, stop):
            continue
        found += _trimmed(text, at, after)
        at = after
    if at < stop:
        found += _trimmed(text, at, stop)
    return found


class _Plain(dict[str, bool]):
    """What stands before a full stop → whether it is a plain word; forgets everything when it is full."""

    def __init__(self, language: str) -> None:
        super().__init__()
        self._short = _listed("abbreviations", language)

    def __missing__(self, tail: str) -> bool:
        if len(self) >= REMEMBERED:
            self.clear()
        word = tail.rpartition(" ")[2]
        plain = self[tail] = len(word) > 1 and word.isalpha() and word.lower() not in self._short
        return plain


@functools.cache
def _plain(language: str) -> _Plain:
    return _Plain(language)


def _ends(text: str, at: int, match: re.Match[str], language: str) -> bool:
    """Whether a full stop ends the sentence: not after "Dr" (but after "DR", the disease), nor after "1."."""
    stop = first = match.start()
    while first > at and (text[first - 1].isalpha() or (text[first - 1] == "." and first < stop)):
        first -= 1
    raw = text[first:stop].lstrip(".")
    if not raw:
        return not text[at:stop].strip().isdigit()
    first = stop - len(raw)
    if len(raw) > _LONGEST and "." not in raw:
        return True
    initial = len(raw) == 1 and raw.isupper()
    if initial and (_NAMED.search(text[at:first]) or _INITIAL.match(text, match.end())):
        return False
    if raw.lower() in _listed("eyes", language):
        return not text[match.end() :].lstrip(" ")[:1].islower()
    return (
        raw.lower() not in _listed("abbreviations", language)
        or (raw.isupper() and "." not in raw)
        or not text[match.end() :].strip()
    )


def _question_ends(text: str, at: int, mark: int, after: int, stop: int) -> bool:
    """Whether "?" ends a sentence: glued to the word before and followed by a capital. "? glaucoma" starts one."""
    glued = mark > at and not text[mark - 1].isspace()
    following = text[after:stop].lstrip()
    return glued and (not following or following[0].isupper())


def _trimmed(text: str, low: int, high: int) -> tuple[tuple[int, int], ...]:
    """The place without blanks and bullets around it, or nothing where no letter or digit is left."""
    if text.startswith(" ", low, high):
        low += 1
    if low < high and text[low].isalnum() and not text[high - 1].isspace():
        return ((low, high),)
    part = text[low:high].strip()
    if not part:
        return ()
    low = text.index(part, low)
    high = low + len(part)
    if part[0].isalnum():
        return ((low, high),)
    while low < high and not text[low].isalnum() and (text[low].isspace() or text[low] in "-–—•*·"):
        if text.startswith("-ve", low):
            break
        low += 1
    return ((low, high),) if low < high and any(map(str.isalnum, text[low:high])) else ()


def _keywords(text: str, low: int, high: int, language: str) -> list[tuple[int, int]]:
    """The items of a keyword list, or nothing where the sentence, which holds a comma, is prose."""
    if not _prose_raw(language).isdisjoint(text[low:high].lower().split()):
        return []
    commas = [match.start() for match in _COMMA.finditer(text, low, high)]
    edges = [low, *(place + 1 for place in commas)]
    items = list(zip(edges, [*commas, high], strict=True))
    for a, b in items:
        keys = [word_key(word, language) for word in _LETTERS.findall(text[a:b])]
        if len(keys) > number("sentences", "list_words", language) or _prose_words(language).intersection(keys):
            return []
        if "?" in text[a:b] or ":" in text[a:b]:
            return []
    return [place for a, b in items for place in _trimmed(text, a, b)]


@functools.cache
def _listed(name: str, language: str) -> frozenset[str]:
    return frozenset(table("sentences", name, language))


@functools.cache
def _prose_words(language: str) -> frozenset[str]:
    return frozenset(word_key(word, language) for word in table("sentences", "prose", language))


@functools.cache
def _prose_raw(language: str) -> frozenset[str]:
    """The words of prose as written, for a quick answer."""
    return frozenset(word for word in table("sentences", "prose", language) if word.isalpha())
