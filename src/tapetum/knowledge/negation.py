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
from tapetum.knowledge.rules import english, table
from tapetum.knowledge.sentences import sentence_at

Status = Literal["present", "absent", "uncertain"]


@dataclass(frozen=True)
class Cue:
    """What a phrase does: `before` and `after` are the statuses it gives to a finding on that side of it."""

    before: Status | None = None
    after: Status | None = None
    adjacent: bool = False
    stop: bool = False


class Trigger(NamedTuple):
    """A cue at words `first` up to `last` of a sentence."""

    first: int
    last: int
    cue: Cue
    text: str


class Verdict(NamedTuple):
    """A status with the rule that decided, in words."""

    status: Status
    why: str


def status_at(text: str, start: int, end: int) -> Verdict:
    """Whether the text states, denies or leaves open the concept at `text[start:end]`; no lexicon is used.

    Args:
        text: a sentence or a longer text; only the concept's own sentence counts.
        start: first character of the concept, whose own words are no triggers.
        end: the character after it.

    Raises:
        UsageError: the place is empty or outside the text.

    Example:
        >>> status_at("No sign of glaucoma.", 11, 19).status
        'absent'
    """
    if not 0 <= start < end <= len(text):
        raise UsageError(f"no concept at {start}:{end} in a text of {len(text)} characters", "0 ≤ start < end ≤ length")
    low, high = sentence_at(text, start, end)
    inside = words(text, low, high)
    places = [i for i, word in enumerate(inside) if word.end > start and word.start < end]
    if not places:
        return Verdict("present", "no words at this place")
    first, last = places[0], places[-1] + 1
    # Masked first, so that a negation inside the concept cannot join a phrase outside of it.
    masked = [*inside[:first], *(Word(w.start, w.end, "\x00", "\x00") for w in inside[first:last]), *inside[last:]]
    return decide(masked, triggers(masked), first, last)


def negated(text: str, start: int, end: int) -> bool:
    """Whether the text denies the concept at `text[start:end]`; doubt is not denial.

    Raises:
        UsageError: the place is empty or outside the text.

    Example:
        >>> negated("Drusen but no haemorrhage", 14, 25)
        True
    """
    return status_at(text, start, end).status == "absent"


def triggers(found: Sequence[Word], taken: Iterable[tuple[int, int]] = ()) -> list[Trigger]:
    """The triggers of a sentence, from left to right.

    Args:
        found: the sentence's words.
        taken: places of findings, whose own words ("no retinal abnormality") trigger nothing.
    """
    occupied = {i for first, last in taken for i in range(first, last)}
    hits = [hit for hit in _table().find(found) if not occupied.intersection(range(hit.first, hit.last))]
    return [
        Trigger(
            hit.first, hit.last, _as_answer(found, hit.first, hit.last, hit.value), _text(found, hit.first, hit.last)
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
) -> Verdict:
    """The status of the finding at words `first` up to `last`.

    Args:
        found: the sentence's words.
        cues: its triggers.
        first: the finding's first word.
        last: the word after it.
        breaks: places where every scope ends because another eye is spoken of.
    """
    if not cues:
        return Verdict("present", "stated; no denial or doubt in its sentence")
    forward = _from_before(found, cues, first, breaks)
    backward = _from_after(found, cues, last, breaks)
    if backward and (not forward or (forward.status == "absent" and backward.status == "uncertain")):
        return backward
    return forward or Verdict("present", "stated; no denial or doubt reaches it")


def _from_before(found: Sequence[Word], cues: Sequence[Trigger], first: int, breaks: frozenset[int]) -> Verdict | None:
    nearest: Trigger | None = None
    for cue in reversed([cue for cue in cues if cue.last <= first]):
        edge = nearest.first if nearest else first
        if cue.cue.stop or any(cue.last <= place <= edge for place in breaks):
            break
        status = cue.cue.before
        if status is None:
            continue
        between = found[cue.last : first]
        if nearest is not None:
            gap = between[: edge - cue.last]
            if len(gap) <= 2 and not _has(gap, "comma") and not _has(gap, "join"):
                nearest = cue
            break
        if cue.cue.adjacent and len(between) > english()["scope"]["adjacent_reach"]:
            continue
        if cue.text == "?" and len(between) > 1:
            continue
        if status == "uncertain" and (_has(between, "comma") or len(between) > english()["scope"]["uncertain_reach"]):
            continue
        if status == "absent" and _restarts(found, cue.last, first):
            break
        nearest = cue
    if nearest is None or nearest.cue.before is None:
        return None
    return Verdict(nearest.cue.before, f"{nearest.cue.before}: {nearest.text!r} stands before it")


def _from_after(found: Sequence[Word], cues: Sequence[Trigger], last: int, breaks: frozenset[int]) -> Verdict | None:
    for cue in (cue for cue in cues if cue.first >= last):
        if cue.cue.stop or any(last <= place < cue.last for place in breaks):
            return None
        if cue.cue.after is None:
            if cue.cue.before is not None:
                return None
            continue
        between = found[last : cue.first]
        if len(between) > english()["scope"]["after_reach"] or (cue.text == "?" and len(between) > 1):
            return None
        if any(word.key in _keys("affirm") for word in between):
            return None
        commas = [i for i, word in enumerate(between) if word.key in _keys("comma")]
        if commas and not any(word.key in _keys("join") | _keys("or") for word in between[commas[-1] :]):
            return None
        return Verdict(cue.cue.after, f"{cue.cue.after}: {cue.text!r} stands after it")
    return None


def _restarts(found: Sequence[Word], start: int, stop: int) -> bool:
    """Whether a new statement starts between a denial and the finding: ", mild …" with no "or" to follow."""
    for i in range(start + 1, stop):
        opens = found[i].key in _keys("comma") | _keys("join")
        if opens and i + 1 < len(found) and found[i + 1].key in _keys("restart"):
            rest = found[i + 1 :]
            return not any(word.key in _keys("or") for word in rest)
    return False


def _has(found: Sequence[Word], name: str) -> bool:
    return any(word.key in _keys(name) for word in found)


def _as_answer(found: Sequence[Word], first: int, last: int, cue: Cue) -> Cue:
    """The cue, turned round in answers: "drusen: none," denies what stands before it, "drusen?" doubts it."""
    closes = last == len(found) or found[last].raw in {",", ";", ".", ")", "，", "。", "、"}
    if found[first].raw == "?":
        glued = first > 0 and found[first - 1].end == found[first].start
        return Cue(after="uncertain") if glued or closes else Cue(before="uncertain")
    if cue.before == "absent" and closes and first > 0 and found[first - 1].raw in _keys("answer_marks"):
        return Cue(after="absent")
    return cue


def _text(found: Sequence[Word], first: int, last: int) -> str:
    return " ".join(word.raw for word in found[first:last])


@functools.cache
def _keys(name: str) -> frozenset[str]:
    return frozenset(words(text)[0].key for text in table("scope", name))


@functools.cache
def _table() -> PhraseTable[Cue]:
    """All trigger phrases, with both sides of a phrase that works on either."""
    cues: dict[str, Cue] = {}

    def add(phrases: Iterable[str], cue: Cue) -> None:
        for phrase in phrases:
            key = " ".join(word.key for word in words(phrase))
            old = cues.get(key, Cue())
            cues[key] = Cue(
                cue.before or old.before, cue.after or old.after, cue.adjacent or old.adjacent, cue.stop or old.stop
            )

    add(table("uncertainty", "before"), Cue(before="uncertain"))
    add(table("uncertainty", "after"), Cue(after="uncertain"))
    add(table("negation", "before"), Cue(before="absent"))
    add(table("negation", "after"), Cue(after="absent"))
    pairs = itertools.product(table("negation", "after_openings"), table("negation", "after_states"))
    add((f"{opening} {state}" for opening, state in pairs), Cue(after="absent"))
    add(table("negation", "adjacent"), Cue(before="absent", adjacent=True))
    add(table("scope", "stop"), Cue(stop=True))
    for phrase in table("pseudo", "phrases"):
        cues[" ".join(word.key for word in words(phrase))] = Cue()
    return PhraseTable(cues.items())
