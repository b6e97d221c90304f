"""DICOM headers read with care: bounded reads, only the tags that are needed, values of any kind as text.

A file is hostile until read: lengths may lie, sequences may nest without end, values may contradict their type. A
value that cannot be read counts as absent; a header that cannot be read is an error with its reason.
"""

from __future__ import annotations

import io
import logging
import warnings
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import pydicom
from pydicom.datadict import tag_for_keyword
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset, read_file_meta_info

from tapetum.archive.dicom.file import is_dicom
from tapetum.core.errors import DataError

MAX_VALUE_BYTES = 64 * 2**20
MAX_INFLATED_BYTES = 256 * 2**20
_DEFLATED = "1.2.840.10008.1.2.1.99"
_PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
# What reading a damaged header can raise: pydicom promises nothing narrower, and one file must not end the run.
HEADER_ERRORS = (Exception,)


# pydicom logs each odd value in full, and without a handler Python prints that: names would stand on the screen.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)


class _LimitError(OSError):
    """A value larger than any header needs."""


class Bounded:
    """A file whose reads never ask for more than it holds, nor for a single value beyond 64 MiB."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._size = stream.seek(0, io.SEEK_END)
        stream.seek(0)

    def read(self, count: int = -1) -> bytes:
        """At most `count` bytes; fewer where the file ends."""
        rest = max(0, self._size - self._stream.tell())
        wanted = rest if count is None or count < 0 else min(count, rest)  # pyright: ignore[reportUnnecessaryComparison]
        if wanted > MAX_VALUE_BYTES:
            raise _LimitError(f"a header value of {wanted:,} bytes")
        return self._stream.read(wanted)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """As a file's."""
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """As a file's."""
        return self._stream.tell()


def read_header(path: Path, keywords: Sequence[str]) -> Any:
    """The named top-level elements of a DICOM file, pixels left unread.

    Args:
        path: of the file.
        keywords: of the elements wanted, with everything inside them.

    Raises:
        DataError: no marker, or a header that does not open.
    """
    tags = [tag for tag in (tag_for_keyword(name) for name in keywords) if tag is not None]
    with path.open("rb") as stream:
        if not is_dicom(stream.read(132)):
            raise DataError("the file has no DICOM marker", "DICM at byte 128")
        stream.seek(0)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return _read(stream, path, tags)
        except InvalidDicomError:
            raise DataError("the DICOM file has no file meta information", "group 0002 after the marker") from None
        except HEADER_ERRORS as error:
            # What pydicom says may quote a value, and a value may be a name.
            said = str(error) if isinstance(error, _LimitError) else type(error).__name__
            raise DataError(f"the DICOM file does not open: {said}", "a whole, undamaged file") from None


def _read(stream: BinaryIO, path: Path, tags: Sequence[int]) -> Any:
    beginning = stream.read(4096)
    stream.seek(0)
    marked = beginning[128:132] == b"DICM"  # without the marker, `is_dicom` has found sound elements
    if not marked or _DEFLATED.encode() not in beginning:
        return _elements(stream, tags, force=not marked)
    head = read_file_meta_info(path)
    if str(head.get("TransferSyntaxUID", "")) != _DEFLATED:
        return _elements(stream, tags, force=False)
    # Group length counts from the end of its own element: 128 + 4 + 12 bytes.
    stream.seek(144 + int(head.FileMetaInformationGroupLength))
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    body = unpacker.decompress(stream.read(), MAX_INFLATED_BYTES)
    if unpacker.unconsumed_tail:
        raise _LimitError(f"deflated data of more than {MAX_INFLATED_BYTES >> 20} MiB")
    wanted = cast(Any, list(tags))
    ds: Any = read_dataset(io.BytesIO(body), False, True, stop_when=_at_pixels, specific_tags=wanted)
    ds.file_meta = head
    return ds


def _elements(stream: BinaryIO, tags: Sequence[int], *, force: bool) -> Any:
    bounded = cast(BinaryIO, Bounded(stream))
    return pydicom.dcmread(bounded, stop_before_pixels=True, specific_tags=list(tags), force=force)


def _at_pixels(tag: int, _vr: str | None, _length: int) -> bool:
    return tag in _PIXELS


def value_of(ds: Any, name: str) -> Any:
    """The value of an element, None where it is absent or cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a warning quotes the value
            return ds.get(name, None)
    except HEADER_ERRORS:
        return None


def text(ds: Any, name: str) -> str:
    """The element as text without padding; several values are joined by a backslash; unreadable counts as absent."""
    value = value_of(ds, name)
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode("latin-1").strip(" \0\r\n\t")
    try:
        if isinstance(value, list | tuple) or hasattr(value, "_list"):
            return "\\".join(str(one).strip(" \0") for one in value).strip("\\")
        return str(value).strip(" \0\r\n\t")
    except HEADER_ERRORS:
        return ""


def texts(ds: Any, name: str) -> tuple[str, ...]:
    """Each of the values of an element, without the empty ones."""
    return tuple(part for part in (piece.strip() for piece in text(ds, name).split("\\")) if part)


def items(ds: Any, name: str) -> Iterator[Any]:
    """The items of a sequence; none where it is absent, empty or no sequence."""
    value = value_of(ds, name)
    if not isinstance(value, pydicom.Sequence):
        return
    try:
        yield from value
    except HEADER_ERRORS:
        return


def number(ds: Any, name: str) -> float | None:
    """The first value as a finite number, None where there is none."""
    try:
        found = float(text(ds, name).split("\\")[0])
    except ValueError:
        return None
    return found if found == found and abs(found) < 1e300 else None  # noqa: PLR0124 - NaN
