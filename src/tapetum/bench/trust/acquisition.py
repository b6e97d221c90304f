"""What an image carries besides medicine: its size, its border, its file, the columns that somebody filled in.

A finding that can be told from these can be learned without looking at the organ.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, UInt8

from tapetum.archive import Archive, decode
from tapetum.core.types import UNKNOWN, ImageRecord, Laterality

BORDER, ACQUISITION, MISSING, DEVICE = "border strips", "acquisition", "missing values", "device"
SIDE, STRIP, CORNER = 256, 0.03, 0.06  # pixels of the shorter side; shares of it
BINS = 8  # a number is told by the eighth of the training images in which it lies
_MAGIC = {b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"II*\0": "TIFF", b"MM\0*": "TIFF"}
Traces = Mapping[str, np.ndarray]


def border_strips(image: UInt8[np.ndarray, "h w 3"]) -> dict[str, float]:
    """Mean and standard deviation of the grey values in the four strips along the border, 3 % of the shorter side.

    Example:
        >>> image = np.zeros((100, 50, 3), np.uint8)
        >>> image[:2] = 255
        >>> {name: round(value, 2) for name, value in border_strips(image).items() if "mean" in name}
        {'top mean': 255.0, 'bottom mean': 0.0, 'left mean': 5.1, 'right mean': 5.1}
    """
    m = max(1, round(STRIP * min(image.shape[:2])))
    parts = {"top": image[:m], "bottom": image[-m:], "left": image[:, :m], "right": image[:, -m:]}
    strips = {name: part.mean(axis=2) for name, part in parts.items()}
    means = {f"{name} mean": float(strip.mean()) for name, strip in strips.items()}
    return means | {f"{name} deviation": float(strip.std()) for name, strip in strips.items()}


def corners(image: UInt8[np.ndarray, "h w 3"]) -> dict[str, float]:
    """Mean grey value of the four corners, squares of 6 % of the shorter side."""
    m = max(1, round(CORNER * min(image.shape[:2])))
    parts = {
        "top left": image[:m, :m], "top right": image[:m, -m:],
        "bottom left": image[-m:, :m], "bottom right": image[-m:, -m:],
    }  # fmt: skip
    return {f"corner {name}": float(part.mean()) for name, part in parts.items()}


def traces_of(archive: Archive, records: Sequence[ImageRecord]) -> dict[str, Traces]:
    """Kind of trace → name → one value per image; numbers are floats, all else texts.

    Args:
        archive: whose images are read, each once, at a small scale.
        records: which ones.

    Returns:
        `border strips`; `acquisition`: these, the corners, size, file and number of images of the patient; `missing
        values`: which columns of labels are filled and what else is known; `device`.

    Raises:
        DataError: an image cannot be decoded.
    """
    per_patient = Counter(r.patient_id for r in archive.records)
    edges = list[dict[str, float]]()
    others = list[dict[str, float | str]]()
    for record in records:
        data = archive.data(record.image_id)
        image = decode(data, min_side=SIDE)
        edges.append(border_strips(image))
        others.append(
            {
                **corners(image),
                "width": float(record.width),
                "height": float(record.height),
                "width / height": record.width / max(1, record.height),
                "channels": float(record.channels),
                "bits": float(record.bits),
                "frames": float(record.frames),
                "format": next((name for magic, name in _MAGIC.items() if data.startswith(magic)), "other"),
                "images of the patient": float(per_patient[record.patient_id]),
            }
        )
    columns = sorted({c for r in archive.records for c in archive.filled_columns(r)})
    missing = [_missing(archive, r, columns) for r in records]
    both = [edge | other for edge, other in zip(edges, others, strict=True)]
    devices = [{"device": r.device} for r in records]
    kinds = {BORDER: edges, ACQUISITION: both, MISSING: missing, DEVICE: devices}
    return {kind: {name: np.array([row[name] for row in rows]) for name in rows[0]} for kind, rows in kinds.items()}


def _missing(archive: Archive, record: ImageRecord, columns: Sequence[str]) -> dict[str, float]:
    filled = archive.filled_columns(record)
    known = {f"column {column or 'labels'}": column in filled for column in columns}
    known |= {
        "age": not math.isnan(record.age_years),
        "sex": record.sex != UNKNOWN,
        "date": record.captured != UNKNOWN,
        "visit": record.visit_id != UNKNOWN,
        "device": record.device != UNKNOWN,
        "laterality": record.laterality is not Laterality.UNKNOWN,
        "pixel size": not math.isnan(record.mm_per_pixel),
        "report": bool(record.report),
    }
    return {name: float(there) for name, there in known.items()}


@dataclass(frozen=True)
class Bins:
    """How traces become columns of 0 and 1, fixed on training images.

    Attributes:
        values: name → the values that get a column each, or the cuts between eighths of the training images.
        cut: names that are cut; the others are told value by value.
    """

    values: Mapping[str, np.ndarray]
    cut: frozenset[str]

    @staticmethod
    def fit(traces: Traces) -> Bins:
        """A trace that is the same in all training images is left out."""
        values, cut = dict[str, np.ndarray](), set[str]()
        for name, column in traces.items():
            distinct = np.unique(column)
            if len(distinct) < 2:
                continue
            values[name] = distinct
            if column.dtype.kind == "f" and len(distinct) > BINS:
                values[name] = np.unique(np.quantile(column, np.linspace(0, 1, BINS + 1)[1:-1]))
                cut.add(name)
        return Bins(values, frozenset(cut))

    @property
    def names(self) -> tuple[str, ...]:
        """The traces that differ between training images."""
        return tuple(self.values)

    def __call__(self, traces: Traces) -> Float64[np.ndarray, "n c"]:
        """One column per eighth or value; a value that no training image has is 0 in all of its columns."""
        parts = list[np.ndarray]()
        for name, values in self.values.items():
            column = traces[name] if name in traces else np.full(len(next(iter(traces.values()))), math.nan)
            if name in self.cut:
                parts.append(np.eye(len(values) + 1)[np.searchsorted(values, column, side="right")])
            else:
                parts.append((column[:, None] == values).astype(np.float64))
        return np.concatenate(parts, axis=1)
