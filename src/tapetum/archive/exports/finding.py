"""From what the user named (a folder, a file, `odir:PATH`) to the reader that reads it."""

from __future__ import annotations

import dataclasses
import functools
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tapetum.archive.config import IngestConfig
from tapetum.archive.exports.card import Card
from tapetum.archive.exports.kinds import kind_of
from tapetum.archive.pacs.source import Memory, Portion, Source
from tapetum.archive.places import TABLE_SUFFIXES, Places
from tapetum.archive.rows import Note, Refusal, Row
from tapetum.archive.tables.settings import TableSettings
from tapetum.core.errors import DataError, UsageError
from tapetum.core.registry import Family, Spec

DATASETS = Family("tapetum.archive.datasets")
READERS = Family("tapetum.archive.readers")
FEEDS = Family("tapetum.archive.feeds")
PHANTOM_MARK = "PHANTOM.md"


@dataclass(frozen=True)
class Export:
    """One source, with the way to read it.

    Attributes:
        root: its folder or file. name: of the folder or file, as the catalog keeps it.
        read: yields rows, refusals and notes. card: of a public set. phantom: made by the digital phantom.
        stream: of a source that is read in portions, each on disk before the next is fetched; `read` then yields
            nothing and raises what stands in the way.
    """

    root: Path
    name: str
    read: Callable[[], Iterator[Row | Refusal | Note]]
    card: Card | None = None
    modality: str = ""
    phantom: bool = False
    stream: Callable[[Memory], Iterator[Portion]] | None = None


def find_export(source: Path | str, config: IngestConfig) -> Export:
    """Choose dataset or reader for one source.

    Raises:
        DataError: nothing there, or nothing that can be read. UsageError: an unknown data set or reader.
    """
    name, colon, rest = str(source).partition(":")
    if colon and name in FEEDS.names():
        feed = _feed(name, rest, config)
        return Export(feed.folder, feed.name, feed.check, stream=feed.portions)
    dataset = config.dataset
    if colon and name in DATASETS.names():
        dataset, source = name, rest
    path = Path(source)
    if not path.exists():
        raise DataError(f"there is no {path}", "a folder with images and a table")
    phantom = (path / PHANTOM_MARK).is_file()
    if dataset:
        member = DATASETS.build(dataset)
        card: Card = importlib.import_module(f"{DATASETS.package}.{Spec.parse(dataset).name}").CARD
        return Export(path, path.name, functools.partial(member, path), card, card.modality, phantom)
    table = config.table
    if path.is_file():
        path, table = path.parent, path.name
        if not table.lower().endswith(TABLE_SUFFIXES):
            raise DataError(f"{table} is no table", "a folder, a CSV, TSV or Excel file, or NAME:PATH of a public set")
    spec, settings = _said(Spec.parse(config.reader or _recognise(path, table)), config, table)
    return Export(path, path.name, functools.partial(READERS.build(spec), path, settings), phantom=phantom)


def _said(spec: Spec, config: IngestConfig, table: str) -> tuple[Spec, TableSettings]:
    """The reader with its own options, and what is said of the table, be it with the reader: `folder(header_row=3)`.

    Raises:
        UsageError: one thing said twice and not alike, or a value of another kind.
    """
    plain = vars(TableSettings())
    asked = TableSettings(
        columns=config.map, labels=config.labels, table=table, encoding=config.encoding, date_order=config.date_order,
        report_required=config.report_required, header_row=config.header_row,
    )  # fmt: skip
    of_table = {key: value for key, value in spec.options.items() if key in plain}
    for key, value in of_table.items():
        default, other = plain[key], vars(asked)[key]
        if type(value) is not type(default):
            raise UsageError(f"{key}={value!r} in reader={spec}", f"a value such as {default!r}")
        if other not in (default, value):
            raise UsageError(f"{key}={other} and reader={spec}", "one of the two")
    own = {key: value for key, value in spec.options.items() if key not in of_table}
    return Spec(spec.name, own), dataclasses.replace(asked, **of_table)


def _feed(name: str, address: str, config: IngestConfig) -> Source:
    spec = Spec.parse(config.reader or name)
    if spec.name != name:
        raise UsageError(f"reader={config.reader} for a source {name}:…", f"reader={name}(…)", f"tapetum list {name}")
    if config.map or config.labels or config.table:
        raise UsageError(
            f"a table for {name}:…", "a folder with a table, taken on its own", "tapetum ingest FOLDER …"
        )  # fmt: skip
    return FEEDS.build(spec)(address)


def _recognise(root: Path, table: str) -> str:
    """`folder` for images with a table or a mixture with one, else the reader of the only kind of file that is there.

    Raises:
        UsageError: files of several kinds and no table that says what they are.
    """
    places = Places(root)
    kinds: dict[str, str] = {}  # kind → the first file of it
    for file in places.files:
        kinds.setdefault(kind_of(places.root / file), file)
    kinds.pop("", None)
    if "picture" in kinds and len(kinds) == 1:
        return "folder"
    if len(kinds) == 1:
        return next(iter(kinds))
    if not kinds or table or any(p.suffix.lower() in TABLE_SUFFIXES for p in root.iterdir()):
        return "folder"
    found = ", ".join(f"{kind} ({file})" for kind, file in kinds.items())
    raise UsageError(
        f"{root.name}/ holds files of {len(kinds)} kinds and no table: {found}",
        "one kind, or a table that names the files",
        " or ".join(f"reader={kind}" for kind in kinds if kind != "picture"),
    )
