"""The codec plug-in against arrays that were encoded here, and what codestreams say of themselves."""

from __future__ import annotations

import io

import cv2
import imagecodecs
import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    HTJ2KLossless,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    generate_uid,
)  # fmt: skip

from tapetum.archive.dicom.codecs import codestream, decoder_for
from tapetum.archive.pixels import decode, probe
from tapetum.core.errors import DataError

RNG = np.random.default_rng(3)
GREY = cv2.GaussianBlur(RNG.integers(0, 65536, (60, 81)).astype(np.float32), (0, 0), 4)
GREY = (GREY - GREY.min()) / (GREY.max() - GREY.min())
RGB = cv2.GaussianBlur(RNG.integers(0, 256, (60, 81, 3), dtype=np.uint8), (0, 0), 3)


def wrapped(stream: bytes, syntax: str, *, bits: int, photometric: str = "MONOCHROME2", frames: int = 1) -> bytes:
    ds = Dataset()
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.5.2"
    ds.SOPInstanceUID = generate_uid(entropy_srcs=["codecs"])
    ds.Rows, ds.Columns = 60, 81
    ds.PhotometricInterpretation, ds.SamplesPerPixel = photometric, 1 if photometric == "MONOCHROME2" else 3
    if ds.SamplesPerPixel == 3:
        ds.PlanarConfiguration = 0
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8 if bits == 8 else 16, bits, bits - 1, 0
    ds.NumberOfFrames = frames
    ds.PixelData = encapsulate([stream] * frames)
    ds["PixelData"].VR = "OB"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("predictor", [1, 4, 7])
def test_lossless_jpeg_is_lossless(bits: int, predictor: int) -> None:
    samples = np.rint(GREY * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)
    stream = imagecodecs.jpeg8_encode(samples, lossless=True, predictor=predictor, bitspersample=bits)
    for syntax in (JPEGLossless, JPEGLosslessSV1):
        data = wrapped(stream, syntax, bits=bits)
        expected = np.rint(samples * (255.0 / (2**bits - 1)))
        assert np.array_equal(decode(data, min_side=0)[..., 0], expected)
    assert probe(data).bits == bits


def test_twelve_bit_jpeg_is_close() -> None:
    samples = np.rint(GREY * 4095).astype(np.uint16)
    stream = imagecodecs.jpeg8_encode(samples, level=95, bitspersample=12)
    rgb = decode(wrapped(stream, JPEGExtended12Bit, bits=12, frames=3), min_side=0)
    assert np.abs(rgb[..., 1] - samples * (255.0 / 4095)).max() <= 1.5


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEGLSNearLossless])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_jpeg_ls(syntax: str, bits: int) -> None:
    samples = np.rint(GREY * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)
    near = 0 if syntax == JPEGLSLossless else 2
    stream = imagecodecs.jpegls_encode(samples, level=near)
    stream = stream if bits != 12 else stream.replace(b"\xff\xf7\x00\x0b\x10", b"\xff\xf7\x00\x0b\x10")
    shown = decode(wrapped(stream, syntax, bits=bits), min_side=0)[..., 0]
    assert np.abs(shown - samples * (255.0 / (2**bits - 1))).max() <= 0.5 + near * 255 / (2**bits - 1)


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEG2000, HTJ2KLossless, HTJ2K])
def test_jpeg_2000_colour(syntax: str) -> None:
    if syntax in (HTJ2KLossless, HTJ2K):
        if not imagecodecs.HTJ2K.available:
            pytest.skip("imagecodecs has no encoder for HTJ2K here")
        stream = imagecodecs.htj2k_encode(RGB, reversible=True)
    else:
        stream = imagecodecs.jpeg2k_encode(RGB, codecformat="J2K", reversible=True, mct=True, level=0)
    rgb = decode(wrapped(stream, syntax, bits=8, photometric="YBR_RCT"), min_side=0)
    assert np.array_equal(rgb, RGB)


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL_422", "YBR_FULL"])
def test_jpeg_colour_is_converted_once_or_not_at_all(photometric: str) -> None:
    space = None if photometric == "RGB" else "YCBCR"
    # Without a marker only the header says what the samples are.
    stream = imagecodecs.jpeg8_encode(
        RGB, level=98, colorspace="RGB" if space else "YCBCR", outcolorspace="YCBCR", subsampling="444"
    )
    bare = b"\xff\xd8" + stream[2 + 2 + 16 :] if stream[2:4] == b"\xff\xe0" else stream
    assert not codestream(bare).jfif
    rgb = decode(wrapped(bare, JPEGBaseline8Bit, bits=8, photometric=photometric), min_side=0)
    assert np.abs(rgb.astype(int) - RGB).mean() < 1.5
    small = decode(wrapped(bare, JPEGBaseline8Bit, bits=8, photometric=photometric), min_side=20)
    assert np.abs(small.astype(float).mean((0, 1)) - RGB.mean((0, 1))).max() < 1.5


def test_a_marker_in_the_codestream_outweighs_the_header() -> None:
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, "JPEG", quality=97, subsampling=0)  # JFIF: YCbCr
    assert codestream(buffer.getvalue()).jfif
    rgb = decode(wrapped(buffer.getvalue(), JPEGBaseline8Bit, bits=8, photometric="RGB"), min_side=0)
    assert np.abs(rgb.astype(int) - RGB).mean() < 1.5


def test_codestreams_say_their_size() -> None:
    for stream, process in (
        (imagecodecs.jpeg8_encode(RGB), 0),
        (imagecodecs.jpeg8_encode(RGB, lossless=True), 3),
        (imagecodecs.jpegls_encode(RGB), 55),
        (imagecodecs.jpeg2k_encode(RGB, codecformat="J2K"), -1),
        (imagecodecs.jpeg2k_encode(RGB, codecformat="JP2"), -1),
    ):
        found = codestream(stream)
        assert (found.width, found.height, found.components, found.bits, found.process) == (81, 60, 3, 8, process)
        for cut in (0, 1, 3, 9):
            with pytest.raises(DataError, match="says no size"):
                codestream(stream[:cut])


def test_other_transfer_syntaxes_are_refused_by_name() -> None:
    for syntax, name in (("1.2.840.10008.1.2.4.100", "MPEG2"), ("1.2.3.4", r"1\.2\.3\.4"), ("", "none")):
        with pytest.raises(DataError, match=name):
            decoder_for(syntax)
