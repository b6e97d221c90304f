"""One frame of a DICOM file as stored samples; every size is checked before anything is allocated."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Integer
from PIL import Image
from pydicom.encaps import get_frame, parse_fragments

from tapetum.archive.dicom.codecs import JPEG, NATIVE, Codestream, codestream, decoder_for
from tapetum.archive.quietly import quietly
from tapetum.core.errors import DataError

MAX_FRAMES = 100_000
RLE = "1.2.840.10008.1.2.5"
_OVERLAYS = range(0x6000, 0x6020, 2)
GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_RCT", "YBR_ICT")
PALETTE = "PALETTE COLOR"


@dataclass(frozen=True)
class Layout:
    """How a data set's pixels lie, as its header declares and as was checked."""

    width: int
    height: int
    frames: int
    samples: int
    allocated: int
    stored: int
    signed: bool
    photometric: str
    syntax: str


def layout(ds: Any, *, max_pixels: int) -> Layout:
    """Read and check the elements that describe the pixels.

    Args:
        ds: the data set.
        max_pixels: of one frame.

    Raises:
        DataError: no pixels, an element absent or no number, too many pixels, or a kind of pixel that is not read.
    """
    if "PixelData" not in ds:
        kind = next((name for name in ("FloatPixelData", "DoubleFloatPixelData") if name in ds), "")
        found = f"the DICOM file has {kind}, values of unknown range" if kind else "the DICOM file has no pixels"
        raise DataError(found, "an image object with PixelData")
    width, height = _number(ds, "Columns"), _number(ds, "Rows")
    frames = _number(ds, "NumberOfFrames", 1) or 1
    samples, allocated = _number(ds, "SamplesPerPixel", 1) or 1, _number(ds, "BitsAllocated")
    stored = _number(ds, "BitsStored", allocated) or allocated
    if not 0 < width * height <= max_pixels:
        raise DataError(f"the DICOM image has {width} × {height} pixels", f"1 to {max_pixels:,} pixels")
    if not 0 < frames <= MAX_FRAMES:
        raise DataError(f"the DICOM file has {frames} frames", f"1 to {MAX_FRAMES:,} frames")
    if allocated not in (1, 8, 16):
        raise DataError(f"samples of {allocated} bits", "1, 8 or 16 bits allocated")
    if not 0 < stored <= allocated:
        raise DataError(f"BitsStored {stored} in {allocated} bits allocated", "no more bits stored than allocated")
    photometric = str(ds.get("PhotometricInterpretation", "")).strip().upper()
    expected = 1 if photometric in (*GREY, PALETTE) else 3 if photometric in COLOUR else 0
    if samples != expected:
        raise DataError(
            f"photometric interpretation {photometric!r} with {samples} samples per pixel",
            f"{', '.join((*GREY, PALETTE))} with one, {', '.join(COLOUR)} with three",
        )
    signed = _number(ds, "PixelRepresentation", 0 if stored <= 8 or expected == 3 else -1)
    if signed not in (0, 1) or (signed and expected == 3):
        raise DataError("PixelRepresentation is missing or wrong", "0 (unsigned) or 1 (signed), unsigned for colour")
    meta = getattr(ds, "file_meta", None)
    syntax = str(getattr(meta, "TransferSyntaxUID", "") or "")
    return Layout(width, height, frames, samples, allocated, stored, bool(signed), photometric, syntax or _guessed(ds))


def _guessed(ds: Any) -> str:
    """Without a declared transfer syntax: what the header itself is written in; only pixels as they are can follow."""
    implicit, little = ds.original_encoding if hasattr(ds, "original_encoding") else (None, None)
    if ds["PixelData"].is_undefined_length or implicit is None:
        raise DataError(
            "the DICOM file declares no transfer syntax, and its pixels are compressed", "TransferSyntaxUID"
        )
    return str(NATIVE[0] if implicit else NATIVE[1] if little else NATIVE[2])


def _number(ds: Any, name: str, absent: int | None = None) -> int:
    try:
        value = ds[name].value if name in ds else None
        if value is None or value == "":
            if absent is None:
                raise DataError(f"the DICOM image has no {name}", "an image object that declares it")
            return absent
        return int(value)
    except (ValueError, TypeError, AttributeError, NotImplementedError, OverflowError):
        raise DataError(f"{name} is no number", "a whole number") from None


def stored_samples(ds: Any, form: Layout, frame: int) -> tuple[Integer[np.ndarray, "h w *c"], bool]:
    """Decode one frame.

    Args:
        ds: the data set.
        form: its layout.
        frame: 0-based.

    Returns:
        The stored values, and whether three of them are YBR rather than RGB.

    Raises:
        DataError: the pixels are cut short, contradict the header or do not decode.
    """
    decoder, plugin = decoder_for(form.syntax)
    if form.syntax in NATIVE:
        _check_length(ds, form)
    else:
        _check_stream(encapsulated_frame(ds, form, frame), form)
    options: dict[str, Any] = {
        # Stored as they are, unused bits are looked at here; otherwise they would be cut off in silence.
        "bits_stored": form.allocated if form.syntax in (*NATIVE, RLE) else form.stored,
        "number_of_frames": form.frames, "samples_per_pixel": form.samples,
        "photometric_interpretation": form.photometric, "pixel_representation": int(form.signed),
    }  # fmt: skip
    try:
        with quietly():
            samples, said = decoder.as_array(ds, index=frame, raw=True, decoding_plugin=plugin, **options)
    except BaseException as error:  # decoders raise what they like on damaged data; those in Rust no Exception at all
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise
        text = " ".join(str(error).split())[:300] or type(error).__name__
        raise DataError(f"the DICOM pixels do not decode: {text}", "a whole file in a known transfer syntax") from None
    samples = samples.astype(samples.dtype.newbyteorder("="), copy=False)
    if form.syntax in (*NATIVE, RLE) and form.stored < form.allocated:
        samples = _used_bits(ds, form, samples)
    ybr = "YBR_FULL" in str(said.get("photometric_interpretation", form.photometric))
    return samples, ybr


def _used_bits(ds: Any, form: Layout, samples: np.ndarray) -> np.ndarray:
    """Stored values where fewer bits are stored than allocated: shifted, cleared of an overlay, their sign extended.

    Unsigned values beyond the stored bits stay as they are, for the caller to see.
    """
    above = min(max(_number(ds, "HighBit", form.stored - 1) + 1 - form.stored, 0), form.allocated - form.stored)
    spare = form.allocated - form.stored
    if form.signed:
        return (samples << (spare - above)) >> spare
    samples = samples >> above if above else samples
    overlaid = any((group, 0x0102) in ds and ds[group, 0x0102].value for group in _OVERLAYS)
    return samples & ((1 << form.stored) - 1) if overlaid else samples


def encapsulated_frame(ds: Any, form: Layout, frame: int) -> bytes:
    """The codestream of one frame, whether its fragments are counted by an offset table or not.

    Raises:
        DataError: no such frame.
    """
    tables = None
    if "ExtendedOffsetTable" in ds and "ExtendedOffsetTableLengths" in ds:
        tables = (ds.ExtendedOffsetTable, ds.ExtendedOffsetTableLengths)
    try:
        with quietly():
            _check_count(ds.PixelData or b"", form)
            return get_frame(ds.PixelData, frame, number_of_frames=form.frames, extended_offsets=tables)
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            f"frame {frame + 1} of {form.frames} is not in the file: {str(error)[:200]}", "a whole, undamaged file"
        ) from None


def _check_count(pixels: bytes, form: Layout) -> None:
    fragments = parse_fragments(pixels)[0] - 1 if pixels else 0  # the first item is the offset table
    if fragments < form.frames:
        raise DataError(
            f"the DICOM file holds {fragments} fragments of pixels for {form.frames} frames", "a whole, undamaged file"
        )


def _check_length(ds: Any, form: Layout) -> None:
    held = len(ds.PixelData or b"")
    bits = form.width * form.height * form.frames * form.samples * form.allocated
    if form.photometric == "YBR_FULL_422":
        bits = bits * 2 // 3
    if held < (bits + 7) // 8:
        raise DataError(
            f"the DICOM file holds {held:,} of {(bits + 7) // 8:,} bytes of pixels: {form.width} × {form.height} × "
            f"{form.frames} do not decode",
            "a whole, undamaged file",
        )


def _check_stream(data: bytes, form: Layout) -> Codestream | None:
    """A codestream may be of any size: only one of the header's size is given to a decoder."""
    if form.syntax == RLE:  # run lengths carry no size; the decoder is given the header's
        return None
    stream = codestream(data)
    if (stream.width, stream.height) != (form.width, form.height) or stream.components != form.samples:
        raise DataError(
            f"the codestream has {stream.width} × {stream.height} pixels of {stream.components} samples, the header "
            f"{form.width} × {form.height} of {form.samples}",
            "a codestream that agrees with its header",
        )
    return stream


def scaled_jpeg(ds: Any, form: Layout, frame: int, box: tuple[int, int]) -> tuple[np.ndarray, bool] | None:
    """One frame of 8-bit JPEG, decoded at the smallest scale that holds `box`, colour converted in the codec.

    Args:
        ds: the data set.
        form: its layout.
        frame: 0-based.
        box: (width, height) to hold.

    Returns:
        The samples [h w] or [h w 3] and False (they are not YBR); None where this way is not open.

    Raises:
        DataError: as `stored_samples`.
    """
    if form.syntax not in JPEG or form.stored != 8:
        return None
    data = encapsulated_frame(ds, form, frame)
    stream = _check_stream(data, form)
    if stream is None or stream.bits != 8 or stream.process > 2:
        return None
    ids = bytes(stream.identifiers)
    # Samples marked RGB by their names, or by the header without a marker that contradicts it, were never transformed.
    plain = ids == b"rgb" or (form.photometric == "RGB" and stream.adobe < 0 and not stream.jfif and ids != b"RGB")
    try:
        with quietly(), Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            image.draft("YCbCr" if plain and form.samples == 3 else None, box)
            samples = np.asarray(image)
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError) as error:
        raise DataError(f"the DICOM pixels do not decode: {error}", "a whole file in a known transfer syntax") from None
    return (samples, False) if samples.ndim == (3 if form.samples == 3 else 2) else None
