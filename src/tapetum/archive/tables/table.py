"""Tables as clinics export them: CSV with commas, semicolons, tabs or bars, or Excel; any column names.

UTF-8, UTF-16 and Windows-1252 are recognised; another encoding is named by the user, never guessed. Cells are text:
a formula is not evaluated, and a date stays as written.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tapetum.archive.places import EXCEL_SUFFIXES
from tapetum.archive.sandbox import apart
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
    "spacing": ("mm_per_pixel", "pixel_spacing", "spacing_mm"),
    "device": ("device", "camera", "gerät", "kamera", "dispositivo", "cámara"),
}
# Columns that say who the patient is, in English, German and Spanish: read for scrubbing only and never required.
IDENTIFIER_ROLES: Mapping[str, tuple[str, ...]] = {
    "name": ("name", "patient_name", "patientname", "full_name", "patientenname", "nombre_completo", "paciente"),
    "first_name": ("first_name", "firstname", "given_name", "vorname", "nombre", "nombres"),
    "last_name": (
        "last_name", "lastname", "surname", "family_name", "nachname", "familienname", "apellido", "apellidos",
    ),
    "birth_date": (
        "birth_date", "birthdate", "date_of_birth", "dob", "geburtsdatum", "geburtstag", "fecha_nacimiento",
        "fecha_de_nacimiento",
    ),
    "phone": ("phone", "telephone", "mobile", "telefon", "telefonnummer", "handy", "teléfono", "telefono", "móvil"),
    "address": ("address", "street", "adresse", "anschrift", "straße", "strasse", "dirección", "direccion"),
    "email": ("email", "e-mail", "e_mail", "mail", "correo", "correo_electrónico"),
    "accession": ("accession", "accession_number", "auftragsnummer", "número_de_acceso"),
    "physician": ("physician", "doctor", "referring_physician", "arzt", "überweiser", "zuweiser", "médico", "medico"),
    "institution": ("institution", "hospital", "clinic", "klinik", "krankenhaus", "clínica"),
    "other_id": ("other_id", "mrn", "insurance_number", "versicherungsnummer", "nhs_number", "dni"),
}  # fmt: skip
_GUESSES = ("gb18030", "big5", "shift_jis", "euc_jp", "euc_kr", "cp1251", "koi8_r", "cp1250", "cp1253", "cp1256")
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


def read_table(path: Path, encoding: str = "", *, sheet: str = "", header_row: int = 1) -> Table:
    """Read a CSV, TSV or Excel file.

    Args:
        path: of the file.
        encoding: name of the encoding; empty to recognise UTF-8, UTF-16 and Windows-1252.
        sheet: of an Excel file, empty if only one has a header.
        header_row: row of the header as a spreadsheet counts it, where titles stand above it.

    Raises:
        DataError: no such file, no header, a column twice, or an encoding that cannot be told.
        UsageError: several sheets and none named. MissingExtraError: an Excel file without the extra `excel`.
    """
    if header_row < 1:
        raise UsageError(f"header_row={header_row}", "1 or more")
    if path.suffix.lower() in EXCEL_SUFFIXES:
        answer = json.loads(apart("tapetum.archive.tables.spreadsheets:sheet_rows", str(path), sheet, header_row))
        width = max((len(row) for row in answer["rows"]), default=0)  # a spreadsheet's row ends with its last cell
        lines = [row + [""] * (width - len(row)) for row in answer["rows"]]
        used = f"sheet {answer['sheet']}"
    else:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise DataError(f"cannot read the table {path.name}: {error.strerror}", "a CSV or TSV file") from None
        text, used = _decode(data, path.name, encoding)
        lines = _records(text, path, header_row)
    return _table(path, lines, used, header_row)


def _table(path: Path, lines: list[list[str]], used: str, header_row: int) -> Table:
    header = lines[header_row - 1] if len(lines) >= header_row else []
    columns = tuple(_shorn([cell.strip() for cell in header], 0))
    if not columns:
        raise DataError(f"{path.name} has no header", "a first row with the names of the columns, or header_row=N")
    twice = {name for name in columns if name and columns.count(name) > 1}
    if twice:
        raise DataError(f"{path.name} has the column {sorted(twice)[0]!r} twice", "column names that differ")
    rows: list[tuple[int, Mapping[str, str]]] = []
    ragged: list[tuple[int, str]] = []
    for number, given in enumerate(lines[header_row:], start=header_row + 1):
        if not any(cell.strip() for cell in given):
            continue
        cells = _shorn(given, len(columns))
        # A header with empty cells at its end has rows that end the same, or that end with it.
        if len(cells) != len(columns):
            ragged.append((number, f"{len(given)} cells where the header of {path.name} has {len(columns)}"))
        elif any("\0" in cell for cell in cells):
            ragged.append((number, f"a cell of {path.name} holds a NUL character"))
        else:
            rows.append((number, dict(zip(columns, cells, strict=True))))
    return Table(path, columns, tuple(rows), tuple(ragged), used)


def _shorn(cells: list[str], keep: int) -> list[str]:
    """The cells without empty ones at the end, at least `keep` of those there are."""
    end = len(cells)
    while end > keep and not cells[end - 1].strip():
        end -= 1
    return cells[:end]


def map_columns(table: Table, mapping: str, *, labels: str = "", required: tuple[str, ...]) -> dict[str, str]:
    """Which column plays which role.

    Args:
        table: as read.
        mapping: `"patient=pid,image=file"`; roles not named are taken from columns of the exact default names.
        labels: name of the column with labels, the same as `labels=…` in `mapping`; several as `"DME+DR"`.
        required: roles without which nothing can be read.

    Returns:
        role → column name, for the roles that have a column. Columns of labels, names, phones and so on, of which
        there may be several, are `phone`, `phone_2`, ….

    Raises:
        UsageError: an unknown role, or two columns that could play a role.
        DataError: a named or required column is missing.
    """
    chosen: dict[str, str] = {}
    asked = [part for part in mapping.split(",") if part.strip()] + ([f"labels={labels}"] if labels else [])
    for part in (one for each in asked for one in _columns_apart(each, table.columns)):
        role, _, column = (piece.strip() for piece in part.partition("="))
        if role_alone(role) not in COLUMN_NAMES and role_alone(role) not in IDENTIFIER_ROLES:
            roles = [*COLUMN_NAMES, *IDENTIFIER_ROLES]
            raise UsageError(f"unknown role {role!r} in --map", nearest(role, roles), "--map patient=pid")
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
    _add_identifiers(table, chosen)
    return {role: column for role, column in chosen.items() if column}


def _columns_apart(part: str, columns: tuple[str, ...]) -> list[str]:
    """`labels=DME+DR` as `labels=DME` and `labels_2=DR`, unless one column is called so."""
    role, _, column = (piece.strip() for piece in part.partition("="))
    if role != "labels" or column in columns:
        return [part]
    names = dict.fromkeys(name.strip() for name in column.split("+"))
    return [f"labels{f'_{n}' if n > 1 else ''}={name}" for n, name in enumerate(names, start=1)]


def role_alone(role: str) -> str:
    """The role without the number of a further column.

    Example:
        >>> role_alone("phone_2"), role_alone("other_id")
        ('phone', 'other_id')
    """
    return re.sub(r"_\d+$", "", role)


def _add_identifiers(table: Table, chosen: dict[str, str]) -> None:
    for role, names in IDENTIFIER_ROLES.items():
        if role in chosen:
            continue
        free = [column for column in table.columns if column.casefold() in names and column not in chosen.values()]
        chosen |= {role if count == 1 else f"{role}_{count}": column for count, column in enumerate(free, start=1)}


def _decode(data: bytes, name: str, encoding: str) -> tuple[str, str]:
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
    elif data.count(b"\0", 0, 4096) > len(data[:4096]) // 4:  # a stray NUL is no sign of UTF-16
        tried = "utf-16-le" if data[1:2] == b"\0" else "utf-16-be"
    else:
        tried = "utf-8"
    try:
        return data.decode(tried), tried
    except UnicodeDecodeError:
        if tried != "utf-8":
            raise _unknown_encoding(data, name) from None
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        raise _unknown_encoding(data, name) from None
    # No Western word has four accented characters in a row; text in another code page read as cp1252 does.
    if _RUN_OF_HIGH.search(text):
        raise _unknown_encoding(data, name)
    return text, "cp1252"


def _unknown_encoding(data: bytes, name: str) -> DataError:
    """Names the encodings in which the bytes can be read; which of them it is, only a reader of the language knows."""
    fits: list[str] = []
    for encoding in _GUESSES:
        try:
            data.decode(encoding)
        except UnicodeDecodeError:
            continue
        fits.append(encoding)
    can = f"; it can be read as {', '.join(fits)}" if fits else ""
    return DataError(
        f"the encoding of {name} is unknown",
        f"UTF-8, UTF-16 or Windows-1252{can}",
        f"save it as UTF-8, or give encoding=NAME (for example encoding={fits[0] if fits else 'gb18030'})",
    )


def _records(text: str, path: Path, header_row: int) -> list[list[str]]:
    first, _, rest = text.partition("\n")
    declared = re.fullmatch(r"sep=(.)\r?", first)  # a line of Excel's own, which a spreadsheet does not show
    text = rest if declared else text
    header = re.sub(r'"[^"]*"', "", (text.split("\n", header_row)[:header_row] or [""])[-1])
    delimiter = declared[1] if declared else max("\t;|,", key=header.count)
    try:
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise DataError(f"{path.name} is not a table: {error}", "CSV or TSV with balanced quotes") from None
