"""All rules on one text, and the order among them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from tapetum.archive.deidentify.text.dates import Found, find_dates
from tapetum.archive.deidentify.text.known import find_known
from tapetum.archive.deidentify.text.measures import protected
from tapetum.archive.deidentify.text.numbers import find_numbers
from tapetum.archive.deidentify.text.persons import find_persons
from tapetum.archive.deidentify.text.phones import find_phones
from tapetum.archive.deidentify.text.places import find_places
from tapetum.archive.deidentify.text.shapes import find_shapes
from tapetum.archive.deidentify.text.spans import Span, settle

_BLANK = " \t\r\n.,;:'’\"/，。；、"


def find_identifiers(text: str, *, identifiers: Mapping[str, str] | None = None) -> tuple[Span, ...]:
    """Find everything in a text that names a person, and nothing that measures an eye.

    Args:
        text: a report, a comment, a file name; any language, rules for English, Spanish, German, French, Italian,
            Portuguese and Chinese.
        identifiers: what header or table say of the patient: `name`, `birth_date`, `accession`, `phone`, `address`,
            `other_id`, `patient_id`, `physician`, `institution`; further values under `name_2`, ….

    Returns:
        Spans in order, not overlapping, each with its reason. Positions count characters of `text`.

    Example:
        >>> text = "Mrs Okafor, MRN 448201, VA 6/9, IOP 18 mmHg, seen 3 May 2021."
        >>> [(text[s.start:s.end], s.kind) for s in find_identifiers(text)]
        [('Okafor', 'PERSON'), ('448201', 'ID'), ('3 May 2021', 'DATE')]
    """
    return survey(text, identifiers or {})[0]


def survey(text: str, identifiers: Mapping[str, str]) -> tuple[tuple[Span, ...], list[Found]]:
    """`find_identifiers`, and all dates as numbers for whoever wants to move them.

    Args:
        text: any text.
        identifiers: see `find_identifiers`.
    """
    numbers = any(letter.isdigit() for letter in text)
    fences = protected(text) if numbers else []

    def free(span: Span) -> bool:
        return not any(start < span.end and span.start < end for start, end in fences)

    dates = list(find_dates(text))
    found = [*find_known(text, identifiers, dates)] if identifiers else []
    found += find_shapes(text)
    rules = (find_phones, find_numbers, find_places) if numbers else (find_places,)
    for rule in rules:
        found += [span for span, sure in rule(text) if sure or free(span)]
    streets = [span for span in found if span.kind == "ADDRESS"]
    for date in dates:
        if date.why == "year" and any(street.start < date.end and date.start < street.end for street in streets):
            continue
        span = Span(date.start, date.end, "DATE", date.why)
        if date.sure or free(span):
            found.append(span)
    for span in find_persons(text):
        # A name ends where a measurement begins: `Anna C/D 0.6`.
        fence = min((start for start, _ in fences if span.start < start < span.end), default=span.end)
        found.append(replace(span, end=fence))
    return tuple(_tidy(text, settle(found))), dates


def _tidy(text: str, spans: tuple[Span, ...]) -> Iterator[Span]:
    """Without blanks at the ends, without spans of punctuation alone; parts of one address joined."""
    waiting: Span | None = None
    for span in spans:
        wording = text[span.start : span.end]
        start = span.start + len(wording) - len(wording.lstrip(_BLANK))
        end = span.end - len(wording) + len(wording.rstrip(_BLANK))
        if end <= start:
            continue
        trimmed = replace(span, start=start, end=end) if not span.known else span
        if waiting and waiting.kind == trimmed.kind == "ADDRESS" and not text[waiting.end : start].strip(_BLANK):
            waiting = replace(waiting, end=trimmed.end, known=waiting.known or trimmed.known)
            continue
        if waiting:
            yield waiting
        waiting = trimmed
    if waiting:
        yield waiting
