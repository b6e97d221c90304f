"""Reports that come as DICOM objects, joined to the images they speak of.

An object's text goes to the images of its study; without a study, to those of the same patient and day, if they are of
one study. Where the patient differs, or nothing fits, the report is refused and joined to nothing. Several reports
of one study stand one after the other in the order of their time.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tapetum.archive import fields
from tapetum.archive.dicom import values
from tapetum.archive.dicom.classes import document_name
from tapetum.archive.dicom.header import date_of, identifiers_of
from tapetum.archive.rows import Note, Refusal, Row
from tapetum.archive.sandbox import apart
from tapetum.core.errors import DataError
from tapetum.core.types import UNKNOWN

_COMMENT = "DICOM ImageComments"


@dataclass(frozen=True)
class Document:
    """One report object.

    Attributes:
        name: for the provenance, `"DICOM SR Basic Text"`. uid: of the object. study: its study, `""` if it names none.
        day: ISO date or unknown. time: date and time of the content, to sort by. replaces: UIDs of former versions.
        read: returns its text. identifiers: whom it names, for scrubbing.
    """

    file: str
    name: str
    uid: str
    study: str
    patient_id: str
    day: str
    time: str
    replaces: frozenset[str]
    read: Callable[[], str]
    identifiers: dict[str, str]


def document_of(ds: Any, path: Path, file: str) -> Document:
    """The report object of a header; its text is read later, in a child process.

    Raises:
        DataError: it names no patient.
    """
    former = (
        values.text(sop, "ReferencedSOPInstanceUID")
        for study in values.items(ds, "PredecessorDocumentsSequence")
        for series in values.items(study, "ReferencedSeriesSequence")
        for sop in values.items(series, "ReferencedSOPSequence")
    )
    day = values.text(ds, "ContentDate") or values.text(ds, "SeriesDate") or values.text(ds, "StudyDate")
    return Document(
        file=file,
        name=document_name(values.text(ds, "SOPClassUID")),
        uid=values.text(ds, "SOPInstanceUID"),
        study=values.text(ds, "StudyInstanceUID"),
        patient_id=fields.patient_id(values.text(ds, "PatientID")),
        day=date_of(ds),
        time=day + values.text(ds, "ContentTime"),
        replaces=frozenset(uid for uid in former if uid),
        read=functools.partial(_read, path),
        identifiers=identifiers_of(ds),
    )


def join_reports(
    items: Sequence[Row | Refusal | Note], documents: Sequence[Document]
) -> Iterator[Row | Refusal | Note]:
    """The items with their reports, then what became of each document that was not used.

    Args:
        items: rows, refusals and notes of the images, in order.
        documents: the report objects among the files.

    Yields:
        The same items in the same order, rows with their report; refusals and notes about the documents last.
    """
    rows = [item for item in items if isinstance(item, Row)]
    by_study: dict[str, list[Row]] = {}
    by_day: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        by_study.setdefault(row.visit_id, []).append(row)
        by_day.setdefault((row.patient_id, row.captured), []).append(row)
    replaced = {uid for document in documents for uid in document.replaces - {document.uid}}
    texts: dict[str, list[tuple[Document, str]]] = {}  # file of the image → reports
    said: list[Refusal | Note] = []
    joined = 0
    for document in sorted(documents, key=lambda d: (d.time, d.file)):
        if document.uid in replaced:
            said.append(Note(f"{document.file} is passed over: a later report replaces it"))
            continue
        try:
            images = _images(document, by_study, by_day)
            text = document.read()
        except DataError as error:
            said.append(Refusal(document.file, 0, f"{error.found} (expected: {error.expected})"))
            continue
        joined += 1
        for row in images:
            texts.setdefault(row.file, []).append((document, text))
    for item in items:
        yield _with_reports(item, texts.get(item.file, [])) if isinstance(item, Row) else item
    if joined:
        yield Note(f"{joined} report objects (structured reports, PDFs) were joined to {len(texts)} images")
    yield from said


def _images(document: Document, by_study: dict[str, list[Row]], by_day: dict[tuple[str, str], list[Row]]) -> list[Row]:
    images = by_study.get(document.study, []) if document.study else []
    if images:
        other = next((row for row in images if row.patient_id != document.patient_id), None)
        if other:
            found = f"the report and {other.file} of its study name two patients"
            raise DataError(found, "the same in both")
        return images
    images = by_day.get((document.patient_id, document.day), []) if document.day != UNKNOWN else []
    studies = {row.visit_id for row in images}
    if len(studies) > 1:
        raise DataError(f"a report whose patient has images of {len(studies)} studies on that day", "one study")
    if not images:
        raise DataError("a report without an image of its study, or of its patient and day", "images it speaks of")
    return images


def _with_reports(row: Row, found: Sequence[tuple[Document, str]]) -> Row:
    if not found or (row.report and row.provenance.get("report") != _COMMENT):
        return row
    names = dict.fromkeys(document.name for document, _ in found)
    known = dict(row.identifiers)
    for document, _ in found:
        for key, value in document.identifiers.items():
            if value not in known.values():
                known[_free(known, key)] = value
    return dataclasses.replace(
        row,
        report="\n\n".join(dict.fromkeys(text for _, text in found)),
        provenance={**row.provenance, "report": ", ".join(names)},
        identifiers=known,
    )


def _free(known: dict[str, str], key: str) -> str:
    count, free = 1, key
    while free in known:
        count += 1
        free = f"{key}_{count}"
    return free


def _read(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"the file cannot be read: {error.strerror or error}", "a file that can be read") from None
    return str(apart("tapetum.archive.dicom.text:document_text", data))
