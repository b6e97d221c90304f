"""Images with a table that says what they are: shared by the folder reader and by the data sets that come so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from tapetum.archive.exports.kinds import NIFTI_SUFFIXES, VENDOR_SUFFIXES, VIDEO_SUFFIXES, Options, kind_of, rows_of
from tapetum.archive.places import IMAGE_SUFFIXES, Places, the_table
from tapetum.archive.rows import Note, Refusal, Row, one_line
from tapetum.archive.tables.joining import Joiner
from tapetum.archive.tables.settings import TableSettings
from tapetum.archive.tables.table import Table, map_columns, read_table
from tapetum.core.errors import DataError

_PLAIN = Options()
READ_SUFFIXES = (*IMAGE_SUFFIXES, ".dcm", *VENDOR_SUFFIXES, *NIFTI_SUFFIXES, *VIDEO_SUFFIXES)


def tabular_rows(
    root: Path, settings: TableSettings, *, options: Options = _PLAIN, images: str = ""
) -> Iterator[Row | Refusal | Note]:
    """Rows of a folder of images with a table (see `readers.folder`).

    Args:
        root: the export's folder; images may lie anywhere below it.
        settings: what is said of the table.
        options: for volumes and videos that the table names.
        images: folder below the root that holds this table's images; the root itself by default.

    Returns:
        Rows, refusals and notes in the order of the table.

    Raises:
        DataError: no table, a missing column, an unknown encoding. UsageError: several tables and none named.
    """
    read = named_table(root, settings)
    if read is None:
        raise DataError(f"{root.name}/ has no table", "a CSV, TSV or Excel file beside the images", "table=NAME.csv")
    role = map_columns(read, settings.columns, labels=settings.labels, required=("image", "patient"))
    yield from told(read, role)
    joiner = Joiner.of(read, role, settings)
    places = Places(root / images, READ_SUFFIXES)
    named: set[str] = set()
    for number, cells in read.rows:
        said = cells[role["image"]].strip()
        try:
            file = places.find(said)
            joined = [joiner.join(row, number, cells) for row in rows_of(places.root, file, options)]
            named.add(file)
            yield from joined
        except DataError as error:
            yield Refusal(said or read.path.name, number, one_line(error))
    unnamed = [file for file in places.files if file not in named]
    if unnamed:
        yield Note(f"{len(unnamed)} image files are in no row that was taken, first {unnamed[0]}")


def kind_rows(
    root: Path, kind: str, settings: TableSettings, *, options: Options = _PLAIN
) -> Iterator[Row | Refusal | Note]:
    """Rows of all files of one kind below a folder; a table may say more of them.

    Args:
        root: the export's folder.
        kind: `vendor`, `nifti` or `video`.
        settings: what is said of the table.
        options: for the kind.

    Raises:
        DataError: no file of the kind, or a table that cannot be read. UsageError: several tables and none named.
    """
    places = Places(root)
    read = named_table(root, settings)
    said: dict[str, tuple[int, Mapping[str, str]]] = {}
    joiner = plain = Joiner({}, report_required=False)
    if read is not None:
        role = map_columns(read, settings.columns, labels=settings.labels, required=("image",))
        joiner = Joiner.of(read, role, settings)
        yield from told(read, role)
        yield from rows_by_file(places, read, role, said)
    taken, others = 0, list[str]()
    for file in places.files:
        if read is not None and places.root / file == read.path.resolve():
            continue
        if kind_of(places.root / file) != kind:
            others.append(file)
            continue
        taken += 1
        number, cells = said.get(file, (0, {}))
        try:
            rows = list(rows_of(places.root, file, options, kind=kind))  # all of a file or none of it
            yield from [joiner.join(row, number, cells) if cells else plain.join(row, 0, {}) for row in rows]
        except DataError as error:
            yield Refusal(file, number, one_line(error))
    if not taken:
        raise DataError(f"{root.name}/ holds no file of the kind {kind}", f"files that reader={kind} reads")
    yield from passed_over(others, f"not read by reader={kind}")


def named_table(root: Path, settings: TableSettings) -> Table | None:
    """The table of an export as text, None where there is none."""
    place = the_table(root, settings.table)
    sheet = settings.table.partition("#")[2]
    return read_table(place, settings.encoding, sheet=sheet, header_row=settings.header_row) if place else None


def told(read: Table, role: Mapping[str, str]) -> Iterator[Refusal | Note]:
    """Which columns were taken for what, and the rows that have too few or too many cells."""
    yield Note(f"{read.path.name} ({read.encoding}): " + ", ".join(f"{r}={c}" for r, c in role.items()))
    for number, reason in read.ragged:
        yield Refusal(read.path.name, number, reason)


def rows_by_file(
    places: Places, read: Table, role: Mapping[str, str], said: dict[str, tuple[int, Mapping[str, str]]]
) -> Iterator[Refusal]:
    """Fill `said` with the table's row of each file; a second row for a file, or one without a file, is refused."""
    for number, cells in read.rows:
        named = cells[role["image"]].strip()
        try:
            file = places.find(named)
        except DataError as error:
            yield Refusal(named or read.path.name, number, one_line(error))
            continue
        if file in said:
            yield Refusal(read.path.name, number, f"a second row for {file} (the first: row {said[file][0]})")
            continue
        said[file] = (number, cells)


def passed_over(files: list[str], why: str) -> Iterator[Note]:
    """One note that counts the files which were not read, by ending."""
    if not files:
        return
    counts: dict[str, int] = {}
    for file in files:
        ending = Path(file).suffix.lower() or "no ending"
        counts[ending] = counts.get(ending, 0) + 1
    listed = ", ".join(f"{count} {ending}" for ending, count in sorted(counts.items()))
    yield Note(f"{len(files)} files are {why}: {listed}; first {files[0]}")
