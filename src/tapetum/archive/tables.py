"""Tables as clinics export them: commas, semicolons or tabs; UTF-8, UTF-16 or Windows-1252; any column names."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tapetum.core.errors import DataError, UsageError
from tapetum.core.registry import nearest

# Names taken without being asked: only these, exactly (capitals do not matter).
COLUMN_NAMES: Mapping[str, tuple[str, ...]] = {
    "image": ("file", "image", "filename", "file_name", "image_path"),
    "patient": ("patient", "patient_id", "patientid"),
    "eye": ("eye", "laterality"),
    "report": ("report", "keywords", "clinical_notes"),
    "age": ("age", "age_years"),
    "sex": ("sex", "gender"),
    "date": ("date", "study_date", "captured"),
    "labels": ("label", "labels"),
    "visit": ("visit", "visit_id"),
    "modality": ("modality",),
}
_RUN_OF_HIGH = re.compile(r"[^\x00-\x7f]{4,}")


@dataclass(frozen=True)
class Table:
    """A table as text.

    Attributes:
        rows: (row as a spreadsheet counts it, header = 1; cells by column name).
        ragged: (row, message) of the rows whose number of cells differs from the header's.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[int, Mapping[str, str]], ...]
    ragged: tuple[tuple[int, str], ...]
    encoding: str


def read_table(path: Path, encoding: str = "") -> Table:
    """Read a CSV or TSV file.

    Args:
        path: of the file.
        encoding: name of the encoding; empty to recognise UTF-8, UTF-16 and Windows-1252.

    Raises:
        DataError: no such file, no header, a column twice, or an encoding that cannot be told.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read the table {path.name}: {error.strerror}", "a CSV or TSV file") from None
    text, used = _decode(data, path.name, encoding)
    lines = list(_records(text, path))
    if not lines or not any(cell.strip() for cell in lines[0]):
        raise DataError(f"{path.name} has no header", "a first row with the names of the columns")
    columns = tuple(cell.strip() for cell in lines[0])
    twice = {name for name in columns if name and columns.count(name) > 1}
    if twice:
        raise DataError(f"{path.name} has the column {sorted(twice)[0]!r} twice", "column names that differ")
    rows: list[tuple[int, Mapping[str, str]]] = []
    ragged: list[tuple[int, str]] = []
    for number, cells in enumerate(lines[1:], start=2):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(columns):
            ragged.append((number, f"{len(cells)} cells where the header of {path.name} has {len(columns)}"))
        else:
            rows.append((number, dict(zip(columns, cells, strict=True))))
    return Table(path, columns, tuple(rows), tuple(ragged), used)


def map_columns(table: Table, mapping: str, *, labels: str = "", required: tuple[str, ...]) -> dict[str, str]:
    """Which column plays which role.

    Args:
        table: as read.
        mapping: `"patient=pid,image=file"`; roles not named are taken from columns of the exact default names.
        labels: name of the column with labels, the same as `labels=…` in `mapping`.
        required: roles without which nothing can be read.

    Returns:
        role → column name, for the roles that have a column.

    Raises:
        UsageError: an unknown role, or two columns that could play a role.
        DataError: a named or required column is missing.
    """
    chosen: dict[str, str] = {}
    asked = [part for part in mapping.split(",") if part.strip()] + ([f"labels={labels}"] if labels else [])
    for part in asked:
        role, _, column = (piece.strip() for piece in part.partition("="))
        if role not in COLUMN_NAMES:
            raise UsageError(f"unknown role {role!r} in --map", nearest(role, list(COLUMN_NAMES)), "--map patient=pid")
        if column and column not in table.columns:
            raise DataError(
                f"no column {column!r} in {table.path.name}",
                nearest(column, list(table.columns)),
                f"--map {role}=COLUMN",
            )
        chosen[role] = column
    for role, names in COLUMN_NAMES.items():
        if role in chosen:
            continue
        found = [column for column in table.columns if column.casefold() in names]
        if len(found) > 1:
            raise UsageError(
                f"{table.path.name} has {' and '.join(found)} for {role}", "one", f"--map {role}={found[0]}"
            )
        if found:
            chosen[role] = found[0]
    for role in required:
        if not chosen.get(role):
            raise DataError(
                f"no column for {role} in {table.path.name} (columns: {', '.join(table.columns)})",
                f"a column named {' or '.join(COLUMN_NAMES[role])}",
                f"--map {role}=COLUMN",
            )
    return {role: column for role, column in chosen.items() if column}


def _decode(data: bytes, name: str, encoding: str) -> tuple[str, str]:
    wrong = DataError(
        f"the encoding of {name} is unknown",
        "UTF-8, UTF-16 or Windows-1252",
        "save it as UTF-8, or give encoding=NAME (for example encoding=gb18030)",
    )
    if encoding:
        try:
            return data.decode(encoding), encoding
        except LookupError:
            raise UsageError(f"unknown encoding {encoding!r}", "a name such as utf-8, cp1252, gb18030") from None
        except UnicodeDecodeError as error:
            raise DataError(f"{name} is not {encoding}: byte {error.start}", "the encoding it was saved in") from None
    if data.startswith(codecs.BOM_UTF8):
        tried = "utf-8-sig"
    elif data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        tried = "utf-16"
    elif b"\0" in data:
        tried = "utf-16-le" if data[1:2] == b"\0" else "utf-16-be"
    else:
        tried = "utf-8"
    try:
        return data.decode(tried), tried
    except UnicodeDecodeError:
        if tried != "utf-8":
            raise wrong from None
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        raise wrong from None
    # No Western word has four accented characters in a row; text in another code page read as cp1252 does.
    if _RUN_OF_HIGH.search(text):
        raise wrong
    return text, "cp1252"


def _records(text: str, path: Path) -> list[list[str]]:
    header = re.sub(r'"[^"]*"', "", text.split("\n", 1)[0])
    delimiter = max("\t;,", key=header.count)
    try:
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise DataError(f"{path.name} is not a table: {error}", "CSV or TSV with balanced quotes") from None
