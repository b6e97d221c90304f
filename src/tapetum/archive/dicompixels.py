"""The pixels of a DICOM file as 8-bit RGB, by what its header declares."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import pydicom
from jaxtyping import UInt8
from pydicom.errors import InvalidDicomError
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut
from pydicom.pixels.utils import pixel_array

from tapetum.core.errors import DataError

_DEFLATED = b"1.2.840.10008.1.2.1.99"
_COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")


def is_dicom(data: bytes) -> bool:
    """Whether the bytes carry DICOM's marker after the preamble."""
    return data[128:132] == b"DICM"


def read_dicom(data: bytes, *, header_only: bool = False) -> Any:
    """The data set of a DICOM file; never forced.

    Raises:
        DataError: no marker, a damaged header, or a deflated transfer syntax (a small file can hide gigabytes).
    """
    if not is_dicom(data):
        raise DataError("the file has no DICOM marker", "DICM after a preamble of 128 bytes")
    if _DEFLATED in data[:1024]:
        raise DataError("the DICOM file is deflated", "an image transfer syntax (deflated files are not opened)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom warns about odd values; what matters is checked by the reader
            return pydicom.dcmread(io.BytesIO(data), stop_before_pixels=header_only)
    except (InvalidDicomError, OSError, ValueError, KeyError, EOFError, AttributeError, MemoryError) as error:
        raise DataError(f"the DICOM file does not open: {error}", "a whole, undamaged file") from None


def decode_dicom(data: bytes, *, max_pixels: int) -> tuple[UInt8[np.ndarray, "h w 3"], int, int]:
    """RGB, samples per pixel and stored bits of a single-frame DICOM image.

    Colour is converted from YBR, palettes are looked up; grey values go through the modality table, then the declared
    window or, where none is declared, the full range of the stored bits; MONOCHROME1 is inverted.

    Raises:
        DataError: no pixels, several frames, too many pixels, a cut file, or grey values of undeclared range.
    """
    ds = read_dicom(data)
    if "PixelData" not in ds:
        raise DataError("the DICOM file has no pixels", "an image object")
    rows, columns, frames = int(ds.get("Rows", 0)), int(ds.get("Columns", 0)), int(ds.get("NumberOfFrames", 1) or 1)
    if frames > 1:
        raise DataError(f"the DICOM file has {frames} frames", "one frame (multi-frame objects are not read yet)")
    if not 0 < rows * columns <= max_pixels:
        raise DataError(f"the DICOM image has {columns} × {rows} pixels", f"1 to {max_pixels:,} pixels")
    photometric, bits = str(ds.get("PhotometricInterpretation", "")), int(ds.get("BitsStored", 0))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            samples = pixel_array(ds)
            if photometric == "PALETTE COLOR":
                samples, bits = apply_color_lut(samples, ds), 16
                bits = 8 if samples.dtype == np.uint8 else 16
    except Exception as error:  # decoders of many codecs raise what they like on damaged data
        raise DataError(f"the DICOM pixels do not decode: {error}", "a whole file in a known transfer syntax") from None
    if samples.ndim == 3 and samples.shape[2] == 3:
        if photometric not in (*_COLOUR, "PALETTE COLOR"):
            raise DataError(f"photometric interpretation {photometric!r} with three samples", ", ".join(_COLOUR))
        if samples.dtype == np.uint8 and bits == 8:
            return samples, int(ds.SamplesPerPixel), 8
        return _byte(samples.astype(np.float64), 0.0, 2.0**bits - 1), int(ds.SamplesPerPixel), bits
    if samples.ndim != 2 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise DataError(f"{photometric!r} with pixels of shape {samples.shape}", "a grey or colour image of one frame")
    grey = _grey(ds, samples, bits)
    grey = 255 - grey if photometric == "MONOCHROME1" else grey
    return np.repeat(grey[..., None], 3, axis=2), 1, bits


def _grey(ds: Any, samples: np.ndarray, bits: int) -> UInt8[np.ndarray, "h w"]:
    values = np.asarray(apply_modality_lut(samples, ds), dtype=np.float64)
    windowed = "VOILUTSequence" in ds or ("WindowCenter" in ds and "WindowWidth" in ds)
    if windowed:
        if "VOILUTSequence" in ds:
            shown = np.asarray(apply_voi_lut(apply_modality_lut(samples, ds), ds), dtype=np.float64)
            return _byte(shown, 0.0, 2.0 ** int(ds.VOILUTSequence[0].LUTDescriptor[2]) - 1)
        centre, width = (float(np.atleast_1d(ds[key].value)[0]) for key in ("WindowCenter", "WindowWidth"))
        # PS3.3 C.11.2.1.2.1, linear: the window's ends lie half a step inside.
        return _byte(values, centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2)
    if int(ds.get("PixelRepresentation", 0)) or "ModalityLUTSequence" in ds or not 1 <= bits <= 16:
        raise DataError(
            f"grey values of unknown range (BitsStored {bits}, signed or through a table, no window)",
            "unsigned values with BitsStored, or WindowCenter and WindowWidth",
        )
    slope, intercept = float(ds.get("RescaleSlope", 1)), float(ds.get("RescaleIntercept", 0))
    return _byte(values, intercept, intercept + slope * (2.0**bits - 1))


def _byte(values: np.ndarray, low: float, high: float) -> np.ndarray:
    if not high > low:
        raise DataError(f"a window from {low} to {high}", "a window of positive width")
    return np.clip(np.rint((values - low) * (255.0 / (high - low))), 0, 255).astype(np.uint8)
