"""A folder of images of any kind that is read here, with a CSV, TSV or Excel table that says what they are.

Source: own design; the table's shape is what clinics and public sets export. Differs: from `csv.DictReader` loops as
    they are usually written, a row that cannot be read is refused with its reason and the rest is taken; what a DICOM
    or vendor header says as well must agree about patient and eye.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tapetum.archive.exports.kinds import Options
from tapetum.archive.exports.tabular import tabular_rows
from tapetum.archive.rows import Note, Refusal, Row
from tapetum.archive.tables.settings import TableSettings

__all__ = ["folder"]


def folder(
    root: Path, settings: TableSettings, *, window: str = "", every_seconds: float = 1.0
) -> Iterator[Row | Refusal | Note]:
    """Rows of a folder of images with a table.

    Args:
        root: the export's folder; images may lie anywhere below it.
        settings: what is said of the table.
        window: `"low,high"` for NIfTI volumes.
        every_seconds: between the frames of a video.

    Returns:
        Rows, refusals and notes in the order of the table.

    Raises:
        DataError: no table, a missing column, an unknown encoding. UsageError: several tables and none named.
    """
    return tabular_rows(root, settings, options=Options(window, every_seconds))
