"""Findings named in words that no pack lists: slips of the keyboard, clipped words, other endings and word orders.

A term of the pack is found when every word of it that carries meaning stands in one clause, side by side but for words
such as "of" or "type", in any order, each in any of these forms: one slip of the keyboard, a clipped beginning
("nonprolif"), a contraction ("h'ages"), or another ending of the same stem ("narrowed arterioles" for "arteriolar
narrowing"). An exact term wins unless the loose one is made of more words. What an author abbreviates in brackets
counts in that report.

Source: Schwartz and Hearst, Pacific Symposium on Biocomputing 2003 (abbreviations in brackets). Differs: only names of
findings are defined, and the letters of the short form must stand in the long one in their order.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from tapetum.knowledge.phrases import Hit, Word, word_key, words

V = TypeVar("V")

_SMALL = frozenset({"of", "the", "a", "an", "in", "at", "on", "with", "to", "for", "is", "are", "and"})
_BRIDGES = _SMALL | {
    "type",
    "form",
    "degree",
    "like",
    "shape",
    "shaped",
    "looking",
    "appearing",
    "old",
    "some",
    "into",
    "within",
}
# Nouns that say no more than the adjective before them.
_GENERAL = frozenset({"change", "spot", "lesion", "area", "sign"})
_APART = frozenset({",", ";", ":", ".", "(", ")", "，", "；", "?", "!", "+", "|"})
_HYPHENS = frozenset({"-", "/"})
_SPLIT = frozenset({"and", "or", "nor", "but", "no", "not", "without", "nothing", "while", "plus", "possible", "&"})
_NEGATIVE = frozenset({"no", "not", "without", "nothing"})
_ENDINGS = (
    "ifications", "ification", "isation", "ations", "ation", "ative", "ating", "ated", "osity", "ified", "tous", "ical",
    "ious", "osis", "ous", "oid", "osa", "ary", "ity", "ing", "ion", "ive", "ied", "ial", "ed", "al", "ar", "ic", "ia",
    "ly", "us", "um", "y", "e", "a", "i",
)  # fmt: skip
_IRREGULAR = {"swollen": "swell", "blood": "bleed", "bled": "bleed", "broken": "break", "torn": "tear"}
_STEM, _CLIPPED, _WHOLE, _SINGLE, _TYPO = 4, 3, 5, 5, 5
_REMEMBERED = 20000
# Kinds of words, one letter each: a run holds the pack's words and what bridges them, a mark or a conjunction ends it.
_BRIDGE, _OTHER, _MARK, _CONJUNCTION, _STOP = "b", "o", "-", "c", "."
# The pack's words that only stand in longer terms, those that may stand alone, and the same for words that also bridge.
_OWN = {(False, False): "p", (True, False): "P", (False, True): "q", (True, True): "Q"}
_RUN = re.compile("[pPqQ][pPqQb]*[pPqQ]|[PQ]")
_ENDS = frozenset({_CONJUNCTION, _STOP})
_LIGHT = str.maketrans("", "", "b-.qQ")
# Characters before a bracket in which the words that it abbreviates are looked for.
_LONGEST = 60
_SHORT = re.compile(r"\((?P<short>[^\W\d_][\w&/.-]{1,7})\)")


def stem(key: str) -> str:
    """The part of a word that its relatives share.

    Args:
        key: a folded word.

    Example:
        >>> stem("narrowing") == stem("narrowed"), stem("atrophic") == stem("atrophy"), stem("choroid")
        (True, True, 'choroid')
    """
    key = _IRREGULAR.get(key, key)
    if key.endswith("usion"):
        return f"{key[:-5]}ud"
    for ending in _ENDINGS:
        if key.endswith(ending) and len(key) - len(ending) >= (_STEM + 2 if ending == "oid" else _STEM):
            key = key[: -len(ending)]
            break
    if key.endswith("m") or not key.endswith(("ma", "na")):
        return key[:-1] if len(key) > _STEM and key[-1] == key[-2] and key[-1] not in "aeiou" else key
    return key[:-1]


class _Term(NamedTuple):
    stems: frozenset[str]
    finding: str
    made: bool


# An exact hit near a run: its first word and the one after its last, counted from the run's first; whether it names a
# finding, and its words of meaning.
_Near = tuple[int, int, bool, int]


class _Memory(dict[str, V]):
    """Words seen and what is known of them; forgets everything when it is full."""

    def __init__(self, find: Callable[[str], V]) -> None:
        super().__init__()
        self._find = find

    def __missing__(self, raw: str) -> V:
        if len(self) >= _REMEMBERED:
            self.clear()
        found = self[raw] = self._find(raw)
        return found


class Approximate:
    """The terms of a pack, to be found in other forms.

    Args:
        phrases: pairs of term and finding; an empty finding marks words that state nothing.
        known: words that mean something else and are never taken for a clipped or mistyped one.
        made: pairs like `phrases`, made from them (`synonyms`); these give way to them.
    """

    def __init__(
        self, phrases: Iterable[tuple[str, str]], known: Iterable[str] = (), made: Iterable[tuple[str, str]] = ()
    ) -> None:
        self._known = frozenset(known) | _BRIDGES | _SPLIT
        self._full: dict[str, str] = {}
        self._near: dict[str, str] = {}
        # Stem → the rarest other stem of the term, "" where there is none → terms.
        self._terms: dict[str, dict[str, list[_Term]]] = {}
        self._memory = _Memory(self._forms)
        self._kinds = _Memory(self._kind)
        self._runs: dict[tuple[object, ...], list[tuple[int, int, str]]] = {}
        self._nouns: set[str] = set()
        seen: set[_Term] = set()
        own: set[tuple[frozenset[str], str]] = set()
        pairs = [(*pair, False) for pair in phrases] + [(*pair, True) for pair in made]
        for text, finding, further in pairs:
            every = [word for word in words(text) if word.raw[0].isalpha()]
            keys = [word.key for word in every]
            stems = frozenset(stem(key) for key in keys if key not in _SMALL)
            term = _Term(stems, finding, further)
            small = len(stems) == 1 and (len(next(iter(stems))) < _SINGLE or not _lower(text))
            if len(keys) == 1:
                self._nouns.add(keys[0])
            if not finding or not stems or small or (stems, finding) in own or _NEGATIVE.intersection(keys):
                continue
            if further and any(key not in self._full and self._clips(key) for key in keys):
                continue
            seen.add(term)
            own.add((stems, finding))
            for word in every:
                self._full.setdefault(word.key, stem(word.key))
                self._full.setdefault(word.raw.lower(), stem(word.key))
        counts = Counter(one for term in seen for one in term.stems)
        for term in seen:
            # Beside its rarest other stem, so that common words ("retinal") lead to few terms.
            by_count = sorted(term.stems, key=lambda one: (counts[one], one))
            for one in by_count:
                other = next((other for other in by_count if other != one), "")
                self._terms.setdefault(one, {}).setdefault(other, []).append(term)
        # Words such as "of" stand in terms and say nothing of them.
        self._stems = frozenset(counts)
        self._alone = frozenset(name for name, groups in self._terms.items() if "" in groups)
        for key in sorted(key for key in self._full if len(key) >= _TYPO and key.isalpha()):
            for form in _cut(key):
                self._near.setdefault(form, key)

    def merge(self, found: Sequence[Word], hits: Sequence[Hit]) -> list[Hit]:
        """The exact hits of a sentence and the loose ones; a loose one may take in exact ones of fewer words.

        Args:
            found: the sentence's words.
            hits: what was found exactly, also phrases that state nothing (no value).
        """
        kinds = "".join([self._kinds[word[2]] for word in found])
        every = list(hits)
        for run in _RUN.finditer(kinds):
            low, high = run.span()
            near = [
                (first - low, last - low, bool(value), _size(kinds, first, last))
                for first, last, value in hits
                if first < high and last > low
            ]
            meant = high - low - kinds.count(_BRIDGE, low, high)
            if any(first <= 0 and high - low <= last and meant <= size for first, last, _, size in near):
                continue
            # The word behind the run counts only in the same clause.
            behind = high < len(found) and kinds[high] not in _ENDS
            for start, end, finding in self._remembered(found[low : high + behind], high - low, tuple(near)):
                first, last = low + start, low + end
                every = [hit for hit in every if hit.last <= first or hit.first >= last]
                every.append(Hit(first, last, finding))
        return sorted(every)

    def _remembered(self, found: Sequence[Word], size: int, near: tuple[_Near, ...]) -> Sequence[tuple[int, int, str]]:
        """The terms of a run; the same few words stand together in many sentences."""
        key = (size, near, *[word[2] for word in found])
        if key not in self._runs:
            if len(self._runs) >= _REMEMBERED:
                self._runs.clear()
            self._runs[key] = self._search(found, size, near)
        return self._runs[key]

    def _search(self, found: Sequence[Word], size: int, near: Sequence[_Near]) -> list[tuple[int, int, str]]:
        """The terms of a run of `size` words that no exact hit forbids: best first, no place twice."""
        forms = [self._memory[word[2]] for word in found[:size]]
        present = frozenset(("",)).union(*forms)
        # Over an exact hit goes only what has more words; a term of fewer must stand beside all of them.
        most = min((size for *_, size in near), default=0)
        free = [form for i, form in enumerate(forms) if all(i < first or i >= last for first, last, *_ in near)]
        beside = frozenset[str]().union(*free)
        wanted = {
            term
            for one in present
            if one in self._terms
            for other in self._terms[one].keys() & present
            for term in self._terms[one][other]
            if term.stems <= (present if len(term.stems) > most else beside)
        }
        options: list[tuple[int, bool, int, int, str]] = []
        for term in wanted:
            span = _span(found, forms, term.stems)
            if span and self._sure(found, term, *span) and _wins(len(term.stems), *span, near):
                options.append((-len(term.stems), term.made, span[1] - span[0], span[0], term.finding))
        chosen: list[tuple[int, int, str]] = []
        for _, _, width, first, finding in sorted(options):
            last = first + width
            if all(last <= a or first >= b for a, b, _ in chosen):
                chosen.append((first, last, finding))
        return chosen

    def _sure(self, found: Sequence[Word], term: _Term, first: int, last: int) -> bool:
        """Whether the place is no part of another word group: "lymph nodes" is no "lymphadenopathy".

        A word alone must be long; its adjective counts before a general noun only ("microaneurysmal changes").
        """
        end, following = found[last - 1], found[last] if last < len(found) else None
        more = following is not None and following.raw[0].isalpha() and following.key not in _BRIDGES
        clipped = end.key not in self._full and any(len(full) > len(end.key) + 1 for full in self._longer(end.key))
        if clipped and more:
            return False
        if len(term.stems) > 1:
            return True
        if len(end.key) < _SINGLE:
            return False
        derived = end.key not in self._nouns and stem(end.key) in term.stems
        return not derived or (following is not None and following.key in _GENERAL)

    def _kind(self, raw: str) -> str:
        """The letter for a word in `merge`."""
        key = word_key(raw)
        if raw in _APART or key in _SPLIT:
            return _CONJUNCTION if raw[0].isalnum() else _STOP
        forms, bridges = self._memory[raw], key in _BRIDGES or raw in _HYPHENS
        if forms:
            return _OWN[not self._alone.isdisjoint(forms), bridges]
        if bridges:
            return _BRIDGE
        return _OTHER if raw[0].isalnum() else _MARK

    def _clips(self, key: str) -> bool:
        """Whether a word is the clipped beginning of one already known, and so is found without a term of its own."""
        return len(key) >= _CLIPPED and any(len(full) > len(key) + 1 for full in self._longer(key))

    def _longer(self, key: str) -> list[str]:
        return [full for full in self._full if full.startswith(key)]

    def forms(self, word: Word) -> frozenset[str]:
        """The stems of the pack that a word may stand for, empty where it is none of the pack's."""
        return self._memory[word.raw]

    def _forms(self, raw: str) -> frozenset[str]:
        key = word_key(raw)
        if key in self._full:
            return frozenset({self._full[key]}) & self._stems
        if key in self._known or not raw[0].isalpha():
            return frozenset()
        if "'" in raw or "’" in raw:
            head, _, tail = raw.lower().replace("’", "'").partition("'")
            ends = (tail, tail.removesuffix("s")) if len(tail) > 1 else (tail,)
            return frozenset(s for full, s in self._full.items() if full.startswith(head[:3]) and full.endswith(ends))
        if not key.isalpha():
            return frozenset()
        found = {stem(key)} & self._stems
        # A long word with relatives in the pack ("choroid") is whole.
        if (raw.islower() or raw.istitle()) and len(key) >= _CLIPPED and not (found and len(key) > _WHOLE):
            found |= {s for full, s in self._full.items() if full.startswith(key) and len(full) > len(key) + 1}
        if not found and len(key) >= _TYPO - 1:
            near = {self._near.get(form, "") for form in (key, *_cut(key))} | self._full.keys() & set(_cut(key))
            found = {self._full[full] for full in near if len(full) >= _TYPO and _slip(key, full)}
        return frozenset(found) & self._stems


def definitions(text: str, find: Callable[[Sequence[Word]], Sequence[Hit]]) -> tuple[tuple[str, str], ...]:
    """Abbreviations that a report defines behind a finding, as written, with the finding: "cotton-wool spots (CWS)".

    Args:
        text: the report.
        find: finds the findings in words.
    """
    defined: dict[str, str] = {}
    for match in _SHORT.finditer(text):
        start = max(0, match.start() - _LONGEST)
        found = words(text, start, match.start())
        hits = find(found)
        if hits and hits[-1].last == len(found):
            long = text[found[hits[-1].first].start : match.start()]
            if _initials(match["short"], long):
                defined.setdefault(match["short"], str(hits[-1].value))
    return tuple(defined.items())


def defined_hits(found: Sequence[Word], hits: Sequence[Hit], defined: Mapping[str, str]) -> list[Hit]:
    """The findings of a sentence with those that the report's own abbreviations name; a definition itself counts once.

    Args:
        found: the sentence's words.
        hits: the findings so far.
        defined: abbreviation → finding.
    """
    more = [
        Hit(i, i + 1, defined[word.raw])
        for i, word in enumerate(found)
        if word.raw in defined and not (i and found[i - 1].raw == "(") and all(i < h.first or i >= h.last for h in hits)
    ]
    return sorted([*hits, *more])


def _initials(short: str, long: str) -> bool:
    """Whether the letters of the short form stand in the long one in their order, from its first letter."""
    left = iter(long.lower())
    return short[0].lower() == long[0].lower() and all(c in left for c in short.lower() if c.isalpha())


def _cut(word: str) -> list[str]:
    """The word with one letter left out, at each place but the first."""
    return [word[:i] + word[i + 1 :] for i in range(1, len(word))]


def _slip(a: str, b: str) -> bool:
    """Whether one letter left out, added or changed, or two neighbours swapped, turns a into b."""
    if len(a) > len(b):
        a, b = b, a
    i = next((k for k, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(a))
    if len(b) - len(a) == 1:
        return a[i:] == b[i + 1 :]
    return len(a) == len(b) and (
        a[i + 1 :] == b[i + 1 :] or (a[i : i + 2] == b[i : i + 2][::-1] and a[i + 2 :] == b[i + 2 :])
    )


def _lower(text: str) -> bool:
    return any(c.islower() for c in text) and len(text) > _SINGLE


def _wins(size: int, first: int, last: int, near: Sequence[_Near]) -> bool:
    """Whether a loose term may take the place of all exact hits that it touches."""
    return all(
        hit_last <= first or hit_first >= last or (named and first <= hit_first and hit_last <= last and words_ < size)
        for hit_first, hit_last, named, words_ in near
    )


def _size(kinds: str, first: int, last: int) -> int:
    """Words of meaning in an exact hit."""
    return len(kinds[first:last].translate(_LIGHT))


def _span(found: Sequence[Word], forms: Sequence[frozenset[str]], stems: frozenset[str]) -> tuple[int, int] | None:
    """The first place in a run where all stems of a term stand with nothing but bridging words between them."""
    for first in range(len(forms)):
        if forms[first].isdisjoint(stems):
            continue
        left = set(stems)
        for i in range(first, len(forms)):
            fitting = forms[i] & left
            if fitting:
                left.discard(min(fitting, key=len))
                if not left:
                    return first, i + 1
            elif found[i].key not in _BRIDGES and found[i].raw not in _HYPHENS and not forms[i] & stems:
                break
    return None
