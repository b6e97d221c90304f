"""A folder of NIfTI volumes (`.nii`, `.nii.gz`) with a table that says whose they are.

Source: NIfTI-1.1, read by nibabel. Differs: no range of grey values is guessed; axial slices are the frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tapetum.archive.exports.kinds import Options
from tapetum.archive.exports.tabular import kind_rows
from tapetum.archive.rows import Note, Refusal, Row
from tapetum.archive.tables.settings import TableSettings

__all__ = ["nifti"]


def nifti(root: Path, settings: TableSettings, *, window: str = "") -> Iterator[Row | Refusal | Note]:
    """Rows of a folder of NIfTI volumes.

    Args:
        root: the export's folder; files may lie anywhere below it.
        settings: what is said of the table; a patient column is needed.
        window: `"low,high"`, the values shown black and white, where the files do not say them.

    Returns:
        Rows, refusals and notes in the order of the files' paths.

    Raises:
        DataError: no such file, or a table that cannot be read. UsageError: several tables and none named.
        MissingExtraError: the extra `nifti` is needed and not installed.
    """
    return kind_rows(root, "nifti", settings, options=Options(window=window))
