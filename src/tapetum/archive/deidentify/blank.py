"""Parts of a picture painted over in the background's colour; the rest stays as near to what it was as the format lets.

JPEG is decoded to its own luminance and colour differences, painted, and encoded with the same tables and the same
subsampling, so that what is not painted is quantised to nearly the same coefficients. PNG stays exact.
"""

from __future__ import annotations

import io
import warnings
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool
from PIL import Image, JpegImagePlugin

from tapetum.archive.deidentify.files import ORIENTATION, strip
from tapetum.core.errors import DataError

Paint = tuple[int, int, int]
_UNTURN = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}  # fmt: skip


def turned_back(mask: Bool[np.ndarray, "h w"], orientation: int) -> Bool[np.ndarray, "r c"]:
    """A mask of the picture as seen, for the picture as stored."""
    if orientation not in _UNTURN:
        return mask
    return np.asarray(Image.fromarray(mask.astype(np.uint8)).transpose(_UNTURN[orientation])) > 0


def blank_file(data: bytes, keep: Bool[np.ndarray, "h w"], paint: Paint) -> bytes:
    """Paint over a JPEG, PNG or TIFF file what is not kept.

    Args:
        data: the file, without metadata but for the orientation.
        keep: at any size, as seen (after the orientation); enlarged to the picture's.
        paint: RGB.

    Returns:
        A file of the same format; a TIFF becomes a PNG.

    Raises:
        DataError: it does not decode, or its kind cannot be written again without a guess.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "TIFF")) as image:
                form, (width, height) = image.format, image.size
                orientation = int(image.getexif().get(ORIENTATION, 1))
                if orientation in (5, 6, 7, 8):
                    width, height = height, width
                stored = turned_back(_enlarged(keep, width, height), orientation)
                if form == "JPEG":
                    return _paint_jpeg(image, stored, paint, orientation)
            return _paint_exact(data, stored, paint, orientation)
        except (OSError, SyntaxError, ValueError, cv2.error, Image.DecompressionBombError) as error:
            kind = type(error).__name__
            raise DataError(f"the image does not decode ({kind})", "a whole, undamaged file") from None


def blank_jpeg(data: bytes, keep: Bool[np.ndarray, "h w"], paint: Paint) -> bytes:
    """Paint over a baseline or progressive JPEG stream of 8 bits, as it stands in a DICOM file."""
    return blank_file(data, keep, paint)


def blank_samples(samples: np.ndarray, keep: Bool[np.ndarray, "h w"], paint: Any) -> np.ndarray:
    """Samples with `paint` wherever nothing is kept; rows and columns are the first two axes."""
    made = samples.copy()
    made[~_enlarged(keep, samples.shape[1], samples.shape[0])] = paint
    return made


def _enlarged(keep: Bool[np.ndarray, "h w"], width: int, height: int) -> Bool[np.ndarray, "r c"]:
    if keep.shape == (height, width):
        return keep
    return cv2.resize(keep.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR) > 0.5


def _paint_jpeg(image: Image.Image, keep: Bool[np.ndarray, "h w"], paint: Paint, orientation: int) -> bytes:
    grey = image.mode == "L"
    if not grey:
        if image.mode != "RGB":
            raise DataError(f"a JPEG file of colour mode {image.mode} with text outside its field", "grey or colour")
        image.draft("YCbCr", image.size)  # as stored: no conversion to RGB and back
        if image.mode not in ("YCbCr", "RGB"):
            raise DataError(f"a JPEG file of colour mode {image.mode} with text outside its field", "grey or colour")
    sampling = 0 if grey else JpegImagePlugin.get_sampling(image)
    tables = {n: list(t) for n, t in image.quantization.items()}  # pyright: ignore[reportAttributeAccessIssue]
    image.load()
    colour: Any = paint
    if image.mode == "YCbCr":
        colour = Image.new("RGB", (1, 1), paint).convert("YCbCr").getpixel((0, 0))
    elif grey:
        colour = round(0.299 * paint[0] + 0.587 * paint[1] + 0.114 * paint[2])
    samples = blank_samples(np.asarray(image), keep, colour)
    out = io.BytesIO()
    made = Image.fromarray(samples, mode=image.mode) if image.mode == "YCbCr" else Image.fromarray(samples)
    more: dict[str, Any] = {} if grey else {"subsampling": sampling if sampling in (0, 1, 2) else 0}
    if image.mode == "RGB":
        more["keep_rgb"] = True
    made.save(out, "JPEG", qtables=tables, optimize=False, progressive=False, **more)
    return with_orientation(out.getvalue(), orientation)


def _paint_exact(data: bytes, keep: Bool[np.ndarray, "h w"], paint: Paint, orientation: int) -> bytes:
    samples = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    if samples is None or samples.shape[:2] != keep.shape or samples.dtype.name not in ("uint8", "uint16"):
        raise DataError("an image with text outside its field that cannot be written again", "8 or 16 bits, unsigned")
    deep = samples.dtype.name == "uint16"
    if deep and data[:4] != b"\x89PNG":
        raise DataError("a TIFF file of 16 bits with text outside its field", "8 bits, PNG or DICOM")
    colour: Any = np.array(paint[::-1], np.int64) * (257 if deep else 1)
    if samples.ndim == 2:
        colour = int(colour.mean())
    elif samples.shape[2] == 4:
        colour = [*colour, 65535 if deep else 255]
    done, coded = cv2.imencode(".png", blank_samples(samples, keep, colour), [cv2.IMWRITE_PNG_COMPRESSION, 6])
    if not done:
        raise DataError("an image with text outside its field that cannot be written again", "8 or 16 bits")
    made = coded.tobytes()
    if deep:  # says which range 16 bits use: `decode` demands it
        at = data.find(b"sBIT", 33, 4096)
        if at > 0 and samples.ndim == (2 if data[at - 1] == 1 else 3):
            length = data[at - 1]
            made = made[:33] + data[at - 4 : at + 8 + length] + made[33:]
    return with_orientation(made, orientation)


def with_orientation(data: bytes, orientation: int) -> bytes:
    """A file without metadata, with a minimal block that says how it must be turned; as it is for the usual way."""
    if orientation not in range(2, 9):
        return strip(data)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    block = exif.tobytes()
    if data[:2] == b"\xff\xd8":
        data = data[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + data[2:]
    else:
        import zlib

        body = b"eXIf" + block.removeprefix(b"Exif\0\0")
        data = data[:33] + (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big") + data[33:]
    return strip(data)
