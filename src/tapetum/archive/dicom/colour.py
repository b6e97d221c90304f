"""Stored DICOM samples to 8-bit RGB, by what the header declares; one table of all stored values does the grey work."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Integer, UInt8
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut

from tapetum.archive.quietly import quietly
from tapetum.core.errors import DataError


def grey_to_rgb(
    ds: Any, samples: Integer[np.ndarray, "h w"], *, frame: int, bits: int, signed: bool, inverted: bool
) -> UInt8[np.ndarray, "h w 3"]:
    """Grey values through the modality table and the declared window, or else the full range of the stored bits.

    Args:
        ds: the data set; windows and slopes of its functional groups come before those of the top level.
        samples: stored values, 8 or 16 bits.
        frame: whose functional group counts.
        bits: BitsStored.
        signed: PixelRepresentation.
        inverted: MONOCHROME1.

    Raises:
        DataError: without a window, a value outside the stored bits; a window or slope that is no number.
    """
    described = _described(ds, frame)
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    windowed = "VOILUTSequence" in described or _has_window(described)
    if not windowed and samples.size and not (low <= samples.min() and samples.max() <= high):
        raise DataError(
            f"stored values {samples.min()} to {samples.max()} with BitsStored {bits}", f"values {low} to {high}"
        )
    info = np.iinfo(samples.dtype)
    codes = np.arange(int(info.min), int(info.max) + 1).astype(samples.dtype)
    try:
        with quietly():
            table = _shown(described, codes, low, high, windowed)
    except (ValueError, TypeError, AttributeError, KeyError, IndexError, NotImplementedError) as error:
        raise DataError(f"grey values that do not map: {error}", "a sound window, slope or table") from None
    table = 255 - table if inverted else table
    # The table begins at the lowest stored value; as unsigned places, negative values follow the positive ones.
    table = np.roll(table, int(info.min)) if info.min < 0 else table
    grey = table[samples.view(f"u{samples.dtype.itemsize}")]
    return np.repeat(grey[..., None], 3, axis=2)


def _described(ds: Any, frame: int) -> Any:
    """The elements that map grey values: of the frame's functional group, the shared one, or the data set's own."""
    found: Any = Dataset()
    groups = [(ds.get("PerFrameFunctionalGroupsSequence") or [])[frame : frame + 1]]
    groups.append((ds.get("SharedFunctionalGroupsSequence") or [])[:1])
    places = [items[0] for items in groups if items]
    holders = [
        inner[0]
        for place in places
        for inner in (place.get("FrameVOILUTSequence"), place.get("PixelValueTransformationSequence"))
        if inner
    ]
    names = (
        "WindowCenter", "WindowWidth", "VOILUTFunction", "RescaleSlope", "RescaleIntercept", "VOILUTSequence",
        "ModalityLUTSequence", "PixelRepresentation", "BitsStored",
    )  # fmt: skip
    for holder in (*holders, ds):
        for name in names:
            if name not in found and name in holder and holder[name].value not in (None, ""):
                found.add(holder[name])
    return found


def _has_window(described: Any) -> bool:
    return all(key in described and np.size(described[key].value) for key in ("WindowCenter", "WindowWidth"))


def _shown(described: Any, codes: np.ndarray, low: int, high: int, windowed: bool) -> UInt8[np.ndarray, "n"]:
    values = np.asarray(apply_modality_lut(codes, described))
    if described.get("VOILUTSequence"):
        shown = np.asarray(apply_voi_lut(values, described), dtype=np.float64)
        return to_byte(shown, 0.0, 2.0 ** int(described.VOILUTSequence[0].LUTDescriptor[2]) - 1)
    values = values.astype(np.float64)
    if windowed:
        return _windowed(described, values)
    if described.get("ModalityLUTSequence"):
        return to_byte(values, 0.0, 2.0 ** int(described.ModalityLUTSequence[0].LUTDescriptor[2]) - 1)
    slope, intercept = float(described.get("RescaleSlope", 1)), float(described.get("RescaleIntercept", 0))
    ends = sorted((intercept + slope * low, intercept + slope * high))
    return to_byte(values, *ends)


def _windowed(described: Any, values: np.ndarray) -> UInt8[np.ndarray, "n"]:
    """PS3.3 C.11.2.1.2 and C.11.2.1.3; of several windows the first."""
    centre, width = (float(np.atleast_1d(described[key].value)[0]) for key in ("WindowCenter", "WindowWidth"))
    function = str(described.get("VOILUTFunction", "LINEAR") or "LINEAR").upper()
    if not width > 0 or not np.isfinite(centre) or not np.isfinite(width):
        raise DataError(f"a window of width {width:g} at {centre:g}", "a window of positive width")
    if function == "SIGMOID":
        return to_byte(1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - centre) / width, -700, 700))), 0.0, 1.0)
    if function == "LINEAR_EXACT":
        return to_byte(values, centre - width / 2, centre + width / 2)
    if width <= 1:
        return np.where(values <= centre - 0.5, 0, 255).astype(np.uint8)
    # Linear: the window's ends lie half a step inside.
    return to_byte(values, centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2)


def palette_to_rgb(ds: Any, samples: Integer[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """Look a palette up, whole or segmented.

    Raises:
        DataError: no sound palette.
    """
    # A table of all stored values, looked up once, costs less than a picture of them.
    codes = np.arange(int(np.iinfo(samples.dtype).max) + 1).astype(samples.dtype)
    try:
        with quietly():
            looked = apply_color_lut(codes, ds)
    except (ValueError, TypeError, AttributeError, KeyError, IndexError, NotImplementedError) as error:
        raise DataError(f"a palette that does not read: {error}", "a sound palette") from None
    table = looked if looked.dtype == np.uint8 else to_byte(looked, 0.0, 65535.0)
    return table[..., :3][samples]


def colour_to_rgb(samples: Integer[np.ndarray, "h w 3"], *, bits: int, ybr: bool) -> UInt8[np.ndarray, "h w 3"]:
    """Colour of 8 to 16 bits, RGB or YBR_FULL, to RGB of 8 bits; after cutting to 8 bits, where they are more.

    Raises:
        DataError: a value outside the stored bits.
    """
    if bits != 8 or samples.dtype != np.uint8:
        top = (1 << bits) - 1
        if samples.size and (samples.max() > top or samples.min() < 0):
            raise DataError(f"a stored value of {samples.max()} with BitsStored {bits}", f"values 0 to {top}")
        table = to_byte(np.arange(top + 1, dtype=np.float64), 0.0, float(top))
        samples = table[samples]
    if ybr:
        import cv2

        # PS3.3 C.7.6.3.1.2 is JPEG's full-range YCbCr; OpenCV has the same matrix with Cr before Cb.
        return cv2.cvtColor(np.ascontiguousarray(samples[..., [0, 2, 1]]), cv2.COLOR_YCrCb2RGB).astype(np.uint8)
    return np.ascontiguousarray(samples)


def to_byte(values: np.ndarray, low: float, high: float) -> UInt8[np.ndarray, "*s"]:
    """Values `low` to `high` to 0..255, rounded and clipped.

    Raises:
        DataError: `high` does not lie above `low`.
    """
    if not high > low:
        raise DataError(f"a range from {low:g} to {high:g}", "a range of positive width")
    return np.clip(np.rint((values - low) * (255.0 / (high - low))), 0, 255).astype(np.uint8)
