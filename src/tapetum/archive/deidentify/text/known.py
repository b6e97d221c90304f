"""What header and table already say of the patient: the strongest rule, for it needs no guessing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from tapetum.archive.deidentify.text.dates import Found
from tapetum.archive.deidentify.text.folding import fold
from tapetum.archive.deidentify.text.lexicon import lexicon
from tapetum.archive.deidentify.text.spans import Span

_TITLES = frozenset(
    [
        "dr",
        "dra",
        "mr",
        "mrs",
        "ms",
        "miss",
        "prof",
        "professor",
        "sr",
        "sra",
        "don",
        "dona",
        "herr",
        "frau",
        "m",
        "mme",
        "md",
        "phd",
        "frcophth",
        "jr",
        "snr",
        "ii",
        "iii",
    ]
)
_PARTICLES = frozenset(
    [
        "de",
        "del",
        "la",
        "las",
        "los",
        "von",
        "van",
        "der",
        "den",
        "di",
        "da",
        "do",
        "dos",
        "du",
        "le",
        "bin",
        "al",
        "el",
        "ibn",
        "y",
        "e",
        "the",
        "of",
        "and",
    ]
)
_GAP = re.compile(
    r"[\s,^.=_'’-]{0,4}(?:(?:[^\W\d_]|de|del|la|las|los|von|van|der|den|di|da|do|dos|du|bin|al|el|y|e)"
    r"(?:[\s.,^-]+|$)){0,3}"
)
_VERBS = re.compile(
    r"\s+(?:is|was|has|had|attend|present|report|complain|den(?:y|ies)|came|return|seen|say|state|underwent|who|"
    r"and|will|did)"
)
_KINDS = {"name": "PERSON", "physician": "PERSON", "phone": "PHONE", "address": "ADDRESS", "institution": "INSTITUTION"}
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_CJK_TITLE = "先生|女士|小姐|同志|大夫|医生|医师|主任|老师|教授|患者|氏|さん|様|씨|님"


@dataclass(frozen=True)
class Dictionary:
    """Compiled patterns of one patient's identifiers.

    Attributes:
        names: key → pattern over folded text for any word of that name. initials: key → first letters of its words.
        exact: (key, kind, pattern over folded text, why). birth: year, month, day of each known date.
    """

    names: tuple[tuple[str, re.Pattern[str]], ...]
    initials: Mapping[str, frozenset[str]]
    exact: tuple[tuple[str, str, re.Pattern[str], str], ...]
    birth: tuple[tuple[int, int, int], ...]


def words_of(name: str) -> list[str]:
    """Folded words of a name, as DICOM or a table writes it; titles left out, parts of compounds apart.

    Example:
        >>> words_of("García-López^José^^Dr")
        ['garcia', 'lopez', 'jose']
    """
    words = re.split(r"[\W\d_]+", fold(name)[0])
    return [word for word in words if word and word not in _TITLES and word not in _PARTICLES]


@lru_cache(maxsize=256)
def dictionary(items: tuple[tuple[str, str], ...]) -> Dictionary:
    """Compile the identifiers of one patient.

    Args:
        items: key and value, sorted, so that equal identifiers compile once.
    """
    names: list[tuple[str, re.Pattern[str]]] = []
    initials: dict[str, frozenset[str]] = {}
    exact: list[tuple[str, str, re.Pattern[str], str]] = []
    birth: list[tuple[int, int, int]] = []
    for key, value in items:
        base = re.sub(r"_\d+$", "", key)
        if not value.strip():
            continue
        if base in ("name", "physician"):
            pattern = _name_pattern(value)
            if pattern:
                names.append((key, re.compile(pattern)))
                initials[key] = frozenset(word[0] for word in words_of(value))
            continue
        if base == "birth_date":
            digits = re.findall(r"\d+", value)
            if len(digits) == 1 and len(digits[0]) >= 8:
                digits = [digits[0][:4], digits[0][4:6], digits[0][6:8]]
            if len(digits) >= 3 and len(digits[0]) == 4:
                birth.append((int(digits[0]), int(digits[1]), int(digits[2])))
                turned = digits[2].zfill(2) + digits[1].zfill(2) + digits[0]
                exact.append((key, "DATE", re.compile(rf"(?<!\d){turned}(?!\d)"), "birth date as eight digits"))
        exact += [
            (key, _KINDS.get(base, "DATE" if base == "birth_date" else "ID"), re.compile(p), why)
            for p, why in _values(base, value)
        ]
    return Dictionary(tuple(names), initials, tuple(exact), tuple(birth))


def _name_pattern(value: str) -> str:
    """A pattern that finds any word of a name in a folded text."""
    words = [word for word in words_of(value) if not _CJK.search(word)]
    compounds = [re.findall(r"[^\W\d_]+", part) for part in re.split(r"[\^\s,=|/]+", fold(value)[0])]
    glued = [r"[\s'’-]?".join(map(re.escape, part)) for part in compounds if len(part) > 1 and len("".join(part)) > 3]
    for part in re.split(r"[\^,=|/]+", fold(value)[0]):
        atoms = re.findall(r"[^\W\d_]+", part)
        first = next((place for place, atom in enumerate(atoms) if atom in _PARTICLES), len(atoms))
        if len(atoms) - first > 1:
            glued.append(r"[\s'’-]{0,2}".join(map(re.escape, atoms[first:])))
    long = sorted({word for word in words if len(word) >= 2}, key=lambda w: (-len(w), w))
    parts = [rf"(?<![^\W\d_]){word}(?![^\W\d_])" for word in [*glued, *map(re.escape, long)]]
    for first in words:
        for second in (word for word in words if word != first and len(word) >= 4):
            one, two = re.escape(first), re.escape(second)
            glued = rf"{one}{two}|{one[0]}{two}|{two}{one[0]}"
            parts += [rf"(?<![^\W\d_])(?:{glued})(?![^\W\d_])"]
    for group in re.split(r"[=|/]", value):
        letters = [part for part in re.split(r"[\^\s,・·]+", fold(group)[0]) if _CJK.search(part)]
        if not letters:
            continue
        family, given = letters[0], "".join(letters[1:])
        if not given and len(family) >= 2:
            size = 2 if len(family) > 3 else 1
            family, given = family[:size], family[size:]
        parts += [
            rf"{re.escape(family)}[\s·・^,，]{{0,2}}{re.escape(given)}",
            rf"{re.escape(given)}[\s·・^,，]{{1,2}}{re.escape(family)}" if given else r"(?!)",
            rf"{re.escape(family)}某?(?=\s?(?:{_CJK_TITLE}))|{re.escape(family)}某+",
        ]
        if len(given) >= 2:
            parts.append(re.escape(given))
    return "|".join(parts)


def _values(base: str, value: str) -> Iterator[tuple[str, str]]:
    """Patterns of a value that is no name: the value itself, loosely spaced, and telling parts of it."""
    plain = fold(value.strip())[0]
    if base == "phone":
        digits = re.sub(r"\D", "", plain)
        if len(digits) >= 6:
            loose = r"[\s()./-]{0,3}".join(digits[-9:])
            yield (
                rf"(?:[+(]?\d[\d\s()./-]{{0,8}})?(?<!\d){loose}(?!\d)|(?:[+(]?\d[\d\s()./-]{{0,8}})?{loose}(?!\d)",
                "telephone number of the patient",
            )
        return
    atoms = re.findall(r"[^\W_]+", plain)
    letters = "".join(atoms)
    if not letters:
        return
    loose = r"[\s\W_]{0,3}".join(re.escape(atom) for atom in atoms)
    edge, close = (r"(?<![^\W_])", r"(?![^\W_])") if letters.isascii() else ("", "")
    if base in ("address", "institution"):
        yield rf"{edge}{loose}{close}", f"{base} of the patient"
        for piece in re.split(r"[,;\n^]+", plain):
            some = re.findall(r"[^\W_]+", piece)
            if len("".join(some)) >= 5 and piece.strip() != plain:
                yield rf"{edge}" + r"[\s\W_]{0,3}".join(map(re.escape, some)) + close, f"part of the {base}"
    elif len(letters) >= 4:
        split = r"[\s._/-]?"
        zero = "0*" if letters.isdigit() else ""
        pattern = loose if len(atoms) > 1 else split.join(re.findall(r"\d+|[^\W\d_]+", letters))
        yield rf"(?<![^\W_]){zero}{pattern}(?![^\W_])", f"{base.replace('_', ' ')} of the patient"
    else:
        cue = r"(?:patient|paciente|mrn|pid|id|no|nr|record|患者|病历号)[\s:：#.=]{1,3}(?:no|id|is|es)?[\s:：#.=]{0,3}"
        yield rf"{cue}(?P<id>{loose})(?![^\W_])", f"short {base.replace('_', ' ')} after a word for it"


def find_known(text: str, identifiers: Mapping[str, str], dates: list[Found]) -> Iterator[Span]:
    """Places where a known identifier stands, however written.

    Args:
        text: the original text.
        identifiers: see `find_identifiers`.
        dates: all dates found in the text, among which the birth date is looked for.
    """
    lists = dictionary(tuple(sorted(identifiers.items())))
    folded, places = fold(text)

    def at(place: int) -> int:
        return places[place] if places else place

    for key, kind, pattern, why in lists.exact:
        for match in pattern.finditer(folded):
            group = "id" if "id" in pattern.groupindex else 0
            yield Span(at(match.start(group)), at(match.end(group) - 1) + 1, kind, why, key)
    for key, pattern in lists.names:
        hits = [(at(m.start()), at(m.end() - 1) + 1, m.group()) for m in pattern.finditer(folded)]
        yield from _names(text, hits, key, lists.initials[key])
    for found in dates:
        open_order = {(found.year, found.first, found.second), (found.year, found.second, found.first)}
        if {(found.year, found.month, found.day), *open_order} & set(lists.birth):
            yield Span(found.start, found.end, "DATE", "birth date of the patient", "birth_date")


def _names(text: str, hits: list[tuple[int, int, str]], key: str, initials: frozenset[str]) -> Iterator[Span]:
    """Join neighbouring words of a name, take initials in, and leave words that are no name where they stand."""
    groups: list[list[tuple[int, int, str]]] = []
    for hit in hits:
        gap = text[groups[-1][-1][1] : hit[0]] if groups else ""
        if groups and (not gap.strip() or not _CJK.search(hit[2])) and _GAP.fullmatch(fold(gap)[0]):
            groups[-1].append(hit)
        else:
            groups.append([hit])
    for group in groups:
        start, end = group[0][0], group[-1][1]
        before = re.search(r"(?<![^\W\d_])((?:[^\W\d_](?:\.[\s-]*|[\s-]+)){1,2})$", text[max(0, start - 6) : start])
        after = re.match(r"[,^]?\s?((?:[A-Z]\.?\s?){1,2})(?![\w+-])", text[end : end + 7])
        lead = (
            bool(before)
            and {fold(letter)[0] for letter in before[1] if letter.isupper()} <= initials
            and any(map(str.isupper, before[1]))
        )
        tail = bool(after) and {fold(letter)[0] for letter in after[1] if letter.isupper()} <= initials
        if len(group) == 1 and not lead and not tail and not _meant(text, start, end, group[0][2]):
            continue
        if before and lead:
            start -= len(before[1])
        if after and tail:
            end += len(after.group().rstrip())
        yield Span(start, end, "PERSON", "name given by header or table", key)


def _meant(text: str, start: int, end: int, word: str) -> bool:
    """Whether a lone word of the name is meant as a name, where it could be a word of the language."""
    lists = lexicon()
    written = text[start:end]
    if len(word) <= 2 and not _CJK.search(word):
        return written[:1].isupper() and (
            written[1:].islower()
            or bool(re.search(r"(?i)\b(?:mr|mrs|ms|dr|patient)\.? ?$", text[max(0, start - 9) : start]))
        )
    if not lists.ordinary(word):
        return True
    if not written[:1].isupper():
        return False
    after = re.match(r"(?:['’]s)?[\s-]+([^\W\d_]+)", text[end:])
    if after and fold(after[1])[0] in lists.heads:
        return False
    if word in ("may", "march", "april", "june", "august") and re.match(r"\.?,?\s?\d", text[end:]):
        return False
    if word in lists.medical and not after:
        return not written.isupper() or len(word) > 3
    starts = not text[:start].strip() or bool(re.search(r"[.!?:;\n]\s*$", text[:start]))
    return not (starts and after and after[1].islower() and not _VERBS.match(text[end:]))
