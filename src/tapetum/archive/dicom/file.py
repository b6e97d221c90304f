"""DICOM files that nobody vouches for: recognised by their content, read without force, bounded in size and depth."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import pydicom
import pydicom.filereader
from pydicom.datadict import dictionary_VR
from pydicom.filebase import DicomIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from tapetum.archive.quietly import quietly
from tapetum.core.errors import DataError

MAX_INFLATED = 384 * 2**20
MAX_DEPTH = 32
HEAD = 132
_SHORT = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())


def is_dicom(data: bytes) -> bool:
    """Whether the bytes are DICOM: its marker after the preamble, or, without a preamble, sound elements in order.

    Args:
        data: the file, or at least its first 132 bytes; no more is looked at.
    """
    return data[128:HEAD] == b"DICM" or _begins_with_elements(data[:HEAD])


def _begins_with_elements(head: bytes) -> bool:
    """Whether two sound elements of group 2 or 8 follow each other in ascending order."""
    return any(_elements(head, order, explicit) >= 2 for order, explicit in (("<", True), ("<", False), (">", True)))


def _elements(head: bytes, order: str, explicit: bool) -> int:
    place, count, last = 0, 0, (0, -1)
    while count < 2 and place + 8 <= len(head):
        tag = struct.unpack_from(order + "HH", head, place)
        representation = head[place + 4 : place + 6]
        if tag <= last or tag[0] not in (2, 8):
            return 0
        if not explicit:
            (length,) = struct.unpack_from(order + "I", head, place + 4)
            place += 8
        elif representation in _SHORT:
            (length,) = struct.unpack_from(order + "H", head, place + 6)
            place += 8
        elif representation in _LONG and place + 12 <= len(head):
            (length,) = struct.unpack_from(order + "I", head, place + 8)
            place += 12
        else:
            return 0
        if length % 2 or length > 2**20:
            return 0
        place, count, last = place + length, count + 1, tag
    return count


def read_dicom(data: bytes, *, header_only: bool = False) -> Any:
    """The data set of a DICOM file.

    Args:
        data: the file.
        header_only: leave the pixels out.

    Raises:
        DataError: no DICOM, a damaged header, a deflated file of more than 384 MiB, or sequences deeper than 32.
    """
    marked = data[128:HEAD] == b"DICM"
    if not marked and not is_dicom(data):
        raise DataError("the file has no DICOM marker", "DICM after a preamble of 128 bytes")
    try:
        with quietly():  # pydicom warns about odd values; what matters is checked by the reader
            if marked and DeflatedExplicitVRLittleEndian.encode() in data[HEAD : HEAD + 4096]:
                data = _inflated(data)
            ds = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=header_only, force=not marked)
            _check_lengths(ds)
            _check_depth(ds)
            return ds
    except DataError:
        raise
    except Exception as error:  # on damaged headers pydicom raises what it likes
        text = str(error)[:200] or type(error).__name__
        raise DataError(f"the DICOM file does not open: {text}", "a whole, undamaged file") from None


def _inflated(data: bytes) -> bytes:
    """The same file in explicit little endian; a small file that hides gigabytes is refused."""
    source = io.BytesIO(data)
    source.seek(HEAD)
    meta = pydicom.filereader._read_file_meta_info(source)  # pyright: ignore[reportPrivateUsage]
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return data
    packed = data[source.tell() :]
    try:
        _check_inflated_size(packed)
        body = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed)  # an object: padding may follow the stream
    except zlib.error as error:
        raise DataError(f"the deflated DICOM file does not inflate: {error}", "a whole, undamaged file") from None
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    out = io.BytesIO()
    out.write(data[:HEAD])
    write_file_meta_info(DicomIO(out), meta, enforce_standard=False)
    out.write(body)
    return out.getvalue()


def _check_inflated_size(packed: bytes) -> None:
    """Inflate by the mebibyte and keep nothing: a bomb must not cost its size in memory."""
    stream, size, rest = zlib.decompressobj(-zlib.MAX_WBITS), 0, packed
    while not stream.eof:
        part = stream.decompress(rest, 2**20)
        rest = stream.unconsumed_tail
        size += len(part)
        if size > MAX_INFLATED:
            raise DataError(
                f"a deflated DICOM file of {len(packed):,} bytes inflates to more than {MAX_INFLATED:,}",
                "a smaller file",
            )
        if not part and not rest and not stream.eof:
            raise DataError("the deflated DICOM file ends early", "a whole, undamaged file")


def _check_lengths(ds: Any) -> None:
    """Pydicom reads past the end of a file in silence; what an element declares must be there."""
    for tag in list(ds.keys()):
        element = ds.get_item(tag)
        declared, value = getattr(element, "length", None), getattr(element, "value", None)
        if isinstance(value, bytes) and declared not in (None, 0xFFFFFFFF) and len(value) < declared:
            raise DataError(
                f"the DICOM file is cut short: {element.tag} declares {declared:,} bytes and holds {len(value):,}",
                "a whole, undamaged file",
            )


def _check_depth(ds: Any) -> None:
    pending = [(ds, 1)]
    while pending:
        level, depth = pending.pop()
        if depth > MAX_DEPTH:
            raise DataError(f"sequences nested more than {MAX_DEPTH} deep", "a sound header")
        for tag in list(level.keys()):
            if _is_sequence(level.get_item(tag)):
                items: Any = level[tag].value
                if not isinstance(items, bytes):
                    pending += [(item, depth + 1) for item in items or ()]


def _is_sequence(element: Any) -> bool:
    if element.VR is not None:
        return element.VR == "SQ"
    try:
        return dictionary_VR(element.tag) == "SQ"
    except KeyError:
        return False
