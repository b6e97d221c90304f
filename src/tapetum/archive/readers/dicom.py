"""A folder of DICOM files, without a DICOMDIR: the header says whose, which eye and when; structured reports and
Encapsulated PDFs become the reports of their study's images; a table may add reports and labels.

Only files that are DICOM by their content are opened. Where header and table contradict each other, the file is
refused. Every file is accounted for: a row, a refusal, or a note.

Source: DICOM PS3.3 (C.7.1.1 Patient, C.8.17 Ophthalmic Photography), PS3.10. Differs: laterality is taken from four
    places that must agree, and never from a description.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path

from tapetum.archive.dicom.classes import DICOMDIR_CLASS, is_document
from tapetum.archive.dicom.header import HEADER_KEYWORDS, row_of, with_patient
from tapetum.archive.dicom.reports import Document, document_of, join_reports
from tapetum.archive.dicom.values import read_header, text
from tapetum.archive.exports.kinds import kind_of
from tapetum.archive.exports.tabular import named_table, passed_over, rows_by_file, told
from tapetum.archive.places import Places
from tapetum.archive.rows import Note, Refusal, Row, one_line
from tapetum.archive.tables.joining import Joiner
from tapetum.archive.tables.settings import TableSettings
from tapetum.archive.tables.table import map_columns
from tapetum.core.errors import DataError

__all__ = ["dicom"]

Said = dict[str, tuple[int, Mapping[str, str]]]


def dicom(root: Path, settings: TableSettings) -> Iterator[Row | Refusal | Note]:
    """Rows of a folder of DICOM files.

    Args:
        root: the export's folder; files may lie anywhere below it.
        settings: what is said of the table; the table needs no patient, and a folder without a table is read as well.

    Returns:
        Rows, refusals and notes in the order of the files' paths.

    Raises:
        DataError: no DICOM file at all, or a table that cannot be read. UsageError: several tables and none named.
    """
    places = Places(root)
    said: Said = {}
    joiner = Joiner({})
    read = named_table(root, settings)
    if read is not None:
        role = map_columns(read, settings.columns, labels=settings.labels, required=("image",))
        joiner = Joiner.of(read, role, settings)
        yield from told(read, role)
        yield from rows_by_file(places, read, role, said)
    items, documents, others = list[Row | Refusal | Note](), list[Document](), list[str]()
    table_file = read.path.resolve() if read is not None else None
    if not _sort(places, table_file, said, joiner, items, documents, others):
        raise DataError(f"{root.name}/ holds no DICOM file", "files that are DICOM by their content", "reader=folder")
    yield from join_reports(items, documents)
    yield from passed_over(others, "no DICOM files and not read")


def _sort(
    places: Places, table_file: Path | None, said: Said, joiner: Joiner, items: list[Row | Refusal | Note],
    documents: list[Document], others: list[str],
) -> int:  # fmt: skip
    """Fill the lists with what each file is; returns how many are DICOM."""
    dicom_files = 0
    for file in places.files:
        path = places.root / file
        if path == table_file:
            continue
        if kind_of(path) != "dicom":
            if path.suffix.lower() == ".dcm":
                reason = "the file ends in .dcm and has no DICOM marker (expected: DICM at byte 128)"
                items.append(Refusal(file, 0, reason))
            else:
                others.append(file)
            continue
        dicom_files += 1
        number, cells = said.get(file, (0, {}))
        try:
            found = _open(places.root, file)
            if isinstance(found, Row):
                found = with_patient(found) if not cells else joiner.join(found, number, cells)
            (documents if isinstance(found, Document) else items).append(found)  # type: ignore[arg-type]
        except DataError as error:
            items.append(Refusal(file, number, one_line(error)))
    return dicom_files


def _open(root: Path, file: str) -> Row | Document | Note:
    """What one DICOM file is.

    Raises:
        DataError: it cannot be taken.
    """
    path = root / file
    if not path.resolve().is_relative_to(root.resolve()):
        raise DataError(f"{file!r} is a link out of the export's folder", "a file inside it")
    if path.name.upper() == "DICOMDIR":
        return Note(f"{file} is passed over: the files themselves are read, not the list of them")
    ds = read_header(path, HEADER_KEYWORDS)
    uid = text(ds, "SOPClassUID")
    if DICOMDIR_CLASS in (uid, text(ds.file_meta, "MediaStorageSOPClassUID")):
        return Note(f"{file} is passed over: the files themselves are read, not the list of them")
    if is_document(uid):
        return document_of(ds, path, file)
    return row_of(ds, file=file, read=functools.partial(Path.read_bytes, path), patient_required=False)
