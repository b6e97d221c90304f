"""Which eye a statement speaks of: the words for an eye, and the eye of each finding of a sentence."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from tapetum.core.types import Laterality
from tapetum.knowledge.rules import ENGLISH, table

_NOUN = (
    r"(?:\s+(?:optic|ocular|posterior|dilated|colou?r|peripheral|central))*\s+"
    r"(?:eyes?|fund(?:us|i)|dis[ck]s?|nerve|nerve\s+head|macul\w+|retina\w*|pole|lens(?:es)?|vitreous|side|globe|photographs?|images?)"
)
# Directions within one eye, and the verb "left", are no eyes.
_NOT_BEFORE = r"(?<!to the )(?<!upper )(?<!lower )(?<!was )(?<!were )(?<!been )(?<!be )(?<!is )(?<!are )(?<!has )"
_NOT_AFTER = r"(?!\s+(?:of|untreated|alone|over|behind|angles?|away|now|after|upper|lower|arm|leg|hand|untouched)\b)"
# A letter alone is an eye where a part of a sentence begins or ends with it: "R drusen, L clear", "drusen R, none L".
_LETTER = r"(?:(?<![^\r\n])|(?<=[.;,]\s)){0}(?=\s+[a-zA-Z?]{{2}})|(?<=[a-z]\s){0}(?=\s*(?:[,;)\r\n]|\.?\s*\Z))"
# (pattern, eye, capitals matter), tried in this order at each place; the first that fits wins.
PATTERNS: tuple[tuple[str, str, bool], ...] = (
    (rf"\b(?:both|each|either|neither)(?:\s+of\s+(?:the|his|her))?{_NOUN}\b", "OU", False),
    (r"\b(?:bilateral(?:ly)?|binocular(?:ly)?|in\s+both)\b", "OU", False),
    (
        r"\b(?:right|left)(?:\s+eyes?)?\s*(?:and|&|/|\+|or)\s*(?:the\s+)?(?:right|left)\b(?:\s+eyes?)?+(?!\w|\s+(?:is|has|shows|was)\b)",
        "OU",
        False,
    ),
    (r"\b(?:OD|OS|RE|LE|R|L)\s*(?:and|&|/|\+|>|<|=|≥|≤)\s*(?:OD|OS|RE|LE|R|L)\b", "OU", True),
    (r"\bO\.?U\b\.?", "OU", True),
    (r"\bou\b", "OU", False),
    (r"\bB/?E\b|\b(?:[Bb]/[Ll]|[Bb]ilat)\b\.?", "OU", True),
    (rf"\bright{_NOUN}\b|{_NOT_BEFORE}\bright\b{_NOT_AFTER}", "OD", False),
    (rf"\bleft{_NOUN}\b|{_NOT_BEFORE}\bleft\b{_NOT_AFTER}", "OS", False),
    (r"\bO\.\s?D\b\.?|\bod\b(?!\s*=)", "OD", False),
    (r"\bO\.\s?S\b\.?|\bos\b", "OS", False),
    (rf"\bR[./]?E\b\.?|\(R\)|\b[Rr]t\b\.?(?:\s+eye\b)?|\bR\s+eye\b|{_LETTER.format('R')}", "OD", True),
    (rf"\bL[./]?E\b\.?|\(L\)|\b[Ll]t\b\.?(?:\s+eye\b)?|\bL\s+eye\b|{_LETTER.format('L')}", "OS", True),
    (rf"\b(?:fellow|other|contralateral|opposite){_NOUN}\b", "other", False),
    (rf"\b(?:same|ipsilateral){_NOUN}\b", "same", False),
)
_EVERY = "|".join(f"({pattern if exact else f'(?i:{pattern})'})" for pattern, _, exact in PATTERNS)
# The look-ahead refuses most places at once; without it the eyes cost more than all the rest of the parser.
_EYE = re.compile(rf"(?<!\w)(?=[benirlofcsBENIRLOFCS(])(?:{_EVERY})")
_NAMES = tuple(name for _, name, _ in PATTERNS)
# Words end where no Latin letter follows; a Chinese character beside it is no part of "OD".
_EDGE = ("(?<![A-Za-zÀ-ÿ])", "(?![A-Za-zÀ-ÿ])")
_OPPOSITE = {Laterality.RIGHT: Laterality.LEFT, Laterality.LEFT: Laterality.RIGHT}


# Without one of these words no pattern fits; looking them up costs a tenth of the patterns.
_LETTERS = re.compile(r"[A-Za-z]+")
_ANY_CASE = frozenset(
    {
        "both",
        "each",
        "either",
        "neither",
        "bilat",
        "bilateral",
        "bilaterally",
        "binocular",
        "binocularly",
        "right",
        "left",
        "o",
        "od",
        "os",
        "ou",
        "fellow",
        "other",
        "contralateral",
        "opposite",
        "same",
        "ipsilateral",
    }
)
_CAPITALS = frozenset({"RE", "LE", "BE", "B", "b", "R", "L", "Rt", "Lt", "rt", "lt"})


class _Opens(dict[str, bool]):
    """What stands between two blanks → whether an eye may start in it; forgets everything when it is full."""

    def __missing__(self, chunk: str) -> bool:
        if len(self) >= _REMEMBERED:
            self.clear()
        every = _LETTERS.findall(chunk)
        opens = self[chunk] = any(word.lower() in _ANY_CASE or word in _CAPITALS for word in every)
        return opens


_REMEMBERED = 65536
_OPENS = _Opens()


@dataclass(frozen=True)
class _Words:
    """A language's words for the eyes and about them, compiled.

    Attributes:
        eye: finds an eye; its group number less one is the place in `names`.
        opening: what may stand before the eye that opens a sentence. turn: what ends just before the next eye.
        verb: what may follow an eye. separator: parts of a sentence lie between these.
    """

    eye: re.Pattern[str]
    names: tuple[str, ...]
    opening: re.Pattern[str]
    turn: re.Pattern[str]
    verb: re.Pattern[str]
    separator: re.Pattern[str]


@functools.cache
def _words(language: str) -> _Words:
    if language == ENGLISH:
        return _Words(
            _EYE,
            _NAMES,
            re.compile(r"[\s\d.)(\-–•*]*(?:(?:in|of|on|for)\s+)?(?:the|his|her)?\s*", re.IGNORECASE),
            re.compile(
                r"(?:[,，]|\b(?:and|but|while|whereas)\b)[\s,]*(?:(?:and|but|while|whereas|in|the)\s+)*\Z",
                re.IGNORECASE,
            ),
            re.compile(
                r"\s*(?:is|are|was|were|shows?|showed|has|had|appears?|looks|reveals|demonstrates|with|:)\b",
                re.IGNORECASE,
            ),
            re.compile(r"[,;，；]|\b(?:and|but|while|whereas|with)\b", re.IGNORECASE),
        )
    names = tuple(name for name in ("OU", "OD", "OS", "other", "same") if table("eyes", name, language))
    every = "|".join(f"({eye_pattern(table('eyes', name, language))})" for name in names)
    separator = rf"[,;，；、]|{_any(table('eyes', 'separator', language))}"
    lead = _any(table("eyes", "opening", language))
    return _Words(
        re.compile(every or r"(?!)"),
        names,
        re.compile(rf"[\s\d.)(\-–•*、．）（]*(?:{lead}\s*)*"),
        re.compile(rf"(?:{separator})[\s,，]*(?:(?:{separator}|{lead})\s*)*\Z"),
        re.compile(rf"\s*(?:{_any(table('eyes', 'verb', language))}|[:：])"),
        re.compile(separator),
    )


def eye_pattern(entries: Sequence[str]) -> str:
    """One pattern for the entries of a table of eyes: whole words, in capitals where an entry holds no small letter."""
    every: list[str] = []
    for entry in entries:
        spaced = entry.replace(" ", r"\s+")
        pattern = f"(?:{spaced})" if entry.isupper() else f"(?i:{spaced})"
        latin = entry[-1].isascii() or entry[-1] < "\u2e80"
        every.append(rf"{_EDGE[0]}{pattern}{_EDGE[1]}" if latin else pattern)
    return "|".join(every)


def _any(entries: Sequence[str]) -> str:
    return f"(?:{eye_pattern(entries)})" if entries else r"(?!)"


class Eye(NamedTuple):
    """An eye named in the text, with its place in characters."""

    start: int
    end: int
    side: Laterality


def eyes(
    text: str,
    start: int = 0,
    end: int | None = None,
    before: Laterality = Laterality.UNKNOWN,
    language: str = ENGLISH,
) -> list[Eye]:
    """The eyes named in `text[start:end]`, in order.

    Args:
        text: the report.
        start: first character that is searched.
        end: first character that is not; the text's end by default.
        before: the eye spoken of last, to which "the other eye" is the other; unknown leaves it unknown.
        language: code of the language.

    Example:
        >>> [eye.side.value for eye in eyes("Right eye clear, fellow eye hazy")]
        ['OD', 'OS']
    """
    if language == ENGLISH and not names_eye(text, start, len(text) if end is None else end):
        return []
    found: list[Eye] = []
    last = before
    known = _words(language)
    for match in known.eye.finditer(text, start, len(text) if end is None else end):
        named = known.names[(match.lastindex or 1) - 1]
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


def names_eye(text: str, start: int, end: int) -> bool:
    """Whether an English word that may stand for an eye stands in `text[start:end]`: a quick answer for most texts."""
    return any(map(_OPENS.__getitem__, text[start:end].split(" ")))


def last_eye(text: str, start: int, end: int) -> int:
    """No word that may stand for an eye starts here or later in `text[start:end]`; `start` where there is none."""
    chunks = text[start:end].split(" ")
    opens = list(map(_OPENS.__getitem__, chunks))
    if True not in opens:
        return start
    behind = chunks[len(opens) - opens[::-1].index(True) :]
    return end - sum(map(len, behind)) - len(behind)


def combined(sides: Sequence[Laterality]) -> Laterality:
    """One value for several eyes named together: the eye, both, or unknown where none was named."""
    named = set(sides) - {Laterality.UNKNOWN}
    if not named:
        return Laterality.UNKNOWN
    return named.pop() if len(named) == 1 else Laterality.BOTH


def eye_of(
    text: str, low: int, high: int, named: Sequence[Eye], start: int, end: int, language: str = ENGLISH
) -> tuple[Laterality, str]:
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
        language: code of the language.
    """
    a, b = part(text, low, high, start, end, language)
    own = [eye for eye in named if eye.start >= a and eye.end <= b]
    if own:
        return combined(
            [eye.side for eye in own]
        ), f"{text[own[0].start : own[0].end]!r} stands in the same part of the sentence"
    back = [eye for eye in named if eye.end <= start]
    ahead = [eye for eye in named if eye.start >= end]
    chosen = (
        (back[-1] if back else ahead[0])
        if opens_with_eye(text, low, named, language)
        else (ahead[0] if ahead else back[-1])
    )
    return chosen.side, f"{text[chosen.start : chosen.end]!r} is the eye of this part of the sentence"


def opens_with_eye(text: str, low: int, named: Sequence[Eye], language: str = ENGLISH) -> bool:
    """Whether the sentence starts with its eye ("Right eye …", "In the left eye …"), to which the rest then belongs."""
    return bool(named) and _words(language).opening.fullmatch(text, low, named[0].start) is not None


def turns(text: str, named: Sequence[Eye], low: int, language: str = ENGLISH) -> list[tuple[int, int]]:
    """Where a sentence that goes through the eyes in turn ("OD normal, OS drusen") can be cut in two.

    Returns:
        Pairs: end of the one statement, start of the next, which is its eye.
    """
    found: list[tuple[int, int]] = []
    leading = opens_with_eye(text, low, named, language)
    start = named[0].end if leading else low
    for one, two in pairwise(named):
        link = _words(language).turn.search(text, one.end, two.start)
        if one.side is two.side or link is None or not text[start : link.start()].strip(" :-,"):
            continue
        if leading or _words(language).verb.match(text, two.end):
            found.append((link.start(), two.start))
            start = two.end
    return found


def breaks(text: str, low: int, high: int, named: Sequence[Eye], language: str = ENGLISH) -> list[int]:
    """Places, in characters, where a sentence turns from one eye to another and every scope ends."""
    if len({eye.side for eye in named}) < 2:
        return []
    places: list[int] = []
    leading = opens_with_eye(text, low, named, language)
    for one, two in pairwise(named):
        marks = [match.start() for match in _words(language).separator.finditer(text, one.end, two.start)]
        if one.side is not two.side and marks:
            places.append(marks[-1] if leading else marks[0])
    return places


def part(text: str, low: int, high: int, start: int, end: int, language: str = ENGLISH) -> tuple[int, int]:
    """The part of the sentence around `start:end` between commas, "and", "but" and "while"."""
    a, b = low, high
    for first, last in _separators(text, low, high, language):
        if last <= start:
            a = last
        elif first >= end:
            return a, first
    return a, b


def parted(text: str, low: int, high: int, language: str = ENGLISH) -> bool:
    """Whether a part of the sentence ends in `text[low:high]`."""
    return _words(language).separator.search(text, low, high) is not None


@functools.lru_cache(maxsize=16)
def _separators(text: str, low: int, high: int, language: str) -> tuple[tuple[int, int], ...]:
    """Places of the separators of a sentence; asked for again for each of its findings."""
    return tuple(mark.span() for mark in _words(language).separator.finditer(text, low, high))
