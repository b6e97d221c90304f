"""Heidelberg `.vol` files: header, localiser and B-scans, read here directly; rings and lines are read alike.

Layout: a header of 2,048 bytes, the localiser (SLO) of one byte per pixel, then each B-scan with a header of its own
and 32-bit reflectivity, little-endian throughout. Reflectivity lies in 0..1 and is shown by its fourth root, as the
maker's own software does; the value that marks a place outside the scan is black.

Source: the maker's published description of its raw export, as implemented by eyepy 0.21. Differs: eyepy refuses rings.
"""

from __future__ import annotations

import datetime
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8

from tapetum.core.errors import DataError
from tapetum.core.types import UNKNOWN, Laterality

MARK = b"HSF-OCT-"
PATTERNS = {1: "line", 2: "ring", 3: "volume", 4: "volume", 5: "star"}
_HEADER_BYTES = 2048
_MAX_SAMPLES = 1_000_000_000
_EYE = {"OD": Laterality.RIGHT, "OS": Laterality.LEFT, "": Laterality.UNKNOWN}


@dataclass(frozen=True)
class VolHeader:
    """What a `.vol` file says of itself.

    Attributes:
        width, height, count: A-scans per B-scan, samples per A-scan, B-scans.
        column_mm, row_mm, between_mm: size of a sample, and distance between B-scans (0 for one).
        slo_width, slo_height, slo_mm: of the localiser; NaN where its pixels are not square.
        bscan_header: bytes before each B-scan. pattern: `line`, `ring`, `volume`, `star` or `unknown`.
        patient_id: given by the clinic. internal_id: the device's own number. born, visited: ISO date or unknown.
    """

    width: int
    height: int
    count: int
    column_mm: float
    row_mm: float
    between_mm: float
    slo_width: int
    slo_height: int
    slo_mm: float
    bscan_header: int
    laterality: Laterality
    pattern: str
    patient_id: str
    internal_id: int
    visit_id: str
    born: str
    visited: str


def read_vol_header(stream: BinaryIO) -> VolHeader:
    """The header, checked against the size of the file.

    Raises:
        DataError: another file, sizes that do not fit, a file cut short, or an eye that is neither OD nor OS.
    """
    head = stream.read(_HEADER_BYTES)
    if len(head) < _HEADER_BYTES or not head.startswith(MARK):
        raise DataError("no Heidelberg .vol file", "HSF-OCT- at its beginning and a header of 2,048 bytes")
    width, count, height = struct.unpack_from("<3I", head, 12)
    column_mm, between_mm, row_mm = struct.unpack_from("<3d", head, 24)
    slo_width, slo_height = struct.unpack_from("<2I", head, 48)
    slo_x, slo_y = struct.unpack_from("<2d", head, 56)
    pattern, bscan_header = struct.unpack_from("<2i", head, 96)
    (internal,) = struct.unpack_from("<I", head, 136)
    (born,) = struct.unpack_from("<d", head, 164)
    (visited,) = struct.unpack_from("<d", head, 200)
    size = stream.seek(0, 2)
    samples = width * height * count
    if not (0 < samples <= _MAX_SAMPLES and slo_width * slo_height <= _MAX_SAMPLES and bscan_header >= 0):
        raise DataError(f"{count} B-scans of {width} × {height} samples in the header", "a scan of believable size")
    need = _HEADER_BYTES + slo_width * slo_height + count * (bscan_header + 4 * width * height)
    if size < need:
        raise DataError(f"{size:,} bytes, but {count} B-scans and the localiser need {need:,}", "a whole file")
    side = _string(head, 84, 4)
    if side not in _EYE:
        raise DataError(f"scan position {side!r} in the header", "OD or OS")
    if not all(math.isfinite(mm) and 0 < mm < 10 for mm in (column_mm, row_mm)):
        raise DataError(f"samples of {row_mm:g} × {column_mm:g} mm in the header", "positive sizes below 10 mm")
    return VolHeader(
        width, height, count, column_mm, row_mm, between_mm if 0 < between_mm < 10 else 0.0, slo_width, slo_height,
        slo_x if slo_x == slo_y and 0 < slo_x < 10 else math.nan, bscan_header, _EYE[side],
        PATTERNS.get(pattern, UNKNOWN), _string(head, 140, 24), internal, _string(head, 176, 24), _day(born),
        _day(visited),
    )  # fmt: skip


def vol_slo(path: Path) -> UInt8[np.ndarray, "1 h w"]:
    """The localiser.

    Raises:
        DataError: as `read_vol_header`.
    """
    with path.open("rb") as stream:
        header = read_vol_header(stream)
        stream.seek(_HEADER_BYTES)
        data = stream.read(header.slo_width * header.slo_height)
    return np.frombuffer(data, np.uint8).reshape(1, header.slo_height, header.slo_width)


def vol_bscans(path: Path) -> UInt8[np.ndarray, "n h w"]:
    """The B-scans as grey values: 255 times the fourth root of the reflectivity.

    Raises:
        DataError: as `read_vol_header`.
    """
    with path.open("rb") as stream:
        header = read_vol_header(stream)
        frames = np.empty((header.count, header.height, header.width), np.uint8)
        place = _HEADER_BYTES + header.slo_width * header.slo_height
        for index in range(header.count):
            stream.seek(place + header.bscan_header)
            raw = stream.read(4 * header.width * header.height)
            values = np.frombuffer(raw, "<f4").reshape(header.height, header.width)
            inside = np.where((values >= 0) & (values <= 1), values, 0).astype(np.float64)
            frames[index] = np.rint(255.0 * np.sqrt(np.sqrt(inside)))
            place += header.bscan_header + 4 * header.width * header.height
    return frames


def _string(head: bytes, start: int, size: int) -> str:
    return head[start : start + size].split(b"\0")[0].decode("latin-1").strip()


def _day(days: float) -> str:
    """ISO date of a number of days since the end of 1899, unknown where it is none."""
    if not (math.isfinite(days) and 1 < days < 100_000):
        return UNKNOWN
    return (datetime.date(1899, 12, 30) + datetime.timedelta(days=int(days))).isoformat()
