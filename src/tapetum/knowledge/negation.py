"""Negation and doubt: whether the sentence states the finding, denies it, or leaves it open.

Trigger phrases with a side and a scope, as tables in `rules/english.toml`. A trigger before the finding reaches forward
to the next stop word or the end of the sentence, one after it a few words back; phrases that only look like negation
("no change") come first and use up their words. Where triggers meet, the one nearest to the finding decides, unless it
stands inside the other's phrase ("no suspicious …", "possibly no …"): then the first does.

Source: Chapman et al., Journal of Biomedical Informatics 2001 (NegEx); Harkema et al., Journal of Biomedical
Informatics 2009 (ConText). Differs: own tables; doubt is a status of its own; a scope also ends where a new statement
starts after a comma or where the eye changes; a bare answer ("drusen: none") denies what stands before it.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from tapetum.core.errors import UsageError
from tapetum.knowledge.phrases import PhraseTable, Word, words
from tapetum.knowledge.rules import number, recognise, table
from tapetum.knowledge.sentences import sentence_at

Status = Literal["present", "absent", "uncertain"]


@dataclass(frozen=True)
class Cue:
    """What a phrase does: `before` and `after` are the statuses it gives to a finding on that side of it."""

    before: Status | None = None
    after: Status | None = None
    adjacent: bool = False
    lists: bool = False
    stop: bool = False


class Trigger(NamedTuple):
    """A cue at words `first` up to `last` of a sentence."""

    first: int
    last: int
    cue: Cue
    text: str


_COLONS = frozenset({":", "："})
# Stands for the words of a finding, whose places are not asked for.
_MASK = Word(0, 0, "\x00", "\x00")
_CLOSERS = frozenset({",", ";", ".", ")", "，", "。", "、"})


class Verdict(NamedTuple):
    """A status with the rule that decided, in words."""

    status: Status
    why: str


def status_at(text: str, start: int, end: int, *, language: str = "") -> Verdict:
    """Whether the text states, denies or leaves open the concept at `text[start:end]`; no lexicon is used.

    Args:
        text: a sentence or a longer text; only the concept's own sentence counts.
        start: first character of the concept, whose own words are no triggers.
        end: the character after it.
        language: code of the language, `""` to have it recognised.

    Raises:
        UsageError: the place is empty or outside the text, or there are no rules for the language.

    Example:
        >>> status_at("No sign of glaucoma.", 11, 19).status
        'absent'
    """
    if not 0 <= start < end <= len(text):
        raise UsageError(f"no concept at {start}:{end} in a text of {len(text)} characters", "0 ≤ start < end ≤ length")
    language = language or recognise(text)
    low, high = sentence_at(text, start, end, language)
    inside = words(text, low, high, language)
    places = [i for i, word in enumerate(inside) if word.end > start and word.start < end]
    if not places:
        return Verdict("present", "no words at this place")
    first, last = places[0], places[-1] + 1
    # Masked first, so that a negation inside the concept cannot join a phrase outside of it.
    masked = [*inside[:first], *(Word(w.start, w.end, "\x00", "\x00") for w in inside[first:last]), *inside[last:]]
    return decide(masked, triggers(masked, language=language), first, last, language=language)


def negated(text: str, start: int, end: int, *, language: str = "") -> bool:
    """Whether the text denies the concept at `text[start:end]`; doubt is not denial.

    Raises:
        UsageError: the place is empty or outside the text.

    Example:
        >>> negated("Drusen but no haemorrhage", 14, 25)
        True
    """
    return status_at(text, start, end, language=language).status == "absent"


def triggers(found: Sequence[Word], taken: Iterable[tuple[int, int]] = (), *, language: str = "en") -> list[Trigger]:
    """The triggers of a sentence, from left to right.

    Args:
        found: the sentence's words.
        taken: places of findings, whose own words ("no retinal abnormality") trigger nothing.
        language: code of the language.
    """
    # Masked, not dropped afterwards: "no new" must not swallow the "no" of "no new vessels".
    free = list(found)
    for first, last in taken:
        free[first:last] = [_MASK] * (last - first)
    hits = _table(language).find(free)
    return [
        Trigger(
            hit.first,
            hit.last,
            _as_answer(found, hit.first, hit.last, hit.value, language, free[hit.first - 1].raw == "\x00"),
            _text(found, hit.first, hit.last),
        )
        for hit in hits
    ]


def decide(
    found: Sequence[Word],
    cues: Sequence[Trigger],
    first: int,
    last: int,
    *,
    breaks: frozenset[int] = frozenset(),
    language: str = "en",
) -> Verdict:
    """The status of the finding at words `first` up to `last`.

    Args:
        found: the sentence's words.
        cues: its triggers.
        first: the finding's first word.
        last: the word after it.
        breaks: places where every scope ends because another eye is spoken of.
        language: code of the language.
    """
    if not cues:
        return Verdict("present", "stated; no denial or doubt in its sentence")
    forward = _from_before(found, cues, first, breaks, language)
    backward = _from_after(found, cues, last, breaks, language)
    if backward and (not forward or (forward.status == "absent" and backward.status == "uncertain")):
        return backward
    return forward or Verdict("present", "stated; no denial or doubt reaches it")


def _from_before(
    found: Sequence[Word], cues: Sequence[Trigger], first: int, breaks: frozenset[int], language: str
) -> Verdict | None:
    nearest: Trigger | None = None
    for cue in reversed(cues):
        if cue.last > first:
            continue
        edge = nearest.first if nearest else first
        if cue.cue.stop or (breaks and any(cue.last <= place <= edge for place in breaks)):
            break
        status = cue.cue.before
        if status is None:
            continue
        between = found[cue.last : first]
        if nearest is not None:
            gap = between[: edge - cue.last]
            if nearest.text == "?" or (cue.text == "?" and gap):
                break
            if len(gap) <= 2 and not _has(gap, "comma", language) and not _has(gap, "join", language):
                nearest = cue
            break
        if _too_far(cue, between, language):
            continue
        if status == "absent" and (_headed(between, language) or _restarts(found, cue.last, first, language)):
            break
        nearest = cue
    if nearest is None or nearest.cue.before is None:
        return None
    return Verdict(nearest.cue.before, f"{nearest.cue.before}: {nearest.text!r} stands before it")


def _from_after(
    found: Sequence[Word], cues: Sequence[Trigger], last: int, breaks: frozenset[int], language: str
) -> Verdict | None:
    for cue in cues:
        if cue.first < last:
            continue
        if cue.cue.stop or (breaks and any(last <= place < cue.last for place in breaks)):
            return None
        if cue.cue.after is None:
            if cue.cue.before is not None:
                return None
            continue
        between = found[last : cue.first]
        if len(between) > number("scope", "after_reach", language) or (cue.text == "?" and len(between) > 1):
            return None
        keys = [word[3] for word in between]
        if not _keys("affirm", language).isdisjoint(keys):
            return None
        commas = [i for i, key in enumerate(keys) if key in _keys("comma", language)]
        if commas and _joins(language).isdisjoint(keys[commas[-1] :]):
            return None
        return Verdict(cue.cue.after, f"{cue.cue.after}: {cue.text!r} stands after it")
    return None


def _restarts(found: Sequence[Word], start: int, stop: int, language: str) -> bool:
    """Whether a new statement starts between a denial and the finding: ", mild …" with no "or" to follow."""
    opening = _opens(language)
    for i in range(start + 1, stop):
        if found[i][3] in opening and i + 1 < len(found) and found[i + 1].key in _keys("restart", language):
            rest = found[i + 1 :]
            return not any(word.key in _keys("or", language) for word in rest)
    return False


def _too_far(cue: Trigger, between: Sequence[Word], language: str) -> bool:
    """Whether a trigger before the finding does not reach it across the words between them."""
    reach = len(between)
    if cue.cue.adjacent and reach > number("scope", "adjacent_reach", language):
        return True
    if cue.text == "?":
        return reach > 1
    if cue.cue.lists:
        return False
    if cue.cue.before == "uncertain":
        return reach > number("scope", "uncertain_reach", language) or _has(between, "comma", language)
    bare = reach > number("scope", "bare_reach", language)
    return bare and cue.text.lower() in table("scope", "bare", language)


def _headed(between: Sequence[Word], language: str) -> bool:
    """Whether a heading ("… DIAGNOSIS:") stands between a denial and the finding."""
    if len(between) < 3 or _COLONS.isdisjoint([word[2] for word in between]):
        return False
    return any(
        word.raw in _COLONS and i >= 2 and between[i - 1].key not in _keys("announce", language)
        for i, word in enumerate(between)
    )


def _has(found: Sequence[Word], name: str, language: str) -> bool:
    return not _keys(name, language).isdisjoint([word[3] for word in found])


def _as_answer(found: Sequence[Word], first: int, last: int, cue: Cue, language: str, behind: bool = False) -> Cue:
    """The cue, turned round in answers: "drusen: none," denies what stands before it, "drusen?" doubts it."""
    closes = last == len(found) or found[last].raw in _CLOSERS
    if found[first].raw == "?":
        glued = first > 0 and found[first - 1].end == found[first].start
        return Cue(after="uncertain") if glued or closes else Cue(before="uncertain")
    if cue is _SIGN:
        glued = last < len(found) and found[last].raw == ")" and found[first - 1].raw == "("
        return Cue(after="absent") if (closes and behind) or glued else Cue()
    if cue.before == "absent" and closes and first > 0 and (behind or found[first - 1].raw in _marks(language)):
        return Cue(after="absent")
    return cue


def _text(found: Sequence[Word], first: int, last: int) -> str:
    return found[first][2] if last == first + 1 else " ".join([word[2] for word in found[first:last]])


@functools.cache
def _keys(name: str, language: str) -> frozenset[str]:
    return frozenset(words(text, language=language)[0].key for text in table("scope", name, language))


@functools.cache
def _joins(language: str) -> frozenset[str]:
    return _keys("join", language) | _keys("or", language)


@functools.cache
def _opens(language: str) -> frozenset[str]:
    return _keys("comma", language) | _keys("join", language)


@functools.cache
def _marks(language: str) -> frozenset[str]:
    return _keys("answer_marks", language)


# A sign that denies only where it closes a part of the sentence directly behind a finding: "drusen -, naevus +".
_SIGN = Cue(after="absent", adjacent=True)


@functools.cache
def _table(language: str) -> PhraseTable[Cue]:
    """All trigger phrases, with both sides of a phrase that works on either."""
    cues: dict[str, Cue] = {}
    written: dict[str, str] = {}

    def of(section: str, name: str) -> Sequence[str]:
        return table(section, name, language)

    def add(phrases: Iterable[str], cue: Cue) -> None:
        for phrase in phrases:
            key = " ".join(word.key for word in words(phrase, language=language))
            written[key] = phrase
            old = cues.get(key, Cue())
            cues[key] = Cue(
                cue.before or old.before,
                cue.after or old.after,
                cue.adjacent or old.adjacent,
                cue.lists or old.lists,
                cue.stop or old.stop,
            )

    add(of("uncertainty", "before"), Cue(before="uncertain"))
    add(of("uncertainty", "lists"), Cue(before="uncertain", lists=True))
    add(of("uncertainty", "after"), Cue(after="uncertain"))
    add(of("negation", "before"), Cue(before="absent"))
    add(of("negation", "after"), Cue(after="absent"))
    pairs = itertools.product(of("negation", "after_openings"), of("negation", "after_states"))
    add((f"{opening} {state}" for opening, state in pairs), Cue(after="absent"))
    add(of("negation", "adjacent"), Cue(before="absent", adjacent=True))
    add(of("scope", "stop"), Cue(stop=True))
    for sign in of("negation", "signs"):
        written[sign], cues[sign] = sign, _SIGN
    for phrase in of("pseudo", "phrases"):
        key = " ".join(word.key for word in words(phrase, language=language))
        written[key], cues[key] = phrase, Cue()
    return PhraseTable(((written[key], cue) for key, cue in cues.items()), language=language)
