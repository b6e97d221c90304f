"""A folder of DICOM files, without a DICOMDIR: the header says whose, which eye and when; a table may add reports and
labels.

Only files with DICOM's marker are opened, never by force. Where header and table contradict each other, the file is
refused.

Source: DICOM PS3.3 (C.7.1.1 Patient, C.8.17 Ophthalmic Photography), PS3.10. Differs: laterality is taken from Image
Laterality, then Laterality, then the shared Frame Laterality, and never from a description.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tapetum.archive import fields
from tapetum.archive.dicompixels import is_dicom, read_dicom
from tapetum.archive.places import Places, the_table
from tapetum.archive.rows import Note, Refusal, Row
from tapetum.archive.tables import map_columns, read_table
from tapetum.archive.tabular import one_line
from tapetum.core.errors import DataError
from tapetum.core.types import UNKNOWN, Laterality

__all__ = ["dicom"]

# file → its row in the table, and the cells by role
Said = dict[str, tuple[int, Mapping[str, str]]]

_MODALITY_OF_CLASS = {
    "1.2.840.10008.5.1.4.1.1.77.1.5.1": "fundus",
    "1.2.840.10008.5.1.4.1.1.77.1.5.2": "fundus",
    "1.2.840.10008.5.1.4.1.1.77.1.5.4": "oct",
    "1.2.840.10008.5.1.4.1.1.77.1.5.5": "fundus",
    "1.2.840.10008.5.1.4.1.1.77.1.5.6": "fundus",
}
_EYE = {"R": Laterality.RIGHT, "L": Laterality.LEFT, "B": Laterality.BOTH, "U": Laterality.NOT_PAIRED}


def dicom(
    root: Path,
    *,
    columns: str = "",
    labels: str = "",
    table: str = "",
    encoding: str = "",
    date_order: str = "",
    report_required: bool = True,
) -> Iterator[Row | Refusal | Note]:
    """Rows of a folder of DICOM files.

    Args:
        root: the export's folder; files may lie anywhere below it.
        columns: roles of the table's columns, `"image=file,report=text"`; the table needs no patient.
        labels: name of the table's column with labels.
        table: file name of the table, if there are several; a folder without a table is read as well.
        encoding: of the table, empty to recognise it.
        date_order: unused: DICOM dates have one order, and the table's dates are not read.
        report_required: a row of the table with an empty report refuses its file.

    Returns:
        Rows, refusals and notes in the order of the files' paths.

    Raises:
        DataError: no DICOM file at all, or a table that cannot be read. UsageError: several tables and none named.
    """
    del date_order
    places = Places(root)
    said: Said = {}
    yield from _read_table(places, said, columns=columns, labels=labels, table=table, encoding=encoding)
    taken = False
    for file in places.files:
        path = root / file
        with path.open("rb") as stream:
            marked = is_dicom(stream.read(132))
        if not marked:
            if path.suffix.lower() == ".dcm":
                yield Refusal(file, 0, "the file ends in .dcm and has no DICOM marker (expected: DICM at byte 128)")
            continue
        taken = True
        number, cells = said.get(file, (0, {}))
        try:
            yield _row(root, file, number, cells, report_required)
        except DataError as error:
            yield Refusal(file, number, one_line(error))
    if not taken:
        raise DataError(f"{root.name}/ holds no DICOM file", "files with DICM at byte 128", "reader=folder")


def _read_table(
    places: Places, said: Said, *, columns: str, labels: str, table: str, encoding: str
) -> Iterator[Refusal | Note]:
    """Fill `said` with what the table, if there is one, says of each file."""
    place = the_table(places.root, table)
    if place is None:
        return
    read = read_table(place, encoding)
    role = map_columns(read, columns, labels=labels, required=("image",))
    yield Note(f"{place.name} ({read.encoding}): " + ", ".join(f"{r}={c}" for r, c in role.items()))
    for number, reason in read.ragged:
        yield Refusal(place.name, number, reason)
    for number, cells in read.rows:
        try:
            file = places.find(cells[role["image"]])
        except DataError as error:
            yield Refusal(cells[role["image"]].strip() or place.name, number, one_line(error))
            continue
        if file in said:
            yield Refusal(place.name, number, f"a second row for {file} (the first: row {said[file][0]})")
            continue
        said[file] = (number, {r: cells[c] for r, c in role.items()})


def _row(root: Path, file: str, number: int, said: Mapping[str, str], report_required: bool) -> Row:
    if not (root / file).resolve().is_relative_to(root.resolve()):
        raise DataError(f"{file!r} is a link out of the export's folder", "a file inside it")
    ds = read_dicom((root / file).read_bytes(), header_only=True)
    if "Rows" not in ds:
        raise DataError(f"an object without pixels ({_class_name(ds)})", "an image")
    row = _from_header(ds, root / file, file, number)
    if not said:
        return row
    for name, mine, theirs in (
        ("patient", row.patient_id, said.get("patient", "").strip()),
        ("eye", row.laterality, fields.laterality(said.get("eye", ""))),
    ):
        if theirs not in ("", UNKNOWN) and mine not in (theirs, UNKNOWN):
            raise DataError(f"the table says {name} {theirs}, the header {mine}", "the same in both")
    eye = row.laterality if row.laterality != Laterality.UNKNOWN else fields.laterality(said.get("eye", ""))
    report = said["report"].strip() if "report" in said else row.report
    if "report" in said and report_required and not report:
        raise DataError("the report is empty", "a text, or report_required=false to take images without one")
    return dataclasses.replace(row, laterality=eye, report=report, labels=fields.labels(said.get("labels", "")))


def _from_header(ds: Any, path: Path, file: str, number: int) -> Row:
    age, age_note = fields.age_years(_text(ds, "PatientAge"))
    captured, date_note = fields.iso_date(_text(ds, "StudyDate") or _text(ds, "AcquisitionDate"))
    if captured != UNKNOWN and age != age and _text(ds, "PatientBirthDate"):  # noqa: PLR0124 - NaN
        born, _ = fields.iso_date(_text(ds, "PatientBirthDate"))
        if born != UNKNOWN:
            age = float(int(captured[:4]) - int(born[:4]) - (captured[5:] < born[5:]))
    sex, sex_note = fields.sex(_text(ds, "PatientSex"))
    return Row(
        file=file,
        row=number,
        patient_id=fields.patient_id(_text(ds, "PatientID")),
        read=functools.partial(Path.read_bytes, path),
        visit_id=_text(ds, "StudyInstanceUID") or UNKNOWN,
        laterality=_laterality(ds),
        modality=_MODALITY_OF_CLASS.get(_text(ds, "SOPClassUID"), UNKNOWN),
        mm_per_pixel=_spacing(ds),
        age_years=age,
        sex=sex,
        captured=captured,
        report=_text(ds, "ImageComments"),
        notes=tuple(note for note in (age_note, sex_note, date_note) if note),
    )


def _laterality(ds: Any) -> Laterality:
    texts = [_text(ds, "ImageLaterality"), _text(ds, "Laterality")]
    for group in ds.get("SharedFunctionalGroupsSequence", None) or []:
        texts.extend(_text(anatomy, "FrameLaterality") for anatomy in group.get("FrameAnatomySequence", None) or [])
    said = [text.upper() for text in texts if text]
    unknown = [text for text in said if text not in _EYE]
    if unknown:
        raise DataError(f"laterality {unknown[0]!r} is not understood", "R, L, B or U")
    if len(set(said)) > 1:
        raise DataError(f"the header says laterality {' and '.join(said)}", "one")
    return _EYE[said[0]] if said else Laterality.UNKNOWN


def _spacing(ds: Any) -> float:
    values = ds.get("PixelSpacing", None)
    if not values or len(values) != 2 or float(values[0]) <= 0 or float(values[0]) != float(values[1]):
        return float("nan")
    return float(values[0])


def _text(ds: Any, name: str) -> str:
    value = ds.get(name, None)
    return "" if value is None else str(value).strip()


def _class_name(ds: Any) -> str:
    uid = ds.get("SOPClassUID", None)
    return getattr(uid, "name", "") or "unknown class"
