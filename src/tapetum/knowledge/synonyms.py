"""Further words for a pack's terms: what clinicians use for one another, from a table of groups.

`rules/words/synonyms_english.toml` holds the groups and says where they come from. A term that holds one entry of a
group is also made with every other entry of it; two entries of different groups may change at once. What two
findings would share, or what a pack already names, is left out. The same file holds shorthand, words that count alone
and, for `described`, patterns of plain words.

Source: general English usage in ophthalmology. Differs: whole words of terms are exchanged; nothing is
learnt from text.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources

from tapetum.knowledge.phrases import words

# Of one term no more than this many are made.
_MOST = 600
_SHORT = 2
Keys = tuple[str, ...]


def expanded(terms: Sequence[tuple[str, str]], *, both: bool = True) -> list[tuple[str, str]]:
    """Further terms with their findings, none of which stands in `terms`.

    Args:
        terms: pairs of term and finding.
        both: exchange up to two entries of a term, else one.

    Example:
        >>> ("branch vein thrombosis", "brvo") in expanded([("branch vein occlusion", "brvo")])
        True
    """
    known = {_keys(term) for term, _ in terms}
    owner: dict[Keys, tuple[str, str]] = {}
    for term, finding in terms:
        if not finding:
            continue
        for made in _made(_keys(term), both):
            if made in known:
                continue
            text, other = owner.get(made, (" ".join(made), finding))
            owner[made] = (text, finding if other == finding else "")
    return [(text, finding) for text, finding in owner.values() if finding]


def shorthand(name: str) -> Sequence[str]:
    """How notes shorten a finding, by its usual English name; none where the table holds nothing."""
    return _tables().get("shorthand", {}).get(name, ())


def said_alone(name: str) -> Sequence[str]:
    """What names a finding only where a clause is nothing else, by the finding's usual English name."""
    return _tables().get("alone", {}).get(name, ())


def described(name: str) -> Sequence[str]:
    """Patterns for `described.Described` of a finding, by its usual English name; none where the table has none."""
    return _tables().get("described", {}).get(name, ())


def _made(term: Keys, both: bool) -> Iterable[Keys]:
    once = list(_exchanged(term))
    every = [made for made, _ in once]
    if both:
        every += [again for made, group in once for again, other in _exchanged(made) if other > group]
    never = _never()
    return [made for made in dict.fromkeys(every) if _names(made) and made not in never][:_MOST]


def _names(made: Keys) -> bool:
    """Whether a made term can stand: no word twice, and alone not so short that it may be anything."""
    return len(set(made)) == len(made) and (len(made) > 1 or len("".join(made)) > _SHORT)


def _exchanged(term: Keys) -> Iterator[tuple[Keys, str]]:
    """The term with one entry of a group exchanged, the longest one at each place, and the group."""
    entries = _entries()
    for first in range(len(term)):
        for last in range(len(term), first, -1):
            inside = term[first:last]
            if inside not in entries:
                continue
            for group in entries[inside]:
                for other in _groups()[group]:
                    if other != inside:
                        yield (*term[:first], *other, *term[last:]), group
            break


@functools.lru_cache(maxsize=65536)
def _keys(text: str) -> Keys:
    return tuple(word.key for word in words(text) if word.raw[0].isalnum())


@functools.cache
def _tables() -> dict[str, dict[str, list[str]]]:
    file = resources.files("tapetum.knowledge.rules") / "words" / "synonyms_english.toml"
    return tomllib.loads(file.read_text(encoding="utf-8"))


@functools.cache
def _groups() -> dict[str, tuple[Keys, ...]]:
    return {name: tuple(dict.fromkeys(map(_keys, entries))) for name, entries in _tables()["groups"].items()}


@functools.cache
def _entries() -> dict[Keys, tuple[str, ...]]:
    found: dict[Keys, list[str]] = {}
    for name, entries in _groups().items():
        for entry in entries:
            found.setdefault(entry, []).append(name)
    return {entry: tuple(names) for entry, names in found.items()}


@functools.cache
def _never() -> frozenset[Keys]:
    return frozenset(map(_keys, _tables()["never"]["alone"]))
