"""Public data sets by name (a family: one file, one set or collection).

A member is called with the place of the downloaded set and yields rows like a reader. Its module carries `CARD`,
reached as `importlib.import_module(f"tapetum.archive.datasets.{name}").CARD`: licence, source, the layout expected on
disk and known counts, so that a test can build a fake tree from the layout and check the real one against the counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from tapetum.archive.rows import Note, Refusal, Row


class Dataset(Protocol):
    """Reads one public data set from where it lies on disk; its module carries `CARD`.

    Args:
        root: the folder or file as the set is distributed.

    Raises:
        DataError: what lies there has not the layout of the set.
    """

    def __call__(self, root: Path) -> Iterator[Row | Refusal | Note]:
        """Rows, refusals and notes in a fixed order."""
        ...
