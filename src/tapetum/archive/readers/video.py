"""A folder of videos (`.mp4`, `.avi`, `.mov`) with a table that says whose they are; frames are taken at intervals.

Source: decoded by OpenCV's FFmpeg. Differs: in a child process with limits on time, memory and the number of frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tapetum.archive.exports.kinds import Options
from tapetum.archive.exports.tabular import kind_rows
from tapetum.archive.rows import Note, Refusal, Row
from tapetum.archive.tables.settings import TableSettings

__all__ = ["video"]


def video(root: Path, settings: TableSettings, *, every_seconds: float = 1.0) -> Iterator[Row | Refusal | Note]:
    """Rows of a folder of videos, one per frame taken.

    Args:
        root: the export's folder; files may lie anywhere below it.
        settings: what is said of the table; a patient column is needed.
        every_seconds: between two frames that are taken.

    Returns:
        Rows, refusals and notes in the order of the files' paths.

    Raises:
        DataError: no such file, or a table that cannot be read. UsageError: several tables and none named.
        MissingExtraError: the extra `video` is needed and not installed.
    """
    return kind_rows(root, "video", settings, options=Options(every_seconds=every_seconds))
