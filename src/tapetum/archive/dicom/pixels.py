"""The pixels of a DICOM file as 8-bit RGB, by what its header declares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8

from tapetum.archive.dicom.colour import colour_to_rgb, grey_to_rgb, palette_to_rgb
from tapetum.archive.dicom.file import is_dicom, read_dicom
from tapetum.archive.dicom.frames import GREY, PALETTE, layout, scaled_jpeg, stored_samples
from tapetum.archive.quietly import quietly
from tapetum.core.errors import DataError, TapetumError

__all__ = ["DicomProbe", "decode_dicom", "is_dicom", "read_dicom"]
Box = Callable[[int, int], tuple[int, int]]


@dataclass(frozen=True)
class DicomProbe:
    """What a DICOM file holds: size of a frame, samples per pixel, stored bits, frames."""

    width: int
    height: int
    channels: int
    bits: int
    frames: int


def decode_dicom(
    data: bytes, *, max_pixels: int, frame: int | None = None, box: Box | None = None
) -> tuple[UInt8[np.ndarray, "h w 3"], DicomProbe]:
    """RGB of one frame of a DICOM image, and what the file holds.

    Colour is converted from YBR, palettes are looked up; grey values go through the modality table, then the declared
    window or, where none is declared, the full range of the stored bits; MONOCHROME1 is inverted.

    Args:
        data: the file.
        max_pixels: of one frame.
        frame: 0-based; the middle one by default.
        box: given width and height, the size that a JPEG need only be decoded to; None for the full size.

    Raises:
        DataError: no pixels, no such frame, too many pixels, a cut file, or samples of a kind that is not read.
    """
    try:
        with quietly():  # odd values warn when they are first looked at
            return _decoded(read_dicom(data), max_pixels, frame, box)
    except TapetumError:
        raise
    except Exception as error:  # elements are parsed when they are first looked at, and raise what they like
        text = str(error)[:200] or type(error).__name__
        raise DataError(f"the DICOM file does not open: {text}", "a whole, undamaged file") from None


def _decoded(ds: Any, max_pixels: int, frame: int | None, box: Box | None) -> tuple[np.ndarray, DicomProbe]:
    form = layout(ds, max_pixels=max_pixels)
    frame = form.frames // 2 if frame is None else frame
    if not 0 <= frame < form.frames:
        raise DataError(f"frame {frame} of a file with {form.frames}", f"0 to {form.frames - 1}")
    size = box(form.width, form.height) if box else (form.width, form.height)
    samples, ybr = scaled_jpeg(ds, form, frame, size) or stored_samples(ds, form, frame)
    found = DicomProbe(form.width, form.height, form.samples, form.stored, form.frames)
    if form.photometric in GREY:
        rgb = grey_to_rgb(
            ds, samples, frame=frame, bits=form.stored, signed=form.signed, inverted=form.photometric == "MONOCHROME1"
        )
    elif form.photometric == PALETTE:
        rgb = palette_to_rgb(ds, samples)
    else:
        rgb = colour_to_rgb(samples, bits=form.stored, ybr=ybr)
    return rgb, found
