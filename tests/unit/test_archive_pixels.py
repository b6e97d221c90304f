"""Decoding: what is accepted, at which size, and what is refused rather than guessed."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from tapetum.archive import decode, probe
from tapetum.archive.pixels import decode_sight
from tapetum.core.errors import DataError

RNG = np.random.default_rng(0)
PICTURE = cv2.GaussianBlur(RNG.integers(0, 256, (90, 120, 3), dtype=np.uint8), (0, 0), 3)


def encoded(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png16(samples: np.ndarray, declared: int | None) -> bytes:
    """A 16-bit grey PNG, with an sBIT chunk where `declared` is given."""
    data = cv2.imencode(".png", samples)[1].tobytes()
    if declared is None:
        return data
    body = b"sBIT" + bytes([declared])
    return data[:33] + struct.pack(">I", 1) + body + struct.pack(">I", zlib.crc32(body)) + data[33:]


def dicom(pixels: np.ndarray, **fields: object) -> bytes:
    ds = Dataset()
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.5.1"
    ds.SOPInstanceUID = generate_uid(entropy_srcs=["pixels"])
    ds.Rows, ds.Columns = pixels.shape[:2]
    ds.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    if pixels.ndim == 3:
        ds.PlanarConfiguration = 0
    ds.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 8 * pixels.dtype.itemsize
    ds.PixelRepresentation = 0
    for name, value in fields.items():
        setattr(ds, name, value)
    ds.HighBit = ds.BitsStored - 1
    ds.PixelData = pixels.tobytes()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_lossless_files_come_back_pixel_for_pixel(form: str) -> None:
    data = encoded(Image.fromarray(PICTURE), form)
    assert np.array_equal(decode(data, min_side=0), PICTURE)
    found = probe(data)
    assert (found.width, found.height, found.channels, found.bits, found.format) == (120, 90, 3, 8, form)


@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_shorter_side_is_shrunk_and_never_enlarged(form: str) -> None:
    data = encoded(Image.fromarray(PICTURE), form)
    assert decode(data, min_side=45).shape == (45, 60, 3)
    assert decode(data, min_side=90).shape == (90, 120, 3)
    assert decode(data, min_side=500).shape == (90, 120, 3)


@pytest.mark.parametrize("side", [224, 100, 60])
def test_scaled_decoding_stays_within_a_grey_level_of_the_whole(side: int) -> None:
    y, x = np.mgrid[0:800, 0:800]
    image = np.stack([128 + 90 * np.sin(x / 30), 128 + 90 * np.cos(y / 40), (x + y) % 256 * 0 + 80], -1).astype(
        np.uint8
    )
    data = encoded(Image.fromarray(image), "JPEG", quality=90)
    whole = np.asarray(Image.open(io.BytesIO(data)).resize((side, side), Image.Resampling.BILINEAR), dtype=float)
    assert np.abs(decode(data, min_side=side) - whole).mean() < 1.0


def test_exif_orientation_is_honoured_with_and_without_shrinking() -> None:
    image = np.zeros((80, 160, 3), np.uint8)
    image[:, :40] = 255
    exif = Image.Exif()
    exif[274] = 6  # the camera was turned: show it rotated clockwise
    data = encoded(Image.fromarray(image), "JPEG", exif=exif, quality=95)
    for side, shape in ((0, (160, 80, 3)), (20, (40, 20, 3))):
        upright = decode(data, min_side=side)
        assert upright.shape == shape
        assert upright[: shape[0] // 8].mean() > 200
        assert upright[shape[0] // 2 :].mean() < 20


def test_grey_of_8_bits_is_repeated() -> None:
    rgb = decode(encoded(Image.fromarray(PICTURE[..., 0]), "PNG"), min_side=0)
    assert np.array_equal(rgb, np.repeat(PICTURE[..., :1], 3, axis=2))


def test_palette_is_looked_up_and_transparency_lies_on_black() -> None:
    flat = Image.new("RGB", (20, 20), (0, 204, 51))
    assert decode(encoded(flat.convert("P"), "PNG"), min_side=0)[0, 0].tolist() == [0, 204, 51]
    clear = Image.new("RGBA", (20, 20), (0, 204, 51, 0))
    assert decode(encoded(clear, "PNG"), min_side=0).max() == 0


def test_sixteen_bits_need_a_declared_range() -> None:
    samples = np.array([[0, 65535], [32768, 257]], np.uint16).repeat(8, 0).repeat(8, 1)
    with pytest.raises(DataError, match="16 bits per sample and does not say"):
        decode(png16(samples, None), min_side=0)
    with pytest.raises(DataError, match="16 bits per sample and does not say"):
        decode(png16(samples, 12), min_side=0)
    rgb = decode(png16(samples, 16), min_side=0)
    assert rgb[0, 0, 0] == 0
    assert rgb[0, -1, 0] == 255
    assert rgb[-1, 0, 0] == 128
    assert rgb[-1, -1, 0] == 1


def test_sixteen_bit_colour_is_not_cut_to_eight_in_silence() -> None:
    data = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint16))[1].tobytes()
    with pytest.raises(DataError, match="16 bits"):
        decode(data, min_side=0)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("part", [0.0, 0.3, 0.7])
def test_truncated_file_is_refused(form: str, part: float) -> None:
    data = encoded(Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)), form)
    with pytest.raises(DataError):
        probe(data[: int(len(data) * part)])


@pytest.mark.parametrize("data", [b"", b"GIF89a" + bytes(40), b"%!PS-Adobe-3.0 EPSF-3.0\n", b"BM" + bytes(60)])
def test_other_formats_are_not_opened(data: bytes) -> None:
    with pytest.raises(DataError, match="JPEG, PNG, TIFF or DICOM"):
        decode(data, min_side=0)


def test_bomb_is_an_error_before_it_is_decoded() -> None:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    for width, height in ((12000, 9000), (60000, 60000)):
        head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
        with pytest.raises(DataError, match="pixels"):
            probe(data)


def test_several_images_and_cmyk_are_refused() -> None:
    pages = [Image.fromarray(PICTURE), Image.fromarray(PICTURE)]
    with pytest.raises(DataError, match="2 images"):
        decode(encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:]), min_side=0)
    with pytest.raises(DataError, match="CMYK"):
        decode(encoded(pages[0].convert("CMYK"), "JPEG"), min_side=0)


def test_dicom_colour_grey_inverted_and_windowed() -> None:
    assert np.array_equal(decode(dicom(PICTURE), min_side=0), PICTURE)
    grey = np.array([[0, 1023], [512, 2046]], np.uint16).repeat(2, 0)
    twelve = decode(dicom(grey, BitsStored=12), min_side=0)
    assert twelve[0, 1, 0] == round(1023 * 255 / 4095)
    inverted = decode(dicom(grey, BitsStored=12, PhotometricInterpretation="MONOCHROME1"), min_side=0)
    assert np.array_equal(inverted, 255 - twelve)
    windowed = decode(dicom(grey, BitsStored=12, WindowCenter=512, WindowWidth=1024), min_side=0)
    assert windowed[0, 0, 0] == 0
    assert windowed[0, 1, 0] == 255
    assert windowed[2, 0, 0] == 128
    found = probe(dicom(grey, BitsStored=12))
    assert (found.width, found.height, found.channels, found.bits, found.format) == (2, 4, 1, 12, "DICOM")


def test_dicom_that_would_need_a_guess_is_refused() -> None:
    grey = np.zeros((4, 4), np.uint16)
    with pytest.raises(DataError, match="do not decode"):
        decode(dicom(grey, NumberOfFrames=5), min_side=0)
    with pytest.raises(DataError, match="cut short"):
        decode(dicom(PICTURE)[:-500], min_side=0)
    with pytest.raises(DataError, match="pixels"):
        decode(dicom(grey, Rows=65535, Columns=65535), min_side=0)
    with pytest.raises(DataError, match="stored values 0 to 4096 with BitsStored 12"):
        decode(dicom(grey + np.uint16([[0, 0, 0, 4096]]), BitsStored=12), min_side=0)


def test_sight_is_one_decode_of_480_to_512_pixels() -> None:
    y, x = np.mgrid[0:2000, 0:2100]
    image = np.stack([128 + 90 * np.sin(x / 30), 128 + 90 * np.cos(y / 40), 0.0 * x], -1).astype(np.uint8)
    data = encoded(Image.fromarray(image), "JPEG", quality=90)
    rgb, found = decode_sight(data)
    assert rgb.shape == (500, 525, 3)  # a quarter, as it is
    assert (found.width, found.height, found.channels, found.bits, found.format, found.frames) == (
        2100, 2000, 3, 8, "JPEG", 1,
    )  # fmt: skip
    assert np.array_equal(rgb, decode_sight(data)[0])
    for size, side in (((1900, 1900), 512), ((1000, 1000), 500), ((700, 800), 512), ((300, 400), 300)):
        small = encoded(Image.fromarray(image).resize(size), "JPEG")
        assert min(decode_sight(small)[0].shape[:2]) == side
    assert min(decode_sight(encoded(Image.fromarray(image), "PNG"))[0].shape[:2]) == 512
    with pytest.raises(DataError, match="frame 1 of a file with one image"):
        decode_sight(data, frame=1)


def test_threads_decode_together_and_leave_the_warning_filters_alone() -> None:
    data = [encoded(Image.fromarray(PICTURE), form) for form in ("JPEG", "PNG", "TIFF")] + [dicom(PICTURE)]
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        shapes = set(pool.map(lambda d: decode(d, min_side=30).shape, data * 20))
    assert shapes == {(30, 40, 3)}
    assert list(warnings.filters) == before
