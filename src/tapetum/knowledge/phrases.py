"""Words and phrases: a text as folded words with their places, and tables that find the longest phrase at each place.

One pass over the words with dictionary look-ups; no phrase is searched for on its own, so that a report costs the same
with ten phrases in the table or ten thousand.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from tapetum.knowledge.model import PREFIXES, fold

V = TypeVar("V")

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*|\d+(?:[.,]\d+)*|[^\w\s]|_")
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
_GAPS = frozenset({"-", "‐", "‑", "–", "/", "(", ")", "_", ":"})


class Word(NamedTuple):
    """A word or a mark of the text: its place (offsets in characters), its letters and its folded, singular key."""

    start: int
    end: int
    raw: str
    key: str


@functools.lru_cache(maxsize=65536)
def word_key(raw: str) -> str:
    """Case, spelling variant and plural folded away."""
    key = fold(raw) or raw
    if key in _IRREGULAR:
        return _IRREGULAR[key]
    if len(key) < 4 or not key.endswith("s") or key.endswith(("ss", "us", "is")):
        return key
    if key.endswith("ies"):
        return f"{key[:-3]}y"
    return key[:-2] if key.endswith(("ches", "shes", "xes", "sses")) else key[:-1]


def words(text: str, start: int = 0, end: int | None = None) -> list[Word]:
    """The words and marks of `text[start:end]`; parts of one compound ("non-proliferative") are one word.

    Example:
        >>> [word.key for word in words("Non-proliferative hemorrhages, 0.5 DD")]
        ['nonproliferative', 'haemorrhage', ',', '0.5', 'dd']
    """
    found: list[Word] = []
    prefix: Word | None = None
    for match in _WORD.finditer(text, start, len(text) if end is None else end):
        raw = match.group()
        word = Word(match.start(), match.end(), raw, word_key(raw))
        if prefix is not None:
            if raw == "-" and word.start == prefix.end:
                prefix = Word(prefix.start, word.end, prefix.raw, prefix.key)
                continue
            close = not text[prefix.end : word.start].strip(" ") and raw[0].isalpha()
            if close and word.key not in _NEVER_JOINED:
                raw = prefix.raw + raw
                word = Word(prefix.start, word.end, raw, word_key(raw))
            else:
                found.append(Word(prefix.start, prefix.start + len(prefix.raw), prefix.raw, prefix.key))
            prefix = None
        if word.key in _JOINED:
            prefix = word
        else:
            found.append(word)
    if prefix is not None:
        found.append(Word(prefix.start, prefix.start + len(prefix.raw), prefix.raw, prefix.key))
    return found


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
    """

    def __init__(
        self,
        phrases: Iterable[tuple[str, V]],
        *,
        gaps: bool = False,
        capitals: frozenset[str] = frozenset(),
        typos: bool = False,
    ) -> None:
        self._gaps, self._capitals = gaps, capitals
        self._tree: dict[str, Any] = {}
        self._near: dict[str, str] = {}
        self._memory: dict[str, str] = {}
        vocabulary: set[str] = set()
        for text, value in phrases:
            node = self._tree
            for word in words(text):
                if (gaps and word.raw in _GAPS) or word.key in _SILENT:
                    continue
                key = word.raw if word.raw in capitals else word.key
                vocabulary.add(key)
                node = node.setdefault(key, {})
            if node is not self._tree:
                node.setdefault("", value)
        self._vocabulary = frozenset(vocabulary)
        if typos:
            for long in sorted(word for word in vocabulary if len(word) >= _LONG and word.isalpha()):
                for form in _shortened(long):
                    self._near.setdefault(form, long)

    def find(self, found: Sequence[Word]) -> list[Hit]:
        """All phrases in a row of words."""
        hits: list[Hit] = []
        i, n = 0, len(found)
        plain = not self._capitals and not self._near
        keys = [word.key for word in found] if plain else [self._key(word) for word in found]
        tree = self._tree
        while i < n:
            if keys[i] not in tree:
                i += 1
                continue
            node: dict[str, Any] = tree[keys[i]]
            best, value, j = (i + 1 if "" in node else 0), node.get(""), i + 1
            while j < n:
                following = node.get(keys[j])
                if following is not None:
                    node = following
                    if "" in node:
                        best, value = j + 1, node[""]
                elif not (keys[j] in _SILENT or (self._gaps and found[j].raw in _GAPS)):
                    break
                j += 1
            if best:
                hits.append(Hit(i, best, value))
            i = best or i + 1
        return hits

    def _key(self, word: Word) -> str:
        if self._capitals:
            if word.raw in self._capitals:
                return word.raw
            if word.raw.endswith("s") and word.raw[:-1] in self._capitals:
                return word.raw[:-1]
        key = word.key
        if self._near and len(key) >= _LONG - 1 and key not in self._vocabulary:
            if key not in self._memory:
                if len(self._memory) >= _REMEMBERED:
                    self._memory.clear()
                self._memory[key] = _corrected(key, self._near, self._vocabulary)
            return self._memory[key]
        return key


_LONG = 8
_REMEMBERED = 65536


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
    return next((known for known in candidates if _one_slip(key, known)), key)


def _one_slip(a: str, b: str) -> bool:
    """Whether one letter missing, added or changed, or two neighbours swapped, turns a into b."""
    if abs(len(a) - len(b)) > 1:
        return False
    i = next((k for k, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    if len(a) != len(b):
        short, long = sorted((a, b), key=len)
        return short[i:] == long[i + 1 :]
    return a[i + 1 :] == b[i + 1 :] or (a[i : i + 2] == b[i : i + 2][::-1] and a[i + 2 :] == b[i + 2 :])
