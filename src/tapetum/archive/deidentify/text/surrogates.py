"""A text with its identifiers replaced by pseudonym, token, shifted date or a plain mark, always the same for one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from typing import Protocol

from tapetum.archive.deidentify.text.dates import DAY, WEEKDAYS, Found, day_first, rewrite
from tapetum.archive.deidentify.text.find import survey
from tapetum.archive.deidentify.text.folding import fold
from tapetum.archive.deidentify.text.spans import Scrubbed, Span

_MONDAY = date(2024, 1, 1)
_MARKS = ("EMAIL", "IBAN", "CARD", "SSN", "IP", "URL", "PHONE", "ADDRESS", "INSTITUTION")


class Names(Protocol):
    """What scrubbing needs of the pseudonyms of an archive."""

    def patient(self, patient_id: str, issuer: str = "") -> str:
        """The pseudonym of a patient."""
        ...

    def date(self, iso: str, patient_id: str) -> str:
        """Another day, the same number of days away for everything of a patient; `unknown` in the basic profile."""
        ...

    def token(self, text: str, kind: str) -> str:
        """A stand-in for any other identifier, the same for the same text."""
        ...


def scrub(text: str, *, identifiers: Mapping[str, str], patient_id: str, pseudonyms: Names) -> Scrubbed:
    """Replace everything that names a person; measurements stay as they are.

    The patient becomes the pseudonym, other people `[NAME …]` with a token, dates move by the patient's days in their
    own shape (`[DATE]` where that would need a guess: basic profile, no year, or an order of day and month that nothing
    in the text settles), numbers become tokens, ages above 89 `90+`, and the rest a mark such as `[PHONE]`.

    Args:
        text: a report, a comment, a file name.
        identifiers: see `find_identifiers`.
        patient_id: as the export gives it; it is looked for as well.
        pseudonyms: of the archive.

    Returns:
        The new text and what was replaced.
    """
    known = {**identifiers, "patient_id": patient_id} if patient_id.strip() else dict(identifiers)
    spans, dates = survey(text, known)
    order = day_first(dates)
    at = {(found.start, found.end): found for found in sorted(dates, key=lambda found: found.year)}
    done: list[Span] = []
    pieces: list[str] = []
    end = 0
    for span in spans:
        found = at.get((span.start, span.end))
        surrogate = _surrogate(text, span, found, order, known, patient_id, pseudonyms)
        done.append(replace(span, surrogate=surrogate))
        pieces += [text[end : span.start], surrogate]
        end = span.end
    return Scrubbed("".join([*pieces, text[end:]]), tuple(done))


def _surrogate(
    text: str,
    span: Span,
    found: Found | None,
    order: bool | None,
    known: Mapping[str, str],
    patient_id: str,
    pseudonyms: Names,
) -> str:
    """What stands in place of one span."""
    wording = text[span.start : span.end]
    if span.kind == "PERSON":
        if re.sub(r"_\d+$", "", span.known) == "name":
            return pseudonyms.patient(patient_id)
        named = known.get(span.known, wording)
        return f"[NAME {pseudonyms.token(_plain(named), 'name')}]"
    if span.kind == "DATE":
        return _date(text, span, found, order, known, patient_id, pseudonyms)
    if span.kind == "ID":
        if span.known == "patient_id" or (patient_id and _plain(wording) == _plain(patient_id)):
            return pseudonyms.patient(patient_id)
        return pseudonyms.token(
            _plain(known.get(span.known, wording)), "accession" if span.known.startswith("accession") else "id"
        )
    if span.kind == "AGE":
        return "90+"
    return f"[{span.kind}]"


def _plain(text: str) -> str:
    """Letters and digits only, folded, so that spellings of one identifier share one token."""
    return " ".join(re.findall(r"[^\W_]+", fold(text)[0]))


def _date(
    text: str,
    span: Span,
    found: Found | None,
    order: bool | None,
    known: Mapping[str, str],
    patient_id: str,
    pseudonyms: Names,
) -> str:
    """The date some days away in the same shape, or the mark."""

    def shift(day: date) -> date | None:
        moved = pseudonyms.date(day.isoformat(), patient_id)
        return None if moved == "unknown" else date.fromisoformat(moved)

    if found is None:
        return "[DATE]"
    if found.weekday >= 0:
        moved = shift(_MONDAY + timedelta(days=found.weekday))
        return _weekday(text[span.start : span.end], moved) if moved else "[DATE]"
    if found.first and order is None and span.known:
        order = _known_order(found, known)
    return rewrite(text, found, shift, order=order) or "[DATE]"


def _known_order(found: Found, known: Mapping[str, str]) -> bool | None:
    """The order of day and month that makes a date the known birth date."""
    birth = re.findall(r"\d+", known.get("birth_date", ""))
    if len(birth) == 1:
        birth = [birth[0][:4], birth[0][4:6], birth[0][6:8]]
    if len(birth) < 3:
        return None
    return (int(birth[1]), int(birth[2])) == (found.second, found.first)


def _weekday(wording: str, moved: date) -> str:
    """The name of another day of the week in the language of the old one; the mark where it has none here."""
    plain = fold(wording)[0]
    if plain not in DAY:
        return "[DATE]"
    column, row = list[str](WEEKDAYS[DAY[plain]]).index(plain), WEEKDAYS[moved.weekday()]
    name = row[min(column, len(row) - 1)]
    return name.upper() if wording.isupper() else name.capitalize() if wording[:1].isupper() else name
