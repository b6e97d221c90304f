"""Readers of a clinic's export (a family: one file, one kind of export).

A member is called with the export's folder and yields, in a fixed order, a `Row` per image, a `Refusal` per row or
file that cannot be taken (with file, row and reason), and a `Note` where something is worth telling. It never writes,
never follows a path out of the folder and never guesses a value that the export does not give.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from tapetum.archive.rows import Note, Refusal, Row


class Reader(Protocol):
    """Reads one export.

    Args:
        root: the export's folder.
        columns: which column plays which role, `"patient=pid,image=file"`; exact default names otherwise.
        labels: name of the column with labels. table: file name of the table, empty if there is only one.
        encoding: of the table, empty to recognise it. date_order: `dmy` or `mdy` for dates with slashes.
        report_required: whether an empty report, where there is a report column, refuses the row.

    Raises:
        DataError: the export as a whole cannot be read (no table, a missing column, an unknown encoding).
        UsageError: an option contradicts the export.
    """

    def __call__(
        self,
        root: Path,
        *,
        columns: str = "",
        labels: str = "",
        table: str = "",
        encoding: str = "",
        date_order: str = "",
        report_required: bool = True,
    ) -> Iterator[Row | Refusal | Note]:
        """Rows, refusals and notes in a fixed order."""
        ...
