"""Which eye a statement speaks of: the words for an eye, and the eye of each finding of a sentence."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from tapetum.core.types import Laterality

_NOUN = (
    r"(?:\s+(?:optic|ocular|posterior|dilated|colou?r|peripheral|central))*\s+"
    r"(?:eyes?|fund(?:us|i)|dis[ck]s?|nerve|nerve\s+head|macul\w+|retina\w*|pole|lens(?:es)?|vitreous|side|globe|photographs?|images?)"
)
# Directions within one eye, and the verb "left", are no eyes.
_NOT_BEFORE = r"(?<!to the )(?<!upper )(?<!lower )(?<!was )(?<!were )(?<!been )(?<!be )(?<!is )(?<!are )(?<!has )"
_NOT_AFTER = r"(?!\s+(?:of|untreated|alone|over|behind|angles?|away|now|after|upper|lower|arm|leg|hand|untouched)\b)"
# (pattern, eye, capitals matter), tried in this order at each place; the first that fits wins.
PATTERNS: tuple[tuple[str, str, bool], ...] = (
    (rf"\b(?:both|each|either|neither)(?:\s+of\s+(?:the|his|her))?{_NOUN}\b", "OU", False),
    (r"\b(?:bilateral(?:ly)?|binocular(?:ly)?|in\s+both)\b", "OU", False),
    (
        r"\b(?:right|left)(?:\s+eyes?)?\s*(?:and|&|/|\+|or)\s*(?:the\s+)?(?:right|left)\b(?:\s+eyes?)?+(?!\w|\s+(?:is|has|shows|was)\b)",
        "OU",
        False,
    ),
    (r"\b(?:OD|OS|RE|LE)\s*(?:and|&|/|\+|>|<|=|≥|≤)\s*(?:OD|OS|RE|LE)\b", "OU", True),
    (r"\bO\.?U\b\.?", "OU", True),
    (r"\bou\b", "OU", False),
    (r"\bB/?E\b", "OU", True),
    (rf"\bright{_NOUN}\b|{_NOT_BEFORE}\bright\b{_NOT_AFTER}", "OD", False),
    (rf"\bleft{_NOUN}\b|{_NOT_BEFORE}\bleft\b{_NOT_AFTER}", "OS", False),
    (r"\bO\.\s?D\b\.?|\bod\b(?!\s*=)", "OD", False),
    (r"\bO\.\s?S\b\.?|\bos\b", "OS", False),
    (r"\bR[./]?E\b\.?|\(R\)|\bRt\.?\s+eye\b|\bR\s+eye\b", "OD", True),
    (r"\bL[./]?E\b\.?|\(L\)|\bLt\.?\s+eye\b|\bL\s+eye\b", "OS", True),
    (rf"\b(?:fellow|other|contralateral|opposite){_NOUN}\b", "other", False),
    (rf"\b(?:same|ipsilateral){_NOUN}\b", "same", False),
)
_EVERY = "|".join(f"({pattern if exact else f'(?i:{pattern})'})" for pattern, _, exact in PATTERNS)
# The look-ahead refuses most places at once; without it the eyes cost more than all the rest of the parser.
_EYE = re.compile(rf"(?<!\w)(?=[benirlofcsBENIRLOFCS(])(?:{_EVERY})")
_OPPOSITE = {Laterality.RIGHT: Laterality.LEFT, Laterality.LEFT: Laterality.RIGHT}
_OPENING = re.compile(r"[\s\d.)(\-–•*]*(?:(?:in|of|on|for)\s+)?(?:the|his|her)?\s*", re.IGNORECASE)
_TURN = re.compile(
    r"(?:[,，]|\b(?:and|but|while|whereas)\b)[\s,]*(?:(?:and|but|while|whereas|in|the)\s+)*\Z", re.IGNORECASE
)
_VERB = re.compile(
    r"\s*(?:is|are|was|were|shows?|showed|has|had|appears?|looks|reveals|demonstrates|with|:)\b", re.IGNORECASE
)
_SEPARATOR = re.compile(r"[,;，；]|\b(?:and|but|while|whereas|with)\b", re.IGNORECASE)


class Eye(NamedTuple):
    """An eye named in the text, with its place in characters."""

    start: int
    end: int
    side: Laterality


def eyes(text: str, start: int = 0, end: int | None = None, before: Laterality = Laterality.UNKNOWN) -> list[Eye]:
    """The eyes named in `text[start:end]`, in order.

    Args:
        text: the report.
        start: first character that is searched.
        end: first character that is not; the text's end by default.
        before: the eye spoken of last, to which "the other eye" is the other; unknown leaves it unknown.

    Example:
        >>> [eye.side.value for eye in eyes("Right eye clear, fellow eye hazy")]
        ['OD', 'OS']
    """
    found: list[Eye] = []
    last = before
    for match in _EYE.finditer(text, start, len(text) if end is None else end):
        named = PATTERNS[(match.lastindex or 1) - 1][1]
        if match.group() == "BE" and text[start:end].isupper():
            continue
        if named == "other":
            side = _OPPOSITE.get(last, Laterality.UNKNOWN)
        elif named == "same":
            side = last
        else:
            side = Laterality(named)
        if side is not Laterality.UNKNOWN:
            last = side
            found.append(Eye(match.start(), match.end(), side))
    return found


def combined(sides: Sequence[Laterality]) -> Laterality:
    """One value for several eyes named together: the eye, both, or unknown where none was named."""
    named = set(sides) - {Laterality.UNKNOWN}
    if not named:
        return Laterality.UNKNOWN
    return named.pop() if len(named) == 1 else Laterality.BOTH


def eye_of(text: str, low: int, high: int, named: Sequence[Eye], start: int, end: int) -> tuple[Laterality, str]:
    """The eye of a finding at `start:end` within the sentence `low:high`, and the rule that decided.

    The finding's own part of the sentence (between commas, "and", "but") counts first. Otherwise the order of the
    sentence does: "right eye: A, B; left eye: C" looks back for the eye, "A and B in the right eye, C in the left"
    looks ahead.

    Args:
        text: the report.
        low: start of the sentence.
        high: its end.
        named: the eyes of this sentence, from `eyes`; must not be empty.
        start: start of the finding.
        end: its end.
    """
    a, b = part(text, low, high, start, end)
    own = [eye for eye in named if eye.start >= a and eye.end <= b]
    if own:
        return combined(
            [eye.side for eye in own]
        ), f"{text[own[0].start : own[0].end]!r} stands in the same part of the sentence"
    back = [eye for eye in named if eye.end <= start]
    ahead = [eye for eye in named if eye.start >= end]
    chosen = (back[-1] if back else ahead[0]) if opens_with_eye(text, low, named) else (ahead[0] if ahead else back[-1])
    return chosen.side, f"{text[chosen.start : chosen.end]!r} is the eye of this part of the sentence"


def opens_with_eye(text: str, low: int, named: Sequence[Eye]) -> bool:
    """Whether the sentence starts with its eye ("Right eye …", "In the left eye …"), to which the rest then belongs."""
    return bool(named) and _OPENING.fullmatch(text, low, named[0].start) is not None


def turns(text: str, named: Sequence[Eye], low: int) -> list[tuple[int, int]]:
    """Where a sentence that goes through the eyes in turn ("OD normal, OS drusen") can be cut in two.

    Returns:
        Pairs: end of the one statement, start of the next, which is its eye.
    """
    found: list[tuple[int, int]] = []
    leading = opens_with_eye(text, low, named)
    start = named[0].end if leading else low
    for one, two in pairwise(named):
        link = _TURN.search(text, one.end, two.start)
        if one.side is two.side or link is None or not text[start : link.start()].strip(" :-,"):
            continue
        if leading or _VERB.match(text, two.end):
            found.append((link.start(), two.start))
            start = two.end
    return found


def breaks(text: str, low: int, high: int, named: Sequence[Eye]) -> list[int]:
    """Places, in characters, where a sentence turns from one eye to another and every scope ends."""
    if len({eye.side for eye in named}) < 2:
        return []
    places: list[int] = []
    leading = opens_with_eye(text, low, named)
    for one, two in pairwise(named):
        marks = [match.start() for match in _SEPARATOR.finditer(text, one.end, two.start)]
        if one.side is not two.side and marks:
            places.append(marks[-1] if leading else marks[0])
    return places


def part(text: str, low: int, high: int, start: int, end: int) -> tuple[int, int]:
    """The part of the sentence around `start:end` between commas, "and", "but" and "while"."""
    marks = list(_SEPARATOR.finditer(text, low, high))
    a = max((mark.end() for mark in marks if mark.end() <= start), default=low)
    b = min((mark.start() for mark in marks if mark.start() >= end), default=high)
    return a, b
