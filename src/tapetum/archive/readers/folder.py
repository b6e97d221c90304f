"""A folder of JPEG, PNG, TIFF or DICOM files with a CSV or TSV table that says what they are.

Source: own design; the table's shape is what clinics and public sets export. Differs: from `csv.DictReader` loops as
    they are usually written, a row that cannot be read is refused with its reason and the rest is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tapetum.archive.rows import Note, Refusal, Row
from tapetum.archive.tabular import tabular_rows

__all__ = ["folder"]


def folder(
    root: Path,
    *,
    columns: str = "",
    labels: str = "",
    table: str = "",
    encoding: str = "",
    date_order: str = "",
    report_required: bool = True,
) -> Iterator[Row | Refusal | Note]:
    """Rows of a folder of images with a table.

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
    return tabular_rows(
        root, columns=columns, labels=labels, table=table, encoding=encoding, date_order=date_order,
        report_required=report_required,
    )  # fmt: skip
