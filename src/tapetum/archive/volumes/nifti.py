"""NIfTI volumes as rows: axial slices as frames, in the orientation nearest to RAS; grey values only by a said range.

What is black and what is white must be known: from the header's `cal_min` and `cal_max`, from values of one byte, or
from a window that the user gives. Without one of them the file is refused.

Source: NIfTI-1.1 (nifti1.h: cal_min, cal_max, scl_slope, scl_inter, pixdim, xyzt_units), read by nibabel.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import math
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from tapetum.archive.rows import Row
from tapetum.archive.sandbox import apart
from tapetum.archive.volumes.multiframe import CAPTURE_CLASS, volume_dicom
from tapetum.core.errors import DataError, MissingExtraError, UsageError

MAX_UNPACKED_BYTES = 512 * 2**20
_MILLIMETRES = 2
_CANONICAL = "NIfTI in RAS order"


def nifti_rows(path: Path, file: str, *, window: str = "") -> Iterator[Row]:
    """The one volume of a NIfTI file; it names no patient.

    Args:
        path: of the file.
        file: its place inside the export.
        window: `"low,high"`, the values shown black and white.

    Raises:
        DataError: the file cannot be read, or the range of its values is unknown. UsageError: an odd window.
        MissingExtraError: nibabel is not installed.
    """
    facts: dict[str, Any] = apart("tapetum.archive.volumes.nifti:describe", str(path), parse_window(window))
    spacing = float(facts["spacing"][0]) if facts["spacing"][0] == facts["spacing"][1] else math.nan
    where = {"mm_per_pixel": f"{_CANONICAL}: pixdim"} if not math.isnan(spacing) and spacing > 0 else {}
    notes = [] if facts["oriented"] else ["the file does not say how it lies: slices and sides may be any"]
    note = f"grey values {facts['low']:g} to {facts['high']:g} ({facts['range_from']}) are shown black to white"
    yield Row(
        file=file, row=0, patient_id="", read=functools.partial(_bytes, path, window), frames=int(facts["frames"]),
        mm_per_pixel=spacing if spacing > 0 else math.nan, provenance=where, notes=(note, *notes),
    )  # fmt: skip


def parse_window(text: str) -> tuple[float, float] | None:
    """Read `"low,high"`; None for an empty text.

    Raises:
        UsageError: not two numbers, or not in order.

    Example:
        >>> parse_window("-100, 300")
        (-100.0, 300.0)
    """
    if not text.strip():
        return None
    parts = re.split(r"[,;]", text)
    try:
        low, high = (float(part) for part in parts)
    except ValueError:
        raise UsageError(f"window={text!r}", "two numbers, low and high", "window='0,4095'") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UsageError(f"window={text!r}", "low below high", "window='0,4095'")
    return low, high


def describe(place: str, window: tuple[float, float] | None) -> dict[str, Any]:
    """Frames, spacing and range of values of a file; runs in a child process.

    Args:
        place: path of the file.
        window: as given by the user.

    Raises:
        DataError: as `nifti_rows`.
    """
    image = _load(Path(place))
    oriented = int(image.header["qform_code"]) > 0 or int(image.header["sform_code"]) > 0
    low, high, source = _range(image, window)
    _, _, depth = _shape(image)
    zooms = [float(z) for z in image.header.get_zooms()[:3]]
    unit = int(image.header["xyzt_units"]) & 7
    # Canonical order is x (columns), y (rows), z; another unit than mm, or none, leaves the spacing unknown.
    known = unit == _MILLIMETRES and all(math.isfinite(z) and 0 < z < 100 for z in zooms)
    spacing = [zooms[1], zooms[0], zooms[2]] if known else [0.0, 0.0, 0.0]
    return {"frames": depth, "spacing": spacing, "low": low, "high": high, "range_from": source, "oriented": oriented}


def slices(place: str, window: tuple[float, float] | None) -> UInt8[np.ndarray, "n h w"]:
    """The axial slices, from the feet upwards, anterior at the top and the patient's right at the picture's left.

    Args:
        place: path of the file.
        window: as given by the user.

    Raises:
        DataError: as `nifti_rows`.
    """
    image = _load(Path(place))
    low, high, _ = _range(image, window)
    shape = _shape(image)
    data = np.asarray(image.dataobj, dtype=np.float32).reshape(shape)
    if not np.isfinite(data).all():
        raise DataError("the volume holds values that are no numbers", "finite values")
    grey = np.clip(np.rint((data - low) * (255.0 / (high - low))), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(grey.transpose(2, 1, 0)[:, ::-1, ::-1])


def _bytes(path: Path, window: str) -> bytes:
    given = parse_window(window)
    facts = apart("tapetum.archive.volumes.nifti:describe", str(path), given)
    frames = apart("tapetum.archive.volumes.nifti:slices", str(path), given)
    row_mm, column_mm, between_mm = (float(v) for v in facts["spacing"])
    with path.open("rb") as stream:
        seed = hashlib.file_digest(stream, "sha256").hexdigest()
    return volume_dicom(
        frames, seed=f"{seed} {facts['low']} {facts['high']}", sop_class=CAPTURE_CLASS,
        spacing_mm=(row_mm, column_mm) if row_mm and column_mm else None, between_mm=between_mm,
    )  # fmt: skip


def _load(path: Path) -> Any:
    try:
        import nibabel
    except ImportError:
        raise MissingExtraError(f"{path.name} is a NIfTI file", "nibabel", "pip install 'tapetum[nifti]'") from None
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError

    try:
        data = _unpacked(path)
        kind = nibabel.Nifti2Image if struct.unpack_from("<i", data)[0] in (540, 469893120) else nibabel.Nifti1Image
        image = kind.from_bytes(data)
        # The values are read later; a header that promises more than there is must not allocate first.
        need = math.prod(int(n) for n in image.shape) * np.dtype(image.get_data_dtype()).itemsize
        if need > len(data):
            raise DataError(
                f"the header promises {need:,} bytes of values, the file holds {len(data):,}", "a whole file"
            )
        return nibabel.as_closest_canonical(image)
    except (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, TypeError, struct.error, OverflowError,
            ArithmeticError, np.linalg.LinAlgError) as error:  # fmt: skip
        raise DataError(f"the NIfTI file does not open: {error}", "a whole .nii or .nii.gz file") from None


def _unpacked(path: Path) -> bytes:
    raw = path.read_bytes()
    if raw[:2] != b"\x1f\x8b":
        return raw
    data = gzip.GzipFile(fileobj=io.BytesIO(raw)).read(MAX_UNPACKED_BYTES + 1)
    if len(data) > MAX_UNPACKED_BYTES:
        raise DataError(f"the file unpacks to more than {MAX_UNPACKED_BYTES >> 20} MiB", "a smaller volume")
    return data


def _shape(image: Any) -> tuple[int, int, int]:
    shape = [int(n) for n in image.shape]
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    shape += [1] * (3 - len(shape))
    if len(shape) > 3 or min(shape) < 1:
        raise DataError(f"a volume of shape {tuple(image.shape)}", "three axes (no time series, no vectors)")
    return shape[0], shape[1], shape[2]


def _range(image: Any, window: tuple[float, float] | None) -> tuple[float, float, str]:
    if image.get_data_dtype().kind not in "iuf":
        raise DataError(f"values of kind {image.get_data_dtype()}", "numbers")
    if window is not None:
        return (*window, "window as given")
    low, high = float(image.header["cal_min"]), float(image.header["cal_max"])
    if math.isfinite(low) and math.isfinite(high) and low < high:
        return low, high, "cal_min, cal_max"
    slope, inter = image.header.get_slope_inter()
    if image.get_data_dtype() == np.uint8 and slope in (None, 1.0) and inter in (None, 0.0):
        return 0.0, 255.0, "values of one byte"
    raise DataError(
        f"values of kind {image.get_data_dtype()} whose range is unknown", "cal_min and cal_max, or window='low,high'"
    )
