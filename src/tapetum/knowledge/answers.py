"""What an answer in a form says: yes, no, doubtful, a grade, or nothing at all.

An answer is understood only where it is nothing but an answer ("absent", "few, temporal", "suspected", "R2", "0",
"+/-"); anything else is left to the rules for sentences.
"""

from __future__ import annotations

import functools
from typing import Literal, NamedTuple

from tapetum.knowledge.model import Pack, fold
from tapetum.knowledge.negation import Status
from tapetum.knowledge.phrases import PhraseTable, words
from tapetum.knowledge.rules import load, table

# No answer is longer, in characters and in words.
_WIDEST, _LONGEST = 60, 9
_SKIPPED = frozenset({",", ".", ";", "(", ")", ":", "/", "'", '"', "!", "="})


class Answer(NamedTuple):
    """An answer.

    Attributes:
        status: present, absent or uncertain; None where it says nothing. severity: mild, moderate, … or `""`.
        kind: words that may belong to the finding's name ("soft", "mild"). number: a count or grade, `""` where none.
    """

    status: Status | None
    severity: str = ""
    kind: tuple[str, ...] = ()
    number: str = ""


@functools.lru_cache(maxsize=8192)
def answer(text: str, language: str) -> Answer | None:
    """The meaning of an answer, None where the text is more or something else than an answer.

    Args:
        text: the answer, without its label.
        language: code of the language.

    Example:
        >>> answer("suspected", "en").status, answer("few, soft", "en").kind, answer("microaneurysms", "en")
        ('uncertain', ('few', 'soft'), None)
    """
    text = text.strip()
    if not text or len(text) > _WIDEST:
        return None
    whole = _whole(language).get(text.casefold())
    if whole is not None:
        return Answer(whole or None)
    found = words(text, language=language)
    if len(found) > _LONGEST:
        return None
    at: dict[int, tuple[int, str, str]] = {hit.first: (hit.last, *hit.value) for hit in _table(language).find(found)}
    said: list[str] = []
    kind: list[str] = []
    severity = number = ""
    i = 0
    while i < len(found):
        raw = found[i].raw
        if i in at:
            last, role, value = at[i]
            said.append(role)
            severity = severity or (value if role == "severity" else "")
            kind += [word.raw for word in found[i:last]] if role in {"severity", "beside"} else []
            i = last
            continue
        if raw[0].isdigit():
            if number:
                return None
            number = raw
        elif raw not in _SKIPPED:
            return None
        i += 1
    return _verdict(frozenset(said), severity, tuple(kind), number)


def _verdict(said: frozenset[str], severity: str, kind: tuple[str, ...], number: str) -> Answer | None:
    if "open" in said or (number and not number.isdigit()):
        return Answer(None)
    if "unsure" in said:
        return Answer("uncertain", severity, kind, number)
    if "no" in said:
        return Answer("absent") if not severity and "yes" not in said else None
    if number and not number.strip("0"):
        return Answer("absent", number=number)
    if said & {"yes", "severity", "beside"} or number:
        return Answer("present", severity, kind, number)
    return None


def code(text: str, finding: str, pack: Pack) -> tuple[tuple[str, Status], ...] | None:
    """The findings that a grade's code states or denies ("R2M0"), None where it is no code.

    Args:
        text: the answer.
        finding: what the label names, `""` where it names no finding: then only codes with a letter count.
        pack: the domain pack with its codes.
    """
    found: list[tuple[str, Status]] = []
    for part in _parts(fold(text).replace(" ", "").removeprefix("grade").removeprefix("level").removeprefix("stage")):
        for name, codes in pack.codes.items():
            if part in codes and (name == finding or part[0].isalpha()):
                found.append((codes[part], "present") if codes[part] else (name, "absent"))
                break
        else:
            return None
    return tuple(found) or None


def _parts(text: str) -> list[str]:
    """The codes in one word: "r2m1" is two."""
    parts: list[str] = []
    for i, char in enumerate(text):
        if not parts or (
            char.isalpha() and i and text[i - 1].isdigit() and i + 1 < len(text) and text[i + 1].isdigit()
        ):
            parts.append("")
        parts[-1] += char
    return parts


@functools.cache
def _whole(language: str) -> dict[str, Status | Literal[""]]:
    """Answers as written, signs among them; `""` for one that says nothing."""
    roles: tuple[tuple[str, Status | Literal[""]], ...] = (
        ("open", ""),
        ("yes", "present"),
        ("no", "absent"),
        ("unsure", "uncertain"),
    )
    return {phrase.casefold(): status for role, status in roles for phrase in table("forms", role, language)}


@functools.cache
def _table(language: str) -> PhraseTable[tuple[str, str]]:
    phrases = [
        (phrase, ("severity", name)) for name, forms in load(language).get("severity", {}).items() for phrase in forms
    ]
    for role in ("unsure", "no", "yes", "open", "beside"):
        phrases += [(phrase, (role, "")) for phrase in table("forms", role, language)]
    return PhraseTable(phrases, language=language)
