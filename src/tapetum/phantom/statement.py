"""What a phantom report is made of: sentences, what each of them claims, and who wrote them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tapetum.core.types import Laterality
from tapetum.phantom.spec import EyeSpec


@dataclass(frozen=True)
class Fact:
    """One thing a sentence claims.

    Attributes:
        eye: `RIGHT`, `LEFT` or `BOTH`. status: `present`, `absent` or `uncertain`.
    """

    eye: Laterality
    finding: str
    status: str


@dataclass(frozen=True)
class Sentence:
    """A sentence as it stands in the report.

    Attributes:
        facts: the findings it speaks of; empty for history, advice and boilerplate.
        visible: whether a photograph could show that it is true.
    """

    text: str
    facts: tuple[Fact, ...] = ()
    visible: bool = False


@dataclass(frozen=True)
class Report:
    """A visit's report: `text` holds the sentences in their order, with headings between them."""

    style: str
    text: str
    sentences: tuple[Sentence, ...]


@dataclass(frozen=True)
class Seen:
    """What the reader of one eye has before them: spec and all findings with severities."""

    eye: EyeSpec
    findings: Mapping[str, float]


def running(sentences: Iterable[Sentence], between: str = " ") -> str:
    """The sentences one after another."""
    return between.join(sentence.text for sentence in sentences)


def enumerated(items: Iterable[str], last: str = " and ", between: str = ", ") -> str:
    """A list as it is spoken.

    Example:
        >>> enumerated(["drusen", "scars", "a naevus"])
        'drusen, scars and a naevus'
    """
    every = list(items)
    return between.join(every[:-1]) + (last if len(every) > 1 else "") + every[-1] if every else ""
