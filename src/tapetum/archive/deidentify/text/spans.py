"""What was found in a text, and how overlapping findings are settled."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

# Who wins where two findings overlap: the greater number, then the longer, then the earlier.
RANK = {
    "KNOWN": 10,
    "EMAIL": 9,
    "URL": 8,
    "IBAN": 7,
    "CARD": 7,
    "SSN": 7,
    "IP": 7,
    "DATE": 6,
    "PHONE": 5,
    "ID": 4,
    "AGE": 4,
    "ADDRESS": 3,
    "INSTITUTION": 3,
    "PERSON": 2,
}


@dataclass(frozen=True)
class Span:
    """One identifier in a text.

    Attributes:
        start: first character, counted in the original text. end: one past the last.
        kind: `PERSON`, `PHONE`, `DATE`, `EMAIL`, `IBAN`, `CARD`, `SSN`, `IP`, `URL`, `ID`, `ADDRESS`,
            `INSTITUTION` or `AGE` (above 89).
        why: the rule that found it, in words.
        known: the key of `identifiers` whose value this is; empty for what only a rule has found.
        surrogate: what stands in its place after scrubbing; empty before.
    """

    start: int
    end: int
    kind: str
    why: str
    known: str = ""
    surrogate: str = ""

    @property
    def rank(self) -> int:
        """Precedence where spans overlap."""
        return RANK["KNOWN"] if self.known else RANK[self.kind]


@dataclass(frozen=True)
class Scrubbed:
    """A text without its identifiers.

    Attributes:
        text: with surrogates. spans: what was replaced, in order; positions refer to the original text.
    """

    text: str
    spans: tuple[Span, ...]


def settle(candidates: Iterable[Span]) -> tuple[Span, ...]:
    """Choose spans that do not overlap: highest rank, longest, earliest; what sticks out of a loser stays covered.

    Args:
        candidates: in any order; the result does not depend on it.

    Returns:
        Spans in the order of the text. A beaten span that reaches beyond its victor keeps the part that it alone
        covers, so that settling never uncovers a character.
    """
    order = sorted(set(candidates), key=lambda s: (-s.rank, s.start - s.end, s.start, s.kind, s.why, s.known))
    chosen: list[Span] = []
    for span in order:
        rests = [span]
        for other in chosen:
            rests = [part for rest in rests for part in _without(rest, other)]
        chosen += rests
    return tuple(sorted(chosen, key=lambda s: s.start))


def _without(span: Span, other: Span) -> list[Span]:
    """What is left of a span beside another."""
    if span.end <= other.start or other.end <= span.start:
        return [span]
    parts: list[Span] = []
    if span.start < other.start:
        parts.append(replace(span, end=other.start))
    if other.end < span.end:
        parts.append(replace(span, start=other.end))
    return parts
