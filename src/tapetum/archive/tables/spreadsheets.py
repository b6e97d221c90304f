"""The cells of an Excel file as text; runs in a child process, since the file may be a bomb or worse."""

from __future__ import annotations

import datetime
import json
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

from tapetum.core.errors import DataError, MissingExtraError, UsageError

MAX_CELLS = 20_000_000
MAX_UNPACKED_BYTES = 1024 * 2**20


def sheet_rows(place: str, sheet: str, header_row: int) -> bytes:
    """The rows of one sheet.

    Args:
        place: path of the file.
        sheet: its name; empty if only one sheet has a header.
        header_row: counted from 1.

    Returns:
        JSON: the name of the sheet, and its rows as lists of texts. Dates are written as ISO, whole numbers without a
        point, an error value or an empty cell as an empty text. A formula counts as the value that was last saved.

    Raises:
        DataError: no Excel file, damaged, or too large. UsageError: several sheets and none named, or no such sheet.
        MissingExtraError: the extra `excel` is not installed.
    """
    path = Path(place)
    sheets = dict(_old_sheets(path) if path.suffix.lower() == ".xls" else _new_sheets(path))
    if sheet:
        if sheet not in sheets:
            raise UsageError(f"{path.name} has no sheet {sheet!r}", f"one of: {', '.join(sheets)}")
    else:
        filled = [
            n for n, rows in sheets.items() if any(rows[header_row - 1 : header_row]) and _has_text(rows, header_row)
        ]
        if len(filled) > 1:
            raise UsageError(
                f"{path.name} has {len(filled)} sheets: {', '.join(filled)}", "one of them",
                f"table={path.name}#{filled[0]}",
            )  # fmt: skip
        if not filled:
            raise DataError(f"{path.name} has no header", "a first row with the names of the columns, or header_row=N")
        sheet = filled[0]
    return json.dumps({"sheet": sheet, "rows": sheets[sheet]}, ensure_ascii=False).encode()


def _has_text(rows: list[list[str]], header_row: int) -> bool:
    return any(cell.strip() for cell in rows[header_row - 1])


def _new_sheets(path: Path) -> Iterator[tuple[str, list[list[str]]]]:
    try:
        import openpyxl
    except ImportError:
        raise _no_extra(path) from None
    try:
        with zipfile.ZipFile(path) as packed:
            size = sum(info.file_size for info in packed.infolist())
        if size > MAX_UNPACKED_BYTES:
            raise DataError(f"{path.name} unpacks to {size:,} bytes", f"at most {MAX_UNPACKED_BYTES:,}")
        book = openpyxl.load_workbook(path, read_only=True, data_only=True, keep_links=False)
        found: list[tuple[str, list[list[str]]]] = []
        for sheet in book.worksheets:
            sheet.reset_dimensions()  # what a file says of its own size is often wrong
            found.append((sheet.title, list(_texts(sheet.iter_rows(values_only=True)))))
        book.close()
    except DataError:
        raise
    except Exception as error:  # a damaged archive of XML raises whatever its parsers raise
        raise _damaged(path, error) from None
    yield from found


def _old_sheets(path: Path) -> Iterator[tuple[str, list[list[str]]]]:
    try:
        import xlrd
    except ImportError:
        raise _no_extra(path) from None
    try:
        with xlrd.open_workbook(str(path), on_demand=True, logfile=_Silent()) as book:
            found = [(n, list(_texts(_old_rows(book.sheet_by_name(n), book.datemode)))) for n in book.sheet_names()]
    except DataError:
        raise
    except Exception as error:  # as above
        raise _damaged(path, error) from None
    yield from found


def _old_rows(sheet: Any, datemode: int) -> Iterator[list[Any]]:
    import xlrd

    for row in sheet.get_rows():
        cells: list[Any] = []
        for cell in row:
            if cell.ctype == xlrd.XL_CELL_DATE:
                cells.append(xlrd.xldate_as_datetime(cell.value, cast(Any, datemode)))
            elif cell.ctype == xlrd.XL_CELL_BOOLEAN:
                cells.append(bool(cell.value))
            else:
                cells.append(None if cell.ctype == xlrd.XL_CELL_ERROR else cell.value)
        yield cells


def _texts(rows: Iterable[Iterable[Any]]) -> Iterator[list[str]]:
    count = 0
    for row in rows:
        cells = [_text(value) for value in row]
        count += len(cells)
        if count > MAX_CELLS:
            raise DataError(f"a sheet of more than {MAX_CELLS:,} cells", "a table of images")
        yield cells


def _text(value: Any) -> str:
    """As a person reads the cell, but dates as ISO and numbers with a point."""
    if value is None:
        return ""
    if isinstance(value, datetime.datetime):
        whole_day = value.time() == datetime.time(0)
        return value.date().isoformat() if whole_day else value.isoformat(sep=" ", timespec="seconds")
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    text = str(value)
    return (
        ""
        if text.startswith("#") and text.rstrip("!?/A0") in ("#N", "#REF", "#DIV", "#VALUE", "#NAME", "#NUM", "#NULL")
        else text
    )


class _Silent:
    """A log that keeps nothing."""

    def write(self, text: str) -> int:
        """Taken and forgotten."""
        return len(text)


def _damaged(path: Path, error: Exception) -> DataError:
    said = str(error) or type(error).__name__
    return DataError(f"{path.name} does not open: {said}", "a whole Excel file (.xlsx or .xls), without a password")


def _no_extra(path: Path) -> MissingExtraError:
    return MissingExtraError(
        f"{path.name} is an Excel file", "openpyxl and xlrd", "pip install 'tapetum[excel]', or save it as CSV"
    )
