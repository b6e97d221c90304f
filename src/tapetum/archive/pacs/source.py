"""What the readers of a PACS share: portions that are on disk before the next is asked for, and what is remembered.

Objects wait in a folder of the user's own (0700) outside the archive until the archive has them. Nothing is ever
written to a PACS.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tapetum.archive.dicom.classes import is_document
from tapetum.archive.dicom.header import HEADER_KEYWORDS, row_of
from tapetum.archive.dicom.reports import Document, document_of, join_reports
from tapetum.archive.dicom.values import read_header, text
from tapetum.archive.rows import Note, Refusal, Row, one_line
from tapetum.core.errors import ArtefactError, DataError, UsageError

_UID = re.compile(r"[0-9.]{1,64}")
Item = Row | Refusal | Note


def _nothing() -> None:
    return


@dataclass(frozen=True)
class Portion:
    """Part of what a source holds.

    Attributes:
        items: what there is to take. done: to be called once all of it is on disk.
    """

    items: Sequence[Item]
    done: Callable[[], None] = _nothing


class Memory(Protocol):
    """What an archive remembers of a source."""

    def has(self, uid: str) -> bool:
        """Whether the object was taken before."""
        ...

    def remember(self, uids: Mapping[str, str]) -> None:
        """Note the objects of one study (file → SOP Instance UID) that are on disk."""
        ...

    def refused(self, files: Iterable[str]) -> set[str]:
        """Which of the files this run refused."""
        ...

    def cursor(self, name: str) -> str:
        """How far the source was read, `""` if it never was."""
        ...

    def set_cursor(self, name: str, value: str) -> None:
        """Note how far the source was read."""
        ...

    @property
    def folder(self) -> Path | None:
        """The archive's folder."""
        ...


@dataclass(frozen=True)
class Source:
    """What lies behind an address.

    Attributes:
        folder: where its objects wait. name: as the catalog keeps it. check: raises what stands in the way.
        portions: what it holds, as far as the archive does not.
    """

    folder: Path
    name: str
    check: Callable[[], Iterator[Item]]
    portions: Callable[[Memory], Iterator[Portion]]


class NoMemory:
    """Nothing is remembered: everything is read."""

    folder: Path | None = None

    def has(self, uid: str) -> bool:
        """Never."""
        del uid
        return False

    def remember(self, uids: Mapping[str, str]) -> None:
        """Forgotten."""
        del uids

    def refused(self, files: Iterable[str]) -> set[str]:
        """All: nothing was taken."""
        return set(files)

    def cursor(self, name: str) -> str:
        """None."""
        del name
        return ""

    def set_cursor(self, name: str, value: str) -> None:
        """Forgotten."""
        del name, value


def is_uid(value: str) -> bool:
    """Whether the text may stand in a path: digits and dots, at most 64.

    Example:
        >>> is_uid("1.2.840.1"), is_uid("../etc"), is_uid("")
        (True, False, False)
    """
    return _UID.fullmatch(value) is not None and value.strip(".") != ""


def open_object(path: Path, file: str) -> Row | Document:
    """What one fetched object is, by its own header.

    Args:
        path: of the object on disk.
        file: the name it goes by in the archive.

    Raises:
        DataError: it cannot be taken.
    """
    ds = read_header(path, HEADER_KEYWORDS)
    if is_document(text(ds, "SOPClassUID")):
        return document_of(ds, path, file)
    return row_of(ds, file=file, read=functools.partial(Path.read_bytes, path))


def items_of(files: Mapping[str, Path]) -> list[Item]:
    """Images with their reports, refusals and notes of objects that belong together.

    Args:
        files: name in the archive → where the object lies.
    """
    items, documents = list[Item](), list[Document]()
    for file, path in files.items():
        try:
            found = open_object(path, file)
        except DataError as error:
            items.append(Refusal(file, 0, one_line(error)))
            continue
        if isinstance(found, Document):
            documents.append(found)
        else:
            items.append(found)
    return list(join_reports(items, documents))


def state_folder(kind: str, name: str) -> Path:
    """Where objects of a source wait: in the user's state folder, outside every archive.

    Args:
        kind: `spool` or `inbox`.
        name: of the source; characters that no path should hold are replaced.
    """
    base = os.environ.get("XDG_STATE_HOME", "") or str(Path.home() / ".local" / "state")
    return Path(base) / "tapetum" / kind / (re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:80] or "pacs")


@contextlib.contextmanager
def held_folder(folder: Path, archive: Path | None) -> Generator[Path, None, None]:
    """A folder that nobody else may read and no other process uses.

    Args:
        folder: made where there is none, 0700.
        archive: the archive's folder, which must not hold it.

    Raises:
        UsageError: it lies inside the archive. ArtefactError: another process uses it, or it belongs to another user.
    """
    import fcntl

    if archive is not None and folder.resolve().is_relative_to(archive.resolve()):
        raise UsageError(f"{folder} would lie inside the archive", "a folder apart from it", "another folder")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.stat().st_uid != os.getuid():
        raise ArtefactError(f"{folder} belongs to another user", "a folder of your own")
    folder.chmod(0o700)
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ArtefactError(f"another process uses {folder}", "one reader of a PACS at a time") from None
        yield folder
    finally:
        os.close(handle)


def sweep(folder: Path) -> None:
    """Remove objects that a killed process left; nothing else that may lie there."""
    for left in (*folder.glob("*.dcm"), *folder.glob(".*.part")):
        left.unlink(missing_ok=True)
