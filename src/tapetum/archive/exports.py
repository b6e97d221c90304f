"""From what the user named (a folder, a file, `odir:PATH`) to the reader that reads it."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tapetum.archive.card import Card
from tapetum.archive.dicompixels import is_dicom
from tapetum.archive.places import IMAGE_SUFFIXES, TABLE_SUFFIXES, Places
from tapetum.archive.rows import Note, Refusal, Row
from tapetum.core.errors import DataError
from tapetum.core.registry import Family

if TYPE_CHECKING:
    from tapetum.archive.ingest import IngestConfig

DATASETS = Family("tapetum.archive.datasets")
READERS = Family("tapetum.archive.readers")
PHANTOM_MARK = "PHANTOM.md"


@dataclass(frozen=True)
class Export:
    """One source, with the way to read it.

    Attributes:
        root: its folder or file. name: of the folder or file, as the catalog keeps it.
        read: yields rows, refusals and notes. card: of a public set. phantom: made by the digital phantom.
    """

    root: Path
    name: str
    read: Callable[[], Iterator[Row | Refusal | Note]]
    card: Card | None = None
    modality: str = ""
    phantom: bool = False


def find_export(source: Path | str, config: IngestConfig) -> Export:
    """Choose dataset or reader for one source.

    Raises:
        DataError: nothing there, or nothing that can be read. UsageError: an unknown data set or reader.
    """
    name, colon, rest = str(source).partition(":")
    dataset = config.dataset
    if colon and name in DATASETS.names():
        dataset, source = name, rest
    path = Path(source)
    if not path.exists():
        raise DataError(f"there is no {path}", "a folder with images and a table")
    phantom = (path / PHANTOM_MARK).is_file()
    if dataset:
        member = DATASETS.build(dataset)
        card: Card = importlib.import_module(f"{DATASETS.package}.{dataset}").CARD
        return Export(path, path.name, functools.partial(member, path), card, card.modality, phantom)
    table = config.table
    if path.is_file():
        path, table = path.parent, path.name
        if not table.lower().endswith(TABLE_SUFFIXES):
            raise DataError(f"{table} is no table", "a folder, a CSV or TSV file, or NAME:PATH of a public set")
    member = READERS.build(
        config.reader or _recognise(path), columns=config.map, labels=config.labels, table=table,
        encoding=config.encoding, date_order=config.date_order, report_required=config.report_required,
    )  # fmt: skip
    return Export(path, path.name, functools.partial(member, path), phantom=phantom)


def _recognise(root: Path) -> str:
    """`dicom` for a folder that holds DICOM files and no other images, else `folder`."""
    places = Places(root)
    if any(file.lower().endswith(IMAGE_SUFFIXES) for file in places.files):
        return "folder"
    for file in places.files:
        with (root / file).open("rb") as stream:
            if is_dicom(stream.read(132)):
                return "dicom"
    return "folder"
