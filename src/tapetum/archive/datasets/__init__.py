"""Public data sets by name (a family: one file, one set or collection).

A member is called with the place of the downloaded set and yields rows like a reader. Its module carries `CARD`,
reached as `importlib.import_module(f"tapetum.archive.datasets.{name}").CARD`: licence, source, the layout expected on
disk and known counts, so that a test can build a fake tree from the layout and check the real one against the counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from tapetum.archive.rows import Note, Refusal, Row


@dataclass(frozen=True)
class Card:
    """What is known of a public data set.

    Attributes:
        layout: path below the root → what the file holds (for a table: its columns; for an archive of arrays: their
            names).
        label_map: label text → finding of the pack; labels not named keep their own text.
        counts: file or part → number of images known from the real data.
        pack: domain pack, empty where there is none. modality: of all images.
    """

    name: str
    licence: str
    source: str
    layout: Mapping[str, tuple[str, ...]]
    counts: Mapping[str, int]
    label_map: Mapping[str, str] = field(default_factory=dict[str, str])
    pack: str = ""
    modality: str = "unknown"


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
