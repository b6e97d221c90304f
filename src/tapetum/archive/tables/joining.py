"""What a table says of a file, joined to what the file says of itself; a contradiction refuses the row."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tapetum.archive import fields
from tapetum.archive.rows import INTERNAL, SEVERAL_COLUMNS, Row
from tapetum.archive.tables.settings import TableSettings
from tapetum.archive.tables.table import IDENTIFIER_ROLES, Table, role_alone
from tapetum.core.errors import DataError
from tapetum.core.types import UNKNOWN, Laterality

_HEADS = {"patient": "patient_id", "visit": "visit_id", "eye": "laterality", "age": "age_years", "date": "captured",
          "spacing": "mm_per_pixel"}  # fmt: skip


@dataclass(frozen=True)
class Joiner:
    """How the rows of one table are understood.

    Attributes:
        role: role → column. order: `dmy`, `mdy` or `""` for dates with slashes. spanish_sex: H and M are hombre, mujer.
        report_required: an empty report, where there is a report column, refuses the row.
    """

    role: Mapping[str, str]
    order: str = ""
    spanish_sex: bool = False
    report_required: bool = True

    @staticmethod
    def of(table: Table, role: Mapping[str, str], settings: TableSettings) -> Joiner:
        """The joiner of a table; what only the whole column decides is decided here."""
        dates = (cells[role["date"]] for _, cells in table.rows if "date" in role)
        sexes = (cells[role["sex"]] for _, cells in table.rows if "sex" in role)
        order = settings.date_order or fields.slashed_order(dates)
        return Joiner(role, order, fields.is_spanish_sex(sexes), settings.report_required and "report" in role)

    def join(self, row: Row, number: int, cells: Mapping[str, str]) -> Row:
        """The row with the table's statements.

        Args:
            row: of the file, `patient_id=""` where the file names none.
            number: of the table's row.
            cells: by column.

        Raises:
            DataError: no patient in either, a patient or an eye that disagrees, an empty report, an odd label.
        """
        said = {role: cells[column] for role, column in self.role.items()}
        new: dict[str, Any] = {"row": number}
        notes: list[str] = []
        patient, theirs = said.get("patient", "").strip(), row.patient_id
        if patient and patient.casefold() != UNKNOWN and INTERNAL in row.provenance.get("patient_id", ""):
            theirs = ""  # a device's own number stands only where the clinic's is not said
        if theirs and patient and patient.casefold() != UNKNOWN and patient != theirs:
            # Ids stay out of messages.
            raise DataError("the table and the header name two patients", "the same in both")
        new["patient_id"] = theirs or fields.patient_id(patient)
        eye = fields.laterality(said["eye"]) if "eye" in said else Laterality.UNKNOWN
        if Laterality.UNKNOWN not in (eye, row.laterality) and eye != row.laterality:
            raise DataError(f"the table says eye {eye.value}, the header {row.laterality.value}", "the same in both")
        new["laterality"] = row.laterality if row.laterality != Laterality.UNKNOWN else eye
        report = said.get("report", "").strip()
        if self.report_required and not report:
            raise DataError("the report is empty", "a text, or report_required=false to take images without one")
        new["report"] = report if "report" in said else row.report
        new["labels"] = self._labels(cells)
        for name, value, note in self._values(said):
            notes.append(note)
            mine = getattr(row, name)
            if not _known(value):
                continue
            new[name] = mine if _known(mine) else value
            if _known(mine) and mine != value:
                notes.append(f"{name}: the header says {mine}, the table {value}; the header's is taken")
        where = dict(row.provenance)
        if not theirs:
            where.pop("patient_id", None)
        several = self._label_columns
        if len(several) > 1 and new["labels"]:
            where["labels"] = SEVERAL_COLUMNS + ", ".join(several)
        for role, column in self.role.items():
            field = _HEADS.get(role, role)
            taken = new.get(field)
            if taken is not None and _known(taken) and taken != () and (role == "report" or field not in where):
                where[field] = f"column {column}"
        new["provenance"] = where
        new["identifiers"] = {**_identifiers(said), **row.identifiers}
        return dataclasses.replace(row, **new, notes=(*row.notes, *(note for note in notes if note)))

    @property
    def _label_columns(self) -> list[str]:
        return [column for role, column in self.role.items() if role_alone(role) == "labels"]

    def _labels(self, cells: Mapping[str, str]) -> tuple[str, ...]:
        """Of one column its texts, of several `COLUMN:TEXT`, so that it stays known which of them were filled."""
        columns = self._label_columns
        if len(columns) < 2:
            return fields.labels(cells[columns[0]]) if columns else ()
        return tuple(sorted(f"{column}:{text}" for column in columns for text in fields.labels(cells[column])))

    def _values(self, said: Mapping[str, str]) -> Iterable[tuple[str, Any, str]]:
        """(field, value, note) of the fields in which the file's own statement, where there is one, stands."""
        yield "visit_id", said.get("visit", "").strip() or UNKNOWN, ""
        yield "modality", said.get("modality", "").strip() or UNKNOWN, ""
        yield "device", said.get("device", "").strip() or UNKNOWN, ""
        yield "age_years", *fields.age_years(said.get("age", ""))
        yield "sex", *fields.sex(said.get("sex", ""), spanish=self.spanish_sex)
        yield "captured", *fields.iso_date(said.get("date", ""), self.order)
        yield "mm_per_pixel", *fields.spacing_mm(said.get("spacing", ""))


def _identifiers(said: Mapping[str, str]) -> dict[str, str]:
    """Who the patient is, as the table says; first and last name together where both are given."""
    found = {role: text.strip() for role, text in said.items() if role_alone(role) in IDENTIFIER_ROLES}
    first, last = found.pop("first_name", ""), found.pop("last_name", "")
    whole = f"{first} {last}".strip()
    if whole:
        found["name_2" if found.get("name") else "name"] = whole
    return {role: text for role, text in found.items() if text}


def _known(value: Any) -> bool:
    return not (value in (UNKNOWN, "", Laterality.UNKNOWN) or (isinstance(value, float) and math.isnan(value)))
