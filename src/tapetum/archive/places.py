"""Where the files of an export are: found by relative path, never outside the export's folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from tapetum.core.errors import DataError, UsageError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
EXCEL_SUFFIXES = (".xlsx", ".xlsm", ".xls")
TABLE_SUFFIXES = (".csv", ".tsv", *EXCEL_SUFFIXES)


class Places:
    """All files below a folder, links to folders not followed.

    Args:
        root: the export's folder.
        suffixes: the endings of image files, lower case; empty for every file.

    Raises:
        DataError: `root` is no folder.
    """

    def __init__(self, root: Path, suffixes: Iterable[str] = ()) -> None:
        if not root.is_dir():
            raise DataError(f"{root} is no folder", "the folder of an export")
        self.root = root.resolve()
        wanted = tuple(suffixes)
        found: list[str] = []
        for folder, names, files in os.walk(self.root):
            names.sort()
            inside = Path(folder).relative_to(self.root)
            found.extend(
                (inside / name).as_posix() for name in files if not wanted or name.lower().endswith(wanted)
            )  # fmt: skip
        self.files = tuple(sorted(found))
        self._by_name: dict[str, list[str]] = {}
        self._by_stem: dict[str, list[str]] = {}
        for file in self.files:
            self._by_name.setdefault(PurePosixPath(file).name, []).append(file)
            self._by_stem.setdefault(PurePosixPath(file).stem, []).append(file)

    def find(self, text: str) -> str:
        """The file that a cell names: by path relative to the folder, by the end of its path, or by unique name.

        Returns:
            The path relative to the folder, with forward slashes.

        Raises:
            DataError: an absolute path, a path that leaves the folder, no such file, or several of that name.
        """
        cell = text.strip().replace("\\", "/")
        if not cell:
            raise DataError("no image file is named", "a path relative to the export's folder")
        parts = PurePosixPath(cell).parts
        if "\0" in cell or cell.startswith("/") or re.match(r"[A-Za-z]:", cell) or ".." in parts:
            raise DataError(f"the path {text!r} leaves the export's folder", "a path relative to it")
        cell = PurePosixPath(cell).as_posix()
        try:
            if parts and (self.root / cell).is_file():
                return self._inside(cell)
        except OSError:  # a name longer than the file system knows
            parts = ()
        if not parts:
            raise DataError(f"{text!r} names no file", "a path relative to the export's folder")
        same_name = self._by_name.get(parts[-1], []) or self._by_stem.get(parts[-1], [])
        fits = [f for f in same_name if len(parts) == 1 or f.endswith(f"/{cell}")]
        if len(fits) == 1:
            return self._inside(fits[0])
        if fits:
            raise DataError(f"{len(fits)} files are named {cell!r}: {fits[0]}, {fits[1]}", "the path of one of them")
        raise DataError(f"there is no file {cell!r}", f"a file below {self.root.name}/")

    def _inside(self, cell: str) -> str:
        if not (self.root / cell).resolve().is_relative_to(self.root):
            raise DataError(f"{cell!r} is a link out of the export's folder", "a file inside it")
        return cell


def the_table(root: Path, name: str) -> Path | None:
    """The table of an export: the one named, else the only one at the top of the folder, else None.

    Args:
        root: the export's folder.
        name: of the table's file; what follows a `#` names a sheet and is left to others.

    Raises:
        UsageError: there are several and none is named.
        DataError: the one named is not there.
    """
    if not root.is_dir():
        raise DataError(f"{root} is no folder", "the folder of an export")
    name = name.partition("#")[0]
    if name:
        if not (root / name).is_file() or not (root / name).resolve().is_relative_to(root.resolve()):
            raise DataError(f"there is no table {name!r} in {root.name}/", "a CSV, TSV or Excel file inside the folder")
        return root / name
    tables = sorted(
        p for p in root.iterdir() if p.is_file() and p.suffix.lower() in TABLE_SUFFIXES and not p.name.startswith("~$")
    )
    if len(tables) > 1:
        names = ", ".join(p.name for p in tables)
        raise UsageError(f"{root.name}/ has {len(tables)} tables: {names}", "one of them", f"table={tables[0].name}")
    return tables[0] if tables else None
