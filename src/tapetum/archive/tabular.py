"""Images with a table that says what they are: shared by the folder reader and by the data sets that come so."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path

from tapetum.archive import fields
from tapetum.archive.places import IMAGE_SUFFIXES, Places, the_table
from tapetum.archive.rows import Note, Refusal, Row
from tapetum.archive.tables import map_columns, read_table
from tapetum.core.errors import DataError
from tapetum.core.types import UNKNOWN, Laterality


def tabular_rows(
    root: Path,
    *,
    columns: str = "",
    labels: str = "",
    table: str = "",
    encoding: str = "",
    date_order: str = "",
    report_required: bool = True,
) -> Iterator[Row | Refusal | Note]:
    """Rows of a folder of images with a table (see `readers.folder`).

    Args:
        root: the export's folder; images may lie anywhere below it.
        columns: `"patient=pid,image=file,eye=side"`; a role may be switched off with `"labels="`.
        labels: name of the column with labels.
        table: file name of the table, if there are several.
        encoding: of the table, empty to recognise it.
        date_order: `dmy` or `mdy` for dates with slashes.
        report_required: an empty report, where there is a report column, refuses the row.

    Returns:
        Rows, refusals and notes in the order of the table.

    Raises:
        DataError: no table, a missing column, an unknown encoding. UsageError: several tables and none named.
    """
    place = the_table(root, table)
    if place is None:
        raise DataError(f"{root.name}/ has no table", "a CSV or TSV file beside the images", "table=NAME.csv")
    read = read_table(place, encoding)
    role = map_columns(read, columns, labels=labels, required=("image", "patient"))
    yield Note(f"{place.name} ({read.encoding}): " + ", ".join(f"{r}={c}" for r, c in role.items()))
    for number, reason in read.ragged:
        yield Refusal(place.name, number, reason)
    places = Places(root, (*IMAGE_SUFFIXES, ".dcm"))
    order = date_order or fields.slashed_order(cells[role["date"]] for _, cells in read.rows if "date" in role)
    named: set[str] = set()
    for number, cells in read.rows:
        said = {r: cells[c] for r, c in role.items()}
        try:
            row = _row(places, number, said, order, report_required and "report" in role)
        except DataError as error:
            yield Refusal(said["image"].strip() or place.name, number, one_line(error))
            continue
        named.add(row.file)
        yield row
    unnamed = [file for file in places.files if file not in named]
    if unnamed:
        yield Note(f"{len(unnamed)} image files are in no row that was taken, first {unnamed[0]}")


def _row(places: Places, number: int, said: Mapping[str, str], order: str, report_required: bool) -> Row:
    file = places.find(said["image"])
    report = said.get("report", "").strip()
    if report_required and not report:
        raise DataError("the report is empty", "a text, or report_required=false to take images without one")
    age, age_note = fields.age_years(said.get("age", ""))
    sex, sex_note = fields.sex(said.get("sex", ""))
    captured, date_note = fields.iso_date(said.get("date", ""), order)
    modality = said.get("modality", "").strip()
    return Row(
        file=file,
        row=number,
        patient_id=fields.patient_id(said["patient"]),
        read=functools.partial(Path.read_bytes, places.root / file),
        visit_id=said.get("visit", "").strip() or UNKNOWN,
        laterality=fields.laterality(said["eye"]) if "eye" in said else Laterality.UNKNOWN,
        modality=modality or UNKNOWN,
        age_years=age,
        sex=sex,
        captured=captured,
        report=report,
        labels=fields.labels(said.get("labels", "")),
        notes=tuple(note for note in (age_note, sex_note, date_note) if note),
    )


def one_line(error: DataError) -> str:
    """What was found and expected, on one line of the quarantine."""
    return f"{error.found} (expected: {error.expected})" if error.expected else error.found
