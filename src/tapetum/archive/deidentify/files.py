"""JPEG, PNG and TIFF files without what is no picture: metadata, comments, thumbnails, profiles, bytes at the end.

Pixels are not decoded and not encoded again. Only parts on an allow-list are copied; of EXIF the orientation alone is
kept, as a new minimal block, since the picture lies on its side without it. A file that holds nothing else comes back
as the same object.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib
from typing import Any

import numpy as np
from PIL import Image

from tapetum.core.errors import DataError

ORIENTATION = 274
_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")
# What follows 0xff inside a scan: a stuffed zero, a restart marker, a fill byte.
_IN_SCAN = np.array([n in (0, 255, *range(0xD0, 0xD8)) for n in range(256)])
# Tables, frames, restart interval, scans. APP0 (JFIF) and APP14 (Adobe) are written anew.
_JPEG_KEPT = frozenset(b"\xc4\xcc\xdb\xdc\xdd\xc0\xc1\xc2\xc3\xc5\xc6\xc7\xc9\xca\xcb\xcd\xce\xcf\xf7\xf8")
_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"sBIT", b"gAMA", b"cHRM", b"sRGB", b"bKGD", b"pHYs")
_TIFF_KEPT = (
    256, 257, 258, 259, 262, 266, 274, 277, 278, 280, 281, 284, 317, 320, 322, 323, 338, 339, 340, 341, 530, 531, 532,
)  # fmt: skip
_TIFF_SIZE = {1: 1, 3: 2, 4: 4, 5: 8, 6: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_TIFF_LIMIT = 2**28


def strip(data: bytes) -> bytes:
    """A JPEG, PNG or TIFF file without metadata.

    Raises:
        DataError: another format, a file cut short, or a TIFF with several images.
    """
    if data[:2] == b"\xff\xd8":
        return strip_jpeg(data)
    if data[:8] == _PNG:
        return _strip_png(data)
    if data[:4] in (b"II*\0", b"MM\0*"):
        return _strip_tiff(data)
    raise DataError("a file that is neither JPEG nor PNG nor TIFF", "one of these, or DICOM")


def strip_jpeg(data: bytes, *, orientation: bool = True) -> bytes:
    """A JPEG or JPEG-LS stream of its tables, frames and scans alone.

    Args:
        data: the stream.
        orientation: keep EXIF's orientation, where it is not the usual one.

    Raises:
        DataError: the stream is cut short or is none.
    """
    parts, place, dropped, ended = [b"\xff\xd8"], 2, False, False
    while not ended:
        found = _MARKER.match(data, place)
        if not found:
            raise DataError("the JPEG stream is damaged or cut short", "a whole, undamaged file")
        code, place = found[1][0], found.end()
        dropped |= found.end() - found.start() > 2
        if code == 0xD9:
            parts.append(b"\xff\xd9")
            ended = True
            continue
        length = int.from_bytes(data[place : place + 2], "big")
        if length < 2 or place + length > len(data):
            raise DataError("the JPEG stream is cut short in a segment", "a whole, undamaged file")
        body = data[place + 2 : place + length]
        place += length
        if code == 0xDA:
            follows = _after_scan(data, place)
            parts.append(data[found.end() - 2 : follows])
            place = follows
            continue
        kept = _segment(code, body)
        dropped |= kept != body
        if kept is not None:
            parts.append(bytes((0xFF, code)) + (len(kept) + 2).to_bytes(2, "big") + kept)
    if not dropped and place == len(data):
        return data
    turned = _orientation(data) if orientation and dropped else 1
    if turned != 1:
        exif = b"Exif\0\0" + _exif(turned)
        at = 2 if len(parts) > 1 and parts[1][:2] == b"\xff\xe0" else 1
        parts.insert(at, b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif)
    made = b"".join(parts)
    return data if made == data else made


def _after_scan(data: bytes, place: int) -> int:
    """Where the marker stands that ends a scan; block by block, since progressive files have many scans."""
    size = 2**16
    while place < len(data):
        block = np.frombuffer(data, np.uint8, min(size + 1, len(data) - place), place)
        marks = np.flatnonzero(block[:-1] == 0xFF)
        ends = marks[~_IN_SCAN[block[marks + 1]]]
        if len(ends):
            at = place + int(ends[0])
            while data[at - 1] == 0xFF:  # fill bytes before it belong to the marker
                at -= 1
            return at
        place, size = place + size, min(2 * size, 2**22)
    raise DataError("the JPEG stream is cut short: no end of image", "a whole, undamaged file")


def _segment(code: int, body: bytes) -> bytes | None:
    if code in _JPEG_KEPT:
        return body
    if code == 0xE0 and body[:5] == b"JFIF\0" and len(body) >= 14:
        return body[:12] + b"\0\0"  # without its thumbnail
    if code == 0xEE and body[:5] == b"Adobe" and len(body) >= 12:
        return b"Adobe\0\x64\0\0\0\0" + body[11:12]  # the colour transform only
    return None


def _orientation(data: bytes) -> int:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
                found = image.getexif().get(ORIENTATION, 1)
    except Exception:  # whatever EXIF does to Pillow: then nothing turns the picture in `decode` either
        return 1
    return int(found) if found in range(2, 9) else 1


def _exif(turned: int) -> bytes:
    return b"MM\0*\0\0\0\x08" + struct.pack(">HHHIHHI", 1, ORIENTATION, 3, 1, turned, 0, 0)


def _strip_png(data: bytes) -> bytes:
    parts, place, dropped = [_PNG], 8, False
    while True:
        length, name = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        end = place + 12 + length
        if len(name) < 4 or end > len(data):
            raise DataError("the PNG file is cut short", "a whole, undamaged file")
        if name in _PNG_KEPT:
            parts.append(data[place:end])
        else:
            dropped = True
        place = end
        if name == b"IEND":
            break
    if not dropped and place == len(data):
        return data
    turned = _orientation(data) if dropped else 1
    if turned != 1:
        body = b"eXIf" + _exif(turned)
        parts.insert(2, struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)))
    made = b"".join(parts)
    return data if made == data else made


def _strip_tiff(data: bytes) -> bytes:
    """One image file directory written anew, little things first, strips or tiles in their order behind it."""
    order = "<" if data[:2] == b"II" else ">"
    tags, following = _directory(data, order, struct.unpack(order + "I", data[4:8])[0])
    if following:
        raise DataError("the TIFF file holds several images", "one image per file")
    if tags.get(259, (3, (1,)))[1] == (6,):
        raise DataError("the TIFF file holds JPEG of the old kind (compression 6)", "another compression")
    place_tag, size_tag = (324, 325) if 324 in tags else (273, 279)
    if place_tag not in tags or size_tag not in tags:
        raise DataError("the TIFF file has no strips or tiles", "a whole, undamaged file")
    pieces: list[bytes] = []
    for start, size in zip(tags[place_tag][1], tags[size_tag][1], strict=True):
        if start + size > len(data):
            raise DataError("the TIFF file is cut short", "a whole, undamaged file")
        piece = data[start : start + size]
        pieces.append(strip_jpeg(piece, orientation=False) if piece[:2] == b"\xff\xd8" else piece)
    if sum(map(len, pieces)) > _TIFF_LIMIT:
        raise DataError("the strips of the TIFF file overlap", "a whole, undamaged file")
    kept = {tag: tags[tag] for tag in _TIFF_KEPT if tag in tags}
    if 347 in tags:  # tables that the JPEG strips share
        tables = strip_jpeg(bytes(tags[347][1]), orientation=False)
        kept[347] = (7, tuple(tables))
    kept[size_tag] = (4, tuple(map(len, pieces)))
    kept[place_tag] = (4, (0,) * len(pieces))
    return _write_tiff(order, data[:4], kept, place_tag, pieces)


def _directory(data: bytes, order: str, at: int) -> tuple[dict[int, tuple[int, tuple[Any, ...]]], int]:
    tags: dict[int, tuple[int, tuple[Any, ...]]] = {}
    damaged = DataError("the directory of the TIFF file is damaged", "a whole, undamaged file")
    try:
        (count,) = struct.unpack_from(order + "H", data, at)
        for number in range(count):
            tag, kind, length = struct.unpack_from(order + "HHI", data, at + 2 + 12 * number)
            if tag not in (*_TIFF_KEPT, 273, 279, 324, 325, 347):
                continue
            size = 1 if kind == 7 else _TIFF_SIZE[kind]
            if size * length > len(data):
                raise damaged
            place = at + 10 + 12 * number
            if size * length > 4:
                (place,) = struct.unpack_from(order + "I", data, place)
            tags[tag] = (kind, struct.unpack_from(order + _pattern(kind, length), data, place))
        (following,) = struct.unpack_from(order + "I", data, at + 2 + 12 * count)
    except (struct.error, KeyError):
        raise damaged from None
    return tags, following


def _pattern(kind: int, length: int) -> str:
    letter = {1: "B", 3: "H", 4: "I", 5: "II", 6: "b", 7: "B", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d"}[kind]
    return f"{length * len(letter)}{letter[0]}"


def _write_tiff(
    order: str, head: bytes, tags: dict[int, tuple[int, tuple[Any, ...]]], place_tag: int, pieces: list[bytes]
) -> bytes:
    listed = sorted(tags)
    end = 8 + 2 + 12 * len(listed) + 4
    extra, where = b"", dict[int, int]()
    for tag in listed:
        raw = struct.pack(order + _pattern(tags[tag][0], len(tags[tag][1])), *tags[tag][1])
        if len(raw) > 4:
            where[tag] = end + len(extra)
            extra += raw + b"\0" * (len(raw) % 2)
    starts, at = list[int](), end + len(extra)
    for piece in pieces:
        starts.append(at)
        at += len(piece) + len(piece) % 2
    tags[place_tag] = (4, tuple(starts))
    out = bytearray(head + struct.pack(order + "I", 8) + struct.pack(order + "H", len(listed)))
    body = bytearray(extra)
    for tag in listed:
        kind, values = tags[tag]
        raw = struct.pack(order + _pattern(kind, len(values)), *values)
        count = len(values) // (2 if kind in (5, 10) else 1)
        out += struct.pack(order + "HHI", tag, kind, count)
        if tag in where:
            body[where[tag] - end : where[tag] - end + len(raw)] = raw
            out += struct.pack(order + "I", where[tag])
        else:
            out += raw.ljust(4, b"\0")
    out += b"\0\0\0\0" + body
    for piece in pieces:
        out += piece + b"\0" * (len(piece) % 2)
    return bytes(out)
