"""Bytes of an image file in, 8-bit RGB out; nothing is guessed about intensities.

JPEG is decoded at the smallest of the scales 1/8, 1/4, 1/2, 1 that still holds the wanted size (the inverse cosine
transform is then taken on fewer coefficients), so that a thumbnail of a large photograph costs little. Colour
profiles are not applied.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Integer, UInt8
from PIL import Image, ImageOps

from tapetum.archive.dicom import pixels as dicompixels
from tapetum.archive.quietly import quietly
from tapetum.core.errors import DataError

MAX_PIXELS = 100_000_000
FORMATS = ("JPEG", "PNG", "TIFF")
# Decoding a little above the wanted size keeps the result within a grey level: benchmarks/decode_resize.py.
DRAFT_MARGIN = 1.25
# What `decode_sight` gives: a quarter of a photograph of 2000 pixels is enough for it.
SIGHT_SIDE, SIGHT_LEAST = 512, 480
_ORIENTATION = 274
_DAMAGE = (
    OSError, SyntaxError, ValueError, EOFError, struct.error, MemoryError, cv2.error, TypeError, KeyError, IndexError,
    AttributeError, OverflowError, ZeroDivisionError, RecursionError, NotImplementedError, RuntimeError,
)  # fmt: skip
Box = Callable[[int, int], tuple[int, int]]
_PLAIN_MODES = ("RGB", "L", "1", "P", "LA", "RGBA", "PA")


@dataclass(frozen=True)
class Probe:
    """What a file holds, found by decoding it: pixels, samples per pixel and bits per sample as stored, frames."""

    width: int
    height: int
    channels: int
    bits: int
    format: str
    frames: int = 1


def decode(data: bytes, *, min_side: int, frame: int | None = None) -> UInt8[np.ndarray, "h w 3"]:
    """Decode a JPEG, PNG, TIFF or DICOM file to RGB.

    Args:
        data: the file's bytes.
        min_side: wanted length of the shorter side in pixels, 0 for the full size. A smaller image is not enlarged.
        frame: which frame of a DICOM file of several, 0-based; the middle one by default.

    Returns:
        RGB, 0..255; orientation as EXIF says; one-channel images repeated; transparency over black.

    Raises:
        DataError: another format, a damaged file, more than 100 megapixels, no such frame, or intensities of unknown
            range.
    """
    return _decode(data, DRAFT_MARGIN * min_side, min_side, frame)[0]


def decode_sight(data: bytes, *, frame: int | None = None) -> tuple[UInt8[np.ndarray, "h w 3"], Probe]:
    """One cheap decode for digest, duplicates and quality, and what the file holds.

    Args:
        data: the file's bytes.
        frame: as in `decode`.

    Returns:
        RGB whose shorter side has 480 to 512 pixels (less where the image has less): JPEG is decoded at the smallest
        scale that leaves 480. The same bytes give the same pixels with one version of libjpeg.

    Raises:
        DataError: as `decode`.
    """
    return _decode(data, SIGHT_LEAST, SIGHT_SIDE, frame)


def probe(data: bytes) -> Probe:
    """Decode the whole file once (of several frames the middle one) and say what it holds.

    Raises:
        DataError: as `decode`.
    """
    return _decode(data, 0, 1, None)[1]


def shrink(image: UInt8[np.ndarray, "h w 3"], min_side: int) -> UInt8[np.ndarray, "r c 3"]:
    """The image with its shorter side shrunk to `min_side` by an antialiased filter; never enlarged."""
    if not 0 < min_side < min(image.shape[:2]):
        return image
    return np.asarray(_resized(Image.fromarray(image), min_side))


def _decode(data: bytes, least: float, side: int, frame: int | None) -> tuple[UInt8[np.ndarray, "h w 3"], Probe]:
    """RGB and what the file holds: decoded to a shorter side of at least `least` pixels, then shrunk to `side`."""

    def box(width: int, height: int) -> tuple[int, int]:
        return _box(width, height, least)

    if dicompixels.is_dicom(data):
        image, found = dicompixels.decode_dicom(data, max_pixels=MAX_PIXELS, frame=frame, box=box)
        return shrink(image, side), Probe(found.width, found.height, found.channels, found.bits, "DICOM", found.frames)
    if frame not in (None, 0):
        raise DataError(f"frame {frame} of a file with one image", "0")
    try:
        with quietly(), Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return _from_pillow(image, data, box if least else None, side)
    except Image.UnidentifiedImageError:
        found = "an empty file" if not data else f"a file that begins with {data[:8]!r}"
        raise DataError(f"{found} is no image that is read here", "JPEG, PNG, TIFF or DICOM") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DataError("the image is too large to be safe", f"at most {MAX_PIXELS:,} pixels") from None
    except _DAMAGE as error:
        text = str(error)[:200] or type(error).__name__
        raise DataError(f"the image does not decode: {text}", "a whole, undamaged file") from None


def _from_pillow(
    image: Image.Image, data: bytes, box: Box | None, side: int
) -> tuple[UInt8[np.ndarray, "h w 3"], Probe]:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise DataError(f"the image has {width} × {height} pixels", f"at most {MAX_PIXELS:,} pixels")
    if getattr(image, "n_frames", 1) > 1:
        raise DataError(f"the file holds {image.n_frames} images", "one image per file")  # pyright: ignore[reportAttributeAccessIssue]
    form, mode, bits = str(image.format), image.mode, _bits(image, data)
    info = Probe(width, height, len(image.getbands()), bits, form)
    if bits > 8:
        return shrink(_to_rgb(_sixteen(image, data, bits)), side), info
    if mode not in _PLAIN_MODES:
        raise DataError(f"the image has colour mode {mode}", "grey, RGB or a palette, 8 bits per sample")
    if form == "JPEG" and box:
        image.draft(None, box(width, height))
    image.load()
    if image.getexif().get(_ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    if mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        over = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", over.size, (0, 0, 0, 255)), over)
    if image.mode == "L":  # before it is repeated three times
        image = _resized(image, side)
    image = image if image.mode == "RGB" else image.convert("RGB")
    return np.asarray(_resized(image, side)), info


def _resized(image: Image.Image, min_side: int) -> Image.Image:
    side = min(image.size)
    if not 0 < min_side < side:
        return image
    size = (max(1, round(image.width * min_side / side)), max(1, round(image.height * min_side / side)))
    return image.resize(size, Image.Resampling.BILINEAR)


def _box(width: int, height: int, least: float) -> tuple[int, int]:
    if not least:
        return width, height
    scale = least / min(width, height)
    return int(np.ceil(width * scale)), int(np.ceil(height * scale))


def _bits(image: Image.Image, data: bytes) -> int:
    """Bits per sample as the file declares them; Pillow's modes hide them for RGB."""
    if image.format == "PNG":
        return max(8, data[24])
    if image.format == "TIFF":
        declared = image.tag_v2.get(258, (8,))  # pyright: ignore[reportAttributeAccessIssue]
        return max(8, *(declared if isinstance(declared, tuple) else (declared,)))
    return 8


def _sixteen(image: Image.Image, data: bytes, bits: int) -> UInt8[np.ndarray, "h w *c"]:
    """Samples of more than 8 bits, scaled by the range that the file declares."""
    top = _declared_top(image, data, bits)
    if image.mode in ("F", "I") and image.format == "TIFF":
        raise DataError(f"the image has {bits} bits per sample of kind {image.mode}", "8 or 16 bits, unsigned")
    image.load()  # raises where the file is cut short; cv2 would return what there is
    samples = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if samples is None or samples.dtype != np.uint16:
        raise DataError(f"the image has {bits} bits per sample, which do not decode", "8 or 16 bits, unsigned")
    if samples.max() > top:
        raise DataError(
            f"a sample of {samples.max()} in an image of declared top {top}", "samples in the declared range"
        )
    if samples.ndim == 3:
        if samples.shape[2] != 3:
            raise DataError(f"{samples.shape[2]} channels of {bits} bits", "one or three channels")
        samples = samples[..., ::-1]
    return scale_to_byte(samples, float(top))


def _declared_top(image: Image.Image, data: bytes, bits: int) -> int:
    unknown = DataError(
        f"the image has {bits} bits per sample and does not say which range they use",
        "8 bits, PNG with sBIT, TIFF with MaxSampleValue, or DICOM with BitsStored",
        "export it as DICOM or as 8 bits",
    )
    if image.format == "PNG" and bits == 16:
        place = data.find(b"sBIT", 33, 4096)
        if place < 0 or set(data[place + 4 : place + 4 + len(image.getbands())]) != {16}:
            raise unknown  # fewer significant bits are written shifted by some programs and not by others
        return 65535
    if image.format == "TIFF":
        top = image.tag_v2.get(281) or image.tag_v2.get(341)  # pyright: ignore[reportAttributeAccessIssue]
        top = max(top) if isinstance(top, tuple) else top
        if top and 255 < top < 65536 and bits == 16:
            return int(top)
    raise unknown


def scale_to_byte(samples: Integer[np.ndarray, "h w *c"], top: float) -> UInt8[np.ndarray, "h w *c"]:
    """Samples 0..top to 0..255, rounded."""
    return np.clip(np.rint(samples.astype(np.float64) * (255.0 / top)), 0, 255).astype(np.uint8)


def _to_rgb(image: UInt8[np.ndarray, "h w *c"]) -> UInt8[np.ndarray, "h w 3"]:
    return np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else np.ascontiguousarray(image)
