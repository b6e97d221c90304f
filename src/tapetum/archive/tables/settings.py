"""How the table of an export is to be read: what the user says of it, in one object for all readers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TableSettings:
    """What is said of the table beside the images; the defaults say nothing.

    Attributes:
        columns: which column plays which role, `"patient=pid,image=file,eye=side"`; exact default names otherwise. A
            role may be switched off with `"labels="`.
        labels: name of the column with labels, or of several, `"DME+DR"`.
        table: file name of the table, empty if there is only one; `FILE.xlsx#SHEET` for one sheet of several.
        encoding: of the table, empty to recognise it.
        date_order: `dmy` or `mdy` for the table's dates with slashes; a file's own dates have one order.
        report_required: an empty report, where there is a report column, refuses the row.
        header_row: row of the table's header, counted from 1, where titles stand above it.
    """

    columns: str = ""
    labels: str = ""
    table: str = ""
    encoding: str = ""
    date_order: str = ""
    report_required: bool = True
    header_row: int = 1
