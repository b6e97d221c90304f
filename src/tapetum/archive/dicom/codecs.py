"""Codecs beneath DICOM: a pydicom plug-in for JPEG of 12 bits and lossless JPEG, and what a codestream says of itself.

The plug-in decodes through imagecodecs (libjpeg-turbo 3, BSD). Which plug-in decodes which transfer syntax is fixed
here, so that a package that happens to be installed (python-gdcm, pylibjpeg-libjpeg) changes no pixel and is not used.
"""

from __future__ import annotations

import struct
import threading
from dataclasses import dataclass
from typing import Any

from pydicom import uid
from pydicom.pixels.decoders.base import Decoder, get_decoder

from tapetum.core.errors import DataError, MissingExtraError

# Names and the signature below are what pydicom asks of a plug-in.
DECODER_DEPENDENCIES = {
    uid.JPEGBaseline8Bit: ("imagecodecs",),
    uid.JPEGExtended12Bit: ("imagecodecs",),
    uid.JPEGLossless: ("imagecodecs",),
    uid.JPEGLosslessSV1: ("imagecodecs",),
}
LABEL = "tapetum"
JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)
JPEG_2000 = (
    uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K,
)  # fmt: skip
_PLUGIN = (
    dict.fromkeys(DECODER_DEPENDENCIES, LABEL)
    | dict.fromkeys(JPEG_2000, "pylibjpeg")
    | dict.fromkeys((uid.JPEGLSLossless, uid.JPEGLSNearLossless), "pyjpegls")
    | {uid.RLELossless: "pylibjpeg"}
)
NATIVE = (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian)
_REGISTER = threading.Lock()


@dataclass(frozen=True)
class Codestream:
    """What a JPEG, JPEG-LS or JPEG 2000 codestream declares: size, samples per pixel, bits, and JPEG's process.

    Attributes:
        process: the number of JPEG's start-of-frame marker (0 baseline, 1 extended, 2 progressive, 3 lossless,
            55 JPEG-LS), -1 for JPEG 2000.
        identifiers: of the components. adobe: the colour transform that an Adobe marker declares, -1 without one.
        jfif: whether a JFIF marker stands in it.
    """

    width: int
    height: int
    components: int
    bits: int
    process: int
    identifiers: tuple[int, ...] = ()
    adobe: int = -1
    jfif: bool = False


def is_available(uid: str) -> bool:
    """Whether the plug-in decodes this transfer syntax here; pydicom asks."""
    try:
        import imagecodecs
    except ImportError:
        return False
    return uid in DECODER_DEPENDENCIES and bool(imagecodecs.JPEG8.available)


def decode_frame(src: bytes, runner: Any) -> bytes:
    """One JPEG codestream as raw samples; pydicom calls it.

    Args:
        src: the codestream.
        runner: pydicom's description of the frame; its bits allocated and colour space are set to what was decoded.

    Returns:
        The samples, pixel by pixel, little endian.
    """
    import imagecodecs

    stream = codestream(src)
    space = "YCBCR" if stream.components == 3 and stream.adobe < 0 else None  # the same on both sides: as they are
    samples = imagecodecs.jpeg8_decode(src, colorspace=space, outcolorspace=space)
    runner.set_option("bits_allocated", 8 * samples.dtype.itemsize)
    runner.set_option("planar_configuration", 0)
    if stream.adobe == 1:
        runner.set_option("photometric_interpretation", "RGB")
    return samples.tobytes()


def decoder_for(syntax: str) -> tuple[Decoder, str]:
    """The decoder that pydicom has for a transfer syntax, and the plug-in to use.

    Raises:
        DataError: a transfer syntax that holds no still image, or an unknown one.
        MissingExtraError: the plug-in's package is not installed.
    """
    if syntax in NATIVE:
        return get_decoder(uid.UID(syntax)), ""
    plugin = _PLUGIN.get(uid.UID(syntax))
    if plugin is None:
        name = uid.UID(syntax).name if syntax else "none"
        raise DataError(f"transfer syntax {name!r}", "native, RLE, JPEG, JPEG-LS or JPEG 2000 pixels")
    decoder = get_decoder(uid.UID(syntax))
    with _REGISTER:
        if plugin == LABEL and LABEL not in (*decoder.available_plugins, *decoder.missing_dependencies):
            decoder.add_plugin(LABEL, ("tapetum.archive.dicom.codecs", "decode_frame"))
    if plugin not in decoder.available_plugins:
        raise MissingExtraError(
            f"no decoder for {decoder.UID.name}: {', '.join(decoder.missing_dependencies) or plugin}",
            "the package that Tapetum depends on for it",
            "pip install imagecodecs pyjpegls pylibjpeg pylibjpeg-openjpeg pylibjpeg-rle",
        )
    return decoder, plugin


def codestream(data: bytes) -> Codestream:
    """Read the header of a codestream, without decoding.

    Args:
        data: JPEG, JPEG-LS, a JPEG 2000 codestream or a JP2 file.

    Raises:
        DataError: none of these, or cut before its size is said.
    """
    try:
        if data[:2] == b"\xff\xd8":
            return _jpeg(data)
        start = 0 if data[:4] == b"\xff\x4f\xff\x51" else data.find(b"\xff\x4f\xff\x51", 0, 4096)
        if start >= 0:
            right, bottom, left, top = struct.unpack_from(">4I", data, start + 8)
            components, precision = struct.unpack_from(">HB", data, start + 40)
            return Codestream(right - left, bottom - top, components, (precision & 0x7F) + 1, -1)
    except (struct.error, IndexError):
        pass
    raise DataError(
        f"a codestream that begins with {bytes(data[:4])!r} says no size", "a whole JPEG, JPEG-LS or JPEG 2000 stream"
    )


def _jpeg(data: bytes) -> Codestream:
    place, adobe, jfif = 2, -1, False
    while True:
        if data[place] != 0xFF:
            raise IndexError
        marker = data[place + 1]
        if marker in (0xFF, 0x01) or 0xD0 <= marker <= 0xD8:
            place += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", data, place + 2)
        body = place + 4
        if marker in (0xD9, 0xDA) or length < 2:
            raise IndexError
        if marker == 0xE0 and data[body : body + 4] == b"JFIF":
            jfif = True
        if marker == 0xEE and data[body : body + 5] == b"Adobe" and length >= 14:
            adobe = data[body + 11]
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            bits, height, width, components = struct.unpack_from(">BHHB", data, body)
            identifiers = tuple(data[body + 6 + 3 * k] for k in range(components))
            return Codestream(width, height, components, bits, marker - 0xC0, identifiers, adobe, jfif)
        place += 2 + length
