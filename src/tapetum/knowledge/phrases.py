"""Words and phrases: a text as folded words with their places, and tables that find the longest phrase at each place.

One pass over the words with dictionary look-ups; no phrase is searched for on its own, so that a report costs the same
with ten phrases in the table or ten thousand.
"""

from __future__ import annotations

import bisect
import functools
import operator
import re
import unicodedata
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from tapetum.knowledge.model import PREFIXES, fold
from tapetum.knowledge.rules import table

V = TypeVar("V")

# Chinese is written without blanks: each character is a word, and the longest phrase is found over characters.
_HAN = r"\u3400-\u9fff"
_WORD = re.compile(rf"[^\W\d_{_HAN}]+(?:['’][^\W\d_{_HAN}]+)*|[{_HAN}]|\d+(?:[.,]\d+)*|[^\w\s]|_")
_IRREGULAR = {
    "naevi": "naevus",
    "fundi": "fundus",
    "maculae": "macula",
    "macular": "macula",
    "emboli": "embolus",
    "foveae": "fovea",
    "retinae": "retina",
}
_JOINED = frozenset(PREFIXES)
_NEVER_JOINED = frozenset({"and", "or", "to", "as", "is", "are", "in", "of", "the"})
_SILENT = frozenset({"the"})
# Past the named constructor, which costs a call for each word of each report.
_new = tuple.__new__
_GAPS = frozenset({"-", "‐", "‑", "–", "/", "(", ")", "_", ":"})


class Word(NamedTuple):
    """A word or a mark of the text: its place (offsets in characters), its letters and its folded, singular key."""

    start: int
    end: int
    raw: str
    key: str


@functools.lru_cache(maxsize=65536)
def word_key(raw: str, language: str = "en") -> str:
    """Case, accents, spelling variant and plural folded away, and in Spanish the ending that says the gender."""
    key = fold(raw) or raw
    if not key.isascii():
        key = "".join(c for c in unicodedata.normalize("NFD", key) if not unicodedata.combining(c)) or key
    if key in _IRREGULAR:
        return _IRREGULAR[key]
    return _spanish(key) if language == "es" else _english(key)


def _english(key: str) -> str:
    if len(key) < 4 or not key.endswith("s") or key.endswith(("ss", "us", "is")):
        return key
    if key.endswith("ies"):
        return f"{key[:-3]}y"
    return key[:-2] if key.endswith(("ches", "shes", "xes", "sses")) else key[:-1]


def _spanish(key: str) -> str:
    if len(key) > 3 and key.endswith("s") and key[-2] in "aeiou":
        key = key[:-1]
    if len(key) > 3 and key.endswith("e"):
        return key[:-1]
    return f"{key[:-1]}a" if len(key) > 3 and key.endswith("o") else key


@functools.cache
def _prefixes(language: str) -> frozenset[str]:
    """What is joined to the next word, but for words of the language that look the same ("para")."""
    return _JOINED - frozenset(table("language", "separate", language))


def words(text: str, start: int = 0, end: int | None = None, language: str = "en") -> list[Word]:
    """The words and marks of `text[start:end]`; parts of one compound ("non-proliferative") are one word.

    A Chinese character is a word of its own.

    Example:
        >>> [word.key for word in words("Non-proliferative hemorrhages, 0.5 DD")]
        ['nonproliferative', 'haemorrhage', ',', '0.5', 'dd']
    """
    part = text[start:end] if start or end is not None else text
    chunks = _chunks(language)
    found: list[Word] = []
    at, compound = start, False
    for chunk in part.split(" "):
        every, joins = chunks[chunk]
        for low, high, raw, key in every:
            found.append(_new(Word, (at + low, at + high, raw, key)))
        if joins:
            compound = True
        at += len(chunk) + 1
    return _compounds(text, found, _prefixes(language), language) if compound else found


def _compounds(text: str, every: Sequence[Word], joined: frozenset[str], language: str) -> list[Word]:
    """The words with the parts of compounds put together; a hyphen between them goes, one that joins nothing too."""
    found: list[Word] = []
    i, n = 0, len(every)
    while i < n:
        word = every[i]
        i += 1
        while word[3] in joined:
            end = word[1]
            while i < n and every[i][2] == "-" and every[i][0] == end:
                end, i = every[i][1], i + 1
            if i == n:
                break
            _, high, raw, key = every[i]
            apart = every[i][0] - end
            if not raw[0].isalpha() or key in _NEVER_JOINED or (apart and text[end : end + apart].strip(" ")):
                break
            raw = word[2] + raw
            word, i = Word(word[0], high, raw, word_key(raw, language)), i + 1
        found.append(word)
    return found


class Remembered(set[Hashable]):
    """What was seen; forgets everything when it is full."""

    def add(self, one: Hashable) -> None:
        """Remember one more."""
        if len(self) >= REMEMBERED:
            self.clear()
        super().add(one)


def word_at(found: Sequence[Word], at: int) -> int:
    """Index of the first word that starts at a place in the text or after it."""
    return bisect.bisect_left(found, (at,))


class _Chunk(NamedTuple):
    """What stands between two blanks: its words with places counted from its start, and whether one is a prefix."""

    words: tuple[Word, ...]
    compound: bool


class _Chunks(dict[str, _Chunk]):
    """Chunks seen and their words; forgets everything when it is full, so that its memory is bounded."""

    def __init__(self, language: str) -> None:
        super().__init__()
        self._language = language

    def __missing__(self, chunk: str) -> _Chunk:
        if len(self) >= REMEMBERED:
            self.clear()
        every = tuple(
            Word(word.start(), word.end(), word.group(), word_key(word.group(), self._language))
            for word in _WORD.finditer(chunk)
        )
        joined = _prefixes(self._language)
        found = self[chunk] = _Chunk(every, any(word.key in joined for word in every))
        return found


@functools.cache
def _chunks(language: str) -> _Chunks:
    """The chunks already seen in a language."""
    return _Chunks(language)


class Hit(NamedTuple):
    """A phrase found at words `first` up to, not including, `last`."""

    first: int
    last: int
    value: Any


class PhraseTable(Generic[V]):
    """Phrases with a value each; `find` returns the longest phrase at each place, from the left, without overlaps.

    Args:
        phrases: pairs of text and value.
        gaps: hyphens, slashes and brackets between the words of a phrase do not matter.
        capitals: short abbreviations that count only as written here, in capitals.
        typos: words of at least eight letters are also found with one letter missing, added, changed or two swapped.
        language: of the phrases.
        fillers: words that may stand where a phrase has "…" ("heart … enlarged").
    """

    def __init__(
        self,
        phrases: Iterable[tuple[str, V]],
        *,
        gaps: bool = False,
        capitals: frozenset[str] = frozenset(),
        typos: bool = False,
        language: str = "en",
        fillers: Iterable[str] = (),
    ) -> None:
        self._gaps, self._capitals = gaps, capitals
        self._fillers = frozenset(word_key(word, language) for word in fillers)
        self._tree: dict[str, Any] = {}
        self._near: dict[str, str] = {}
        self._known: dict[str, str] = {}
        vocabulary: set[str] = set()
        for text, value in phrases:
            node = self._tree
            for word in words(text, language=language):
                if (gaps and word.raw in _GAPS) or word.key in _SILENT:
                    continue
                key = word.raw if word.raw in capitals else word.key
                if key in _ELLIPSIS:
                    node[_OPEN] = {}
                    continue
                vocabulary.add(key)
                node = node.setdefault(key, {})
            if node is not self._tree:
                node.setdefault("", value)
        self._vocabulary = frozenset(vocabulary)
        self._starts = frozenset(self._tree)
        if typos:
            for long in sorted(word for word in vocabulary if len(word) >= _LONG and word.isalpha()):
                for form in _shortened(long):
                    self._near.setdefault(form, long)

    def find(self, found: Sequence[Word]) -> list[Hit]:
        """All phrases in a row of words."""
        keys = self._keys(found) if self._capitals or self._near else list(map(_KEY, found))
        if self._starts.isdisjoint(keys):
            return []
        hits: list[Hit] = []
        free, n = 0, len(found)
        tree = self._tree
        silent, gaps, fillers = _SILENT, self._gaps, self._fillers
        for i in [at for at, key in enumerate(keys) if key in tree]:
            if i < free:
                continue
            node: dict[str, Any] = tree[keys[i]]
            best, value = (i + 1 if "" in node else 0), node.get("")
            if best and len(node) == 1:
                # A word that opens no longer phrase.
                hits.append(Hit(i, best, value))
                free = best
                continue
            for j in range(i + 1, n):
                key = keys[j]
                following = node.get(key)
                if following is not None:
                    node = following
                    if "" in node:
                        best, value = j + 1, node[""]
                elif not (key in silent or (gaps and found[j][2] in _GAPS) or (_OPEN in node and key in fillers)):
                    break
            if best:
                hits.append(Hit(i, best, value))
                free = best
        return hits

    def opens(self, found: Sequence[Word]) -> bool:
        """Whether a phrase may start at one of these words; for tables without capitals and typos."""
        return not self._starts.isdisjoint(map(_KEY, found))

    def _keys(self, found: Sequence[Word]) -> list[str]:
        known = self._known
        try:
            return list(map(known.__getitem__, map(_RAW, found)))
        except KeyError:
            if len(known) >= REMEMBERED:
                known.clear()
            for word in found:
                if word.raw not in known:
                    known[word.raw] = self._key(word)
            return list(map(known.__getitem__, map(_RAW, found)))

    def _key(self, word: Word) -> str:
        if self._capitals:
            if word.raw in self._capitals:
                return word.raw
            if word.raw.endswith("s") and word.raw[:-1] in self._capitals:
                return word.raw[:-1]
        key = word.key
        if self._near and len(key) >= _LONG - 1 and key not in self._vocabulary and key not in _ORDINARY:
            return _corrected(key, self._near, self._vocabulary)
        return key


_RAW, _KEY = operator.itemgetter(2), operator.itemgetter(3)
_LONG = 8
# In a node of the tree: filler words may follow. No word has this key.
_OPEN = "\x01"
# One slip away from words of findings ("notching"), and never one of them.
_ORDINARY = frozenset({"nothing"})
_ELLIPSIS = frozenset({"…", "..."})
REMEMBERED = 65536


def _shortened(word: str) -> list[str]:
    """The word with one letter left out at each place but the first, which people rarely get wrong."""
    return [word[:i] + word[i + 1 :] for i in range(1, len(word))]


def _corrected(key: str, near: dict[str, str], vocabulary: frozenset[str]) -> str:
    """The known word one slip away, or the key itself."""
    if not key.isalpha():
        return key
    candidates = [near[key]] if key in near else []
    for form in _shortened(key):
        if form in vocabulary and len(form) >= _LONG:
            candidates.append(form)
        elif form in near:
            candidates.append(near[form])
    return next((known for known in candidates if one_slip(key, known)), key)


def one_slip(a: str, b: str) -> bool:
    """Whether one letter missing, added or changed, or two neighbours swapped, turns a into b."""
    if abs(len(a) - len(b)) > 1:
        return False
    i = next((k for k, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    if len(a) != len(b):
        short, long = sorted((a, b), key=len)
        return short[i:] == long[i + 1 :]
    return a[i + 1 :] == b[i + 1 :] or (a[i : i + 2] == b[i : i + 2][::-1] and a[i + 2 :] == b[i + 2 :])
