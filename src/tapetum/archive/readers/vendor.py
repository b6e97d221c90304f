"""A folder of OCT files as the device writes them: Heidelberg `.vol` and `.e2e`, Topcon `.fda`.

Each volume is one image of many frames, its localiser (SLO) or photograph another. `.vol` is read here, lines, rings
and volumes alike, `.fda` in a child process, `.e2e` there by eyepy.

Source: the makers' formats as eyepy 0.21 and oct-converter 0.7 read them. Differs: rings are read; counts, sides and
    spacings are checked against the headers, and what does not fit is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tapetum.archive.exports.tabular import kind_rows
from tapetum.archive.rows import Note, Refusal, Row
from tapetum.archive.tables.settings import TableSettings

__all__ = ["vendor"]


def vendor(root: Path, settings: TableSettings) -> Iterator[Row | Refusal | Note]:
    """Rows of a folder of vendor OCT files.

    Args:
        root: the export's folder; files may lie anywhere below it.
        settings: what is said of the table; the table needs no patient.

    Returns:
        Rows, refusals and notes in the order of the files' paths.

    Raises:
        DataError: no such file, or a table that cannot be read. UsageError: several tables and none named.
        MissingExtraError: the extra `oct` is needed and not installed.
    """
    return kind_rows(root, "vendor", settings)
