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
from tapetum.archive.tables.settings import TableSettings


class Reader(Protocol):
    """Reads one export.

    Args:
        root: the export's folder.
        settings: what the user says of the table, the same for all readers.

    A member may have options of its own, each with a default; they are given with its name, as in
    `reader="nifti(window='0,4095')"`.

    Raises:
        DataError: the export as a whole cannot be read (no table, a missing column, an unknown encoding).
        UsageError: an option contradicts the export.
    """

    def __call__(self, root: Path, settings: TableSettings) -> Iterator[Row | Refusal | Note]:
        """Rows, refusals and notes in a fixed order."""
        ...
