"""Topcon `.fda` files: named chunks of one file, B-scans and fundus photograph as JPEG 2000; runs in a child process.

The maker publishes no description, so only what the public readers agree on is taken: the eye, the day, the patient's
number and name, the model, the pixels. The size of a sample is taken for a rectangular raster alone, and only where
the two ways in use of dividing a length (by n, by n − 1) differ by less than 1 %. The sex, and whether the birth date
counts, are read in different ways and stay unknown.

Source: the layout as the wiki of uocte tells it and oct-converter 0.7 reads it. Differs: every length is checked
    against the file and every picture against its header; oct-converter 0.7 itself needs a numpy below 2.3.
"""

from __future__ import annotations

import datetime
import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import UInt8

from tapetum.archive.dicom.codecs import codestream
from tapetum.core.errors import DataError

MARK = b"FOCT"
PHOTO = "fundus"
Facts = dict[str, Any]
Chunks = dict[str, tuple[int, int]]
_RASTER = 2
_HEADER_BYTES = 15
_MAX_CHUNKS = 10_000
_MAX_SAMPLES = 1_000_000_000
_CODESTREAM = (b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  ")
_SCANS, _FUNDUS, _CAPTURE, _PERSON = "@IMG_JPEG", "@IMG_FUNDUS", "@CAPTURE_INFO_02", "@PATIENT_INFO_02"
_PARAMETERS = (("@PARAM_SCAN_04", "<12x3d"), ("@PARAM_SCAN_02", "<21x3d"))
_HARDWARE = ("@HW_INFO_03", "@HW_INFO_02", "@HW_INFO_01")
_ONCE = {_SCANS, _FUNDUS, _CAPTURE, _PERSON, *_HARDWARE, *(name for name, _ in _PARAMETERS)}


def describe(place: str) -> list[Facts]:
    """The one volume of a file: its facts, under the keys of `vendor.describe`.

    Args:
        place: path of the file.

    Raises:
        DataError: another kind of file, a file cut short, or one that contradicts itself.
    """
    with Path(place).open("rb") as stream:
        chunks = _chunks(stream)
        pattern, (columns, rows), frames = _scans(stream, chunks)
        photo, remarks = _photo_facts(stream, chunks)
        facts: Facts = {
            "count": len(frames), "rows": rows, "columns": columns, "second": photo, "second_mm": 0.0,
            "row_mm": 0.0, "column_mm": 0.0, "between_mm": 0.0, "device": "Topcon", "where": {}, "remarks": remarks,
        }  # fmt: skip
        if pattern == _RASTER:
            facts |= _spacing(stream, chunks, columns, len(frames))
        else:
            remarks.append(f"a scan of pattern {pattern}, no raster: the size of its samples is unknown")
        facts |= _capture(stream, chunks) | _person(stream, chunks)
        model = next((name for name in _HARDWARE if name in chunks), "")
        if model:
            facts["device"] = f"Topcon {_text(_values(stream, chunks, model, '<16s')[0])}".strip()
        taken = {"laterality": _CAPTURE, "captured": _CAPTURE, "patient_id": _PERSON, "device": model or "mark"}
        facts["where"] = {key: f"fda {chunk}" for key, chunk in taken.items() if facts.get(key)}
    return [facts]


def pixels(place: str, index: int, part: str) -> UInt8[np.ndarray, "n h w *rgb"]:
    """The B-scans (`part="bscans"`), or the photograph (`part="fundus"`) in red, green, blue.

    Args:
        place: path of the file.
        index: of the volume, always 0.
        part: which.

    Raises:
        DataError: as `describe`, or pictures that cannot be decoded.
    """
    with Path(place).open("rb") as stream:
        chunks = _chunks(stream)
        if part == PHOTO:
            at, size, (width, height) = _photo(stream, chunks)
            blue_first = _decoded(stream, at, size, (height, width, 3))
            return np.ascontiguousarray(blue_first[None, ..., ::-1])
        _, (width, height), places = _scans(stream, chunks)
        frames = np.empty((len(places), height, width), np.uint8)
        for number, (at, size) in enumerate(places):
            frames[number] = _decoded(stream, at, size, (height, width))
    return frames


def _chunks(stream: BinaryIO) -> Chunks:
    """Place and length of each chunk; of a name that occurs again the first, where nothing of it is read."""
    whole = stream.seek(0, 2)
    stream.seek(0)
    head = stream.read(_HEADER_BYTES)
    if len(head) < _HEADER_BYTES or not head.startswith(MARK):
        raise DataError("no Topcon .fda file", "FOCT at its beginning and a header of 15 bytes")
    if head[4:7] != b"FDA":
        kind = {b"FAA": "a scan of the anterior eye", b"FDS": "a Topcon .fds file"}.get(head[4:7], "an unknown kind")
        raise DataError(
            f"{kind}, which is not read", "a Topcon .fda file of the fundus", "export DICOM from the device"
        )
    found: Chunks = {}
    for number in range(_MAX_CHUNKS):
        length = stream.read(1)
        if not length:
            raise DataError(f"the file ends after {number} chunks without its end mark", "a whole file")
        if length == b"\0":
            return found
        # What is no name is not told: in a damaged file it may be a part of the patient's.
        name = stream.read(length[0])
        size = stream.read(4)
        at = stream.tell()
        if len(name) < length[0] or len(size) < 4:
            raise DataError(f"the file is cut in the name of chunk {number + 1}", "a whole file")
        if not name.startswith(b"@") or not name[1:].replace(b"_", b"").isalnum():
            raise DataError(f"no name where chunk {number + 1} begins", "a whole, undamaged file")
        end = at + int.from_bytes(size, "little")
        if end > whole:
            raise DataError(f"chunk {number + 1} ends {end - whole:,} bytes after the file", "a whole file")
        said = name.decode("ascii")
        if said in found and said in _ONCE:
            raise DataError(f"two chunks {said}", "one")
        found.setdefault(said, (at, end - at))
        stream.seek(end)
    raise DataError(f"more than {_MAX_CHUNKS:,} chunks", "a file as the device writes it")


def _scans(stream: BinaryIO, chunks: Chunks) -> tuple[int, tuple[int, int], list[tuple[int, int]]]:
    """Scan pattern, width and height, and place and length of each B-scan."""
    if _SCANS not in chunks:
        raw = "@IMG_MOT_COMP_03" in chunks
        found = "only raw values of 16 bits, whose range nobody states" if raw else "no B-scans"
        raise DataError(f"the file holds {found}", f"a chunk {_SCANS}", "export DICOM from the device")
    pattern, width, height, count = _values(stream, chunks, _SCANS, "<B8x3I4x")
    if not 0 < width * height * count <= _MAX_SAMPLES:
        raise DataError(f"{count:,} B-scans of {width:,} × {height:,} samples", "a scan of believable size")
    start, length = chunks[_SCANS]
    at, end = start + 25, start + length
    places: list[tuple[int, int]] = []
    for number in range(1, count + 1):
        stream.seek(at)
        size = int.from_bytes(stream.read(4), "little")
        at += 4
        if at + size > end:
            raise DataError(f"B-scan {number} of {count} ends after its chunk", "lengths that fit")
        _checked(stream, at, size, (width, height), (1,), f"B-scan {number} of {count}")
        places.append((at, size))
        at += size
    stream.seek(min(at + 4, end))
    if stream.read(max(0, min(8, end - at - 4))).startswith(_CODESTREAM):
        raise DataError(f"the header says {count} B-scans, the file holds more", "counts that agree")
    return pattern, (width, height), places


def _photo(stream: BinaryIO, chunks: Chunks) -> tuple[int, int, tuple[int, int]]:
    """Place, length, and width and height of the fundus photograph."""
    width, height, count, size = _values(stream, chunks, _FUNDUS, "<2I4xI4xI")
    start, length = chunks[_FUNDUS]
    if count != 1 or size > length - 24 or not 0 < width * height * 3 <= _MAX_SAMPLES:
        raise DataError(f"{count:,} photographs of {width:,} × {height:,} in {size:,} bytes", "one that fits its chunk")
    return start + 24, size, (width, height)


def _photo_facts(stream: BinaryIO, chunks: Chunks) -> tuple[str, list[str]]:
    """The part that is the photograph, none where the file holds none in colours; remarks."""
    if _FUNDUS not in chunks:
        return "", []
    at, size, wide_high = _photo(stream, chunks)
    components = _checked(stream, at, size, wide_high, (1, 3), "the photograph")
    return (PHOTO, []) if components == 3 else ("", ["a photograph without colours is not taken"])


def _checked(
    stream: BinaryIO, at: int, size: int, wide_high: tuple[int, int], allowed: tuple[int, ...], what: str
) -> int:
    """How many components a JPEG 2000 picture declares, after its header agreed with the chunk's."""
    stream.seek(at)
    head = stream.read(min(size, 4096))
    if not head.startswith(_CODESTREAM):
        raise DataError(f"{what} is no JPEG 2000", "pictures of that kind")
    said = codestream(head)
    if (said.width, said.height) != wide_high or said.bits != 8 or said.components not in allowed:
        found = f"{said.width} × {said.height} of {said.components} components of {said.bits} bits"
        raise DataError(f"{what} has {found}", f"{wide_high[0]} × {wide_high[1]} of 8 bits, as its chunk says")
    return said.components


def _decoded(stream: BinaryIO, at: int, size: int, shape: tuple[int, ...]) -> np.ndarray:
    import imagecodecs

    stream.seek(at)
    try:
        picture = imagecodecs.jpeg2k_decode(stream.read(size))
    except (RuntimeError, ValueError) as error:
        raise DataError(f"JPEG 2000 that does not decode: {error}", "a whole, undamaged file") from None
    if picture.shape != shape or picture.dtype != np.uint8:
        raise DataError(f"a picture of shape {picture.shape}, {picture.dtype}", f"shape {shape}, uint8")
    return picture


def _spacing(stream: BinaryIO, chunks: Chunks, columns: int, count: int) -> Facts:
    """Millimetres between samples of a raster, 0 where not known."""
    for name, layout in _PARAMETERS:
        if name in chunks:
            wide_mm, high_mm, deep_um = _values(stream, chunks, name, layout)
            return {
                "row_mm": deep_um / 1000 if 0.5 < deep_um < 20 else 0.0, "column_mm": _step(wide_mm, columns),
                "between_mm": _step(high_mm, count),
            }  # fmt: skip
    return {}


def _step(length_mm: float, count: int) -> float:
    return length_mm / count if 0.5 < length_mm < 30 and count > 100 else 0.0


def _capture(stream: BinaryIO, chunks: Chunks) -> Facts:
    if _CAPTURE not in chunks:
        return {}
    eye, *when = _values(stream, chunks, _CAPTURE, "<B105x3H")
    return {"laterality": {0: "R", 1: "L"}.get(eye, f"eye {eye}"), "captured": _day(when)}


def _person(stream: BinaryIO, chunks: Chunks) -> Facts:
    if _PERSON not in chunks:
        return {}
    number, first, last, middle, *born = _values(stream, chunks, _PERSON, "<32s32s32s8sx3H")
    patient = _text(number)
    if not patient.isprintable():
        raise DataError("the patient's number is no text", "a whole, undamaged file")
    names = " ".join(part for part in map(_text, (first, middle, last)) if part)
    return {"patient_id": patient, "name": names, "born": _day(born)}


def _values(stream: BinaryIO, chunks: Chunks, name: str, layout: str) -> tuple[Any, ...]:
    at, length = chunks[name]
    need = struct.calcsize(layout)
    if length < need:
        raise DataError(f"chunk {name} of {length} bytes", f"at least {need}")
    stream.seek(at)
    return struct.unpack(layout, stream.read(need))


def _text(raw: bytes) -> str:
    return raw.split(b"\0")[0].decode("latin-1").strip()


def _day(when: list[int]) -> str:
    """ISO date, nothing where it is none."""
    try:
        return datetime.date(*when).isoformat() if when[0] >= 1900 else ""
    except ValueError:
        return ""
