"""DICOM files that are odd but sound, odd and doubtful, and what each is worth."""

from __future__ import annotations

import io
import struct

import cv2
import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
    generate_uid,
)

from tapetum.archive.dicom.pixels import is_dicom, read_dicom
from tapetum.archive.pixels import decode, probe
from tapetum.core.errors import DataError

RNG = np.random.default_rng(7)
PICTURE = cv2.GaussianBlur(RNG.integers(0, 256, (30, 40, 3), dtype=np.uint8), (0, 0), 2)
GREY = (np.arange(1200).reshape(30, 40) * 3).astype(np.uint16)


def dataset(pixels: np.ndarray, **fields: object) -> Dataset:
    ds = Dataset()
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.5.1"
    ds.SOPInstanceUID = generate_uid(entropy_srcs=["odd"])
    colour = pixels.ndim >= 3 and pixels.shape[-1] == 3
    ds.Rows, ds.Columns = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
    ds.SamplesPerPixel = 3 if colour else 1
    if colour:
        ds.PlanarConfiguration = 0
    ds.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 8 * pixels.dtype.itemsize
    ds.HighBit = ds.BitsStored - 1
    ds.PixelRepresentation = int(pixels.dtype.kind == "i")
    ds.PixelData = pixels.tobytes() + bytes(pixels.nbytes % 2)
    for name, value in fields.items():
        if value is None:
            delattr(ds, name)
        else:
            setattr(ds, name, value)
    return ds


def written(ds: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds["PixelData"].VR = "OW" if ds.BitsAllocated > 8 and not ds["PixelData"].is_undefined_length else "OB"
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def jpegs(count: int) -> list[bytes]:
    found: list[bytes] = []
    for number in range(count):
        buffer = io.BytesIO()
        Image.fromarray(np.roll(PICTURE, 5 * number, axis=1)).save(buffer, "JPEG", quality=95, subsampling=0)
        found.append(buffer.getvalue())
    return found


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_a_file_without_preamble_is_known_by_its_elements(syntax: str) -> None:
    ds = dataset(PICTURE)
    buffer = io.BytesIO()
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    ds.save_as(buffer, implicit_vr=implicit, little_endian=little)
    data = buffer.getvalue()
    assert data[128:132] != b"DICM"
    assert is_dicom(data)
    assert is_dicom(data[:132])
    assert np.array_equal(decode(data, min_side=0), PICTURE)


def test_a_file_without_preamble_but_with_meta_is_read() -> None:
    data = written(dataset(PICTURE))
    assert np.array_equal(decode(data[132:], min_side=0), PICTURE)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x08\0", bytes(200), b"\x08\0\x05\0" + bytes(128), b"\xff\xd8\xff\xe0" + bytes(200),
     b"\x08\0\x05\0CS\xff\xff" + bytes(200), b"\x02\0" + RNG.bytes(300), b"II*\0" + bytes(200),
     b"\x08\0\x10\0CS\x02\0AB\x08\0\x05\0CS\x02\0AB" + bytes(200)],
)  # fmt: skip
def test_other_bytes_are_not_taken_for_dicom(data: bytes) -> None:
    assert not is_dicom(data)
    with pytest.raises(DataError):
        read_dicom(data)


def test_frames_are_found_with_and_without_offset_tables() -> None:
    streams = jpegs(4)
    whole = [np.asarray(Image.open(io.BytesIO(s))) for s in streams]
    table, lengths = b"", b""
    pixels, table, lengths = encapsulate_extended(streams)
    variants = [
        {"PixelData": encapsulate(streams)},
        {"PixelData": encapsulate(streams, has_bot=False)},
        {"PixelData": encapsulate(streams, fragments_per_frame=3)},
        {"PixelData": encapsulate(streams, fragments_per_frame=2, has_bot=False)},
        {"PixelData": pixels, "ExtendedOffsetTable": table, "ExtendedOffsetTableLengths": lengths},
    ]
    for fields in variants:
        data = written(
            dataset(PICTURE, NumberOfFrames=4, PhotometricInterpretation="YBR_FULL_422", **fields), JPEGBaseline8Bit
        )
        assert probe(data).frames == 4
        for index, expected in enumerate(whole):
            assert np.array_equal(decode(data, min_side=0, frame=index), expected)
        assert np.array_equal(decode(data, min_side=0), whole[2])


def test_native_frames_padding_and_planes() -> None:
    volume = RNG.integers(0, 256, (5, 30, 40), dtype=np.uint8)
    data = written(dataset(volume, NumberOfFrames=5))
    assert np.array_equal(decode(data, min_side=0)[..., 0], volume[2])
    assert np.array_equal(decode(data, min_side=0, frame=4)[..., 0], volume[4])
    longer = dataset(PICTURE)
    longer.PixelData += b"\0" * 64
    assert np.array_equal(decode(written(longer), min_side=0), PICTURE)
    planes = dataset(PICTURE, PlanarConfiguration=1)
    planes.PixelData = np.ascontiguousarray(PICTURE.transpose(2, 0, 1)).tobytes()
    assert np.array_equal(decode(written(planes), min_side=0), PICTURE)


def test_bits_that_are_not_used_are_not_seen() -> None:
    ten = (GREY % 1024).astype(np.uint16)
    expected = np.rint(ten * (255.0 / 1023))
    left = dataset((ten << 6).astype(np.uint16), BitsStored=10, HighBit=15)
    assert np.array_equal(decode(written(left), min_side=0)[..., 0], expected)
    overlay = dataset((ten | ((ten % 2) << 12)).astype(np.uint16), BitsStored=10, HighBit=9)
    with pytest.raises(DataError, match="with BitsStored 10"):
        decode(written(overlay), min_side=0)
    overlay.add_new(0x60000102, "US", 12)
    assert np.array_equal(decode(written(overlay), min_side=0)[..., 0], expected)
    signed = dataset((ten.astype(np.int16) - 512).astype(np.int16), BitsStored=10, HighBit=9)
    assert np.array_equal(decode(written(signed), min_side=0)[..., 0], expected)


def test_windows_of_frames_and_their_functions() -> None:
    volume = np.stack([GREY, GREY])
    first, second = Dataset(), Dataset()
    for place, (centre, width) in ((first, (600, 1200)), (second, (1800, 100))):
        window = Dataset()
        window.WindowCenter, window.WindowWidth = centre, width
        place.FrameVOILUTSequence = Sequence([window])
    ds = dataset(volume, NumberOfFrames=2, PerFrameFunctionalGroupsSequence=Sequence([first, second]))
    ds.WindowCenter, ds.WindowWidth = 1, 2
    data = written(ds)
    for index, (centre, width) in enumerate(((600, 1200), (1800, 100))):
        expected = np.clip(np.rint((GREY - (centre - 0.5 - (width - 1) / 2)) / (width - 1) * 255), 0, 255)
        assert np.array_equal(decode(data, min_side=0, frame=index)[..., 0], expected)
    exact = written(dataset(GREY, WindowCenter=600, WindowWidth=1200, VOILUTFunction="LINEAR_EXACT"))
    assert np.array_equal(decode(exact, min_side=0)[..., 0], np.clip(np.rint(GREY / 1200 * 255), 0, 255))
    sigmoid = decode(written(dataset(GREY, WindowCenter=600, WindowWidth=1200, VOILUTFunction="SIGMOID")), min_side=0)
    assert sigmoid[5, 0, 0] == 128  # 600, the centre
    assert sigmoid[0, 0, 0] == round(255 / (1 + np.exp(2)))
    with pytest.raises(DataError, match="window of width -5"):
        decode(written(dataset(GREY, WindowCenter=600, WindowWidth=-5)), min_side=0)


def test_slopes_and_one_bit() -> None:
    turned = written(dataset(GREY, RescaleSlope=-2, RescaleIntercept=7))
    assert np.array_equal(decode(turned, min_side=0)[..., 0], np.rint((65535 - GREY.astype(float)) * (255 / 65535)))
    with pytest.raises(DataError, match="a range from 7 to 7"):
        decode(written(dataset(GREY, RescaleSlope=0, RescaleIntercept=7)), min_side=0)
    mask = RNG.integers(0, 2, (30, 40), dtype=np.uint8)
    ds = dataset(mask, BitsAllocated=1, BitsStored=1, HighBit=0)
    ds.PixelData = np.packbits(mask.ravel(), bitorder="little").tobytes()
    assert np.array_equal(decode(written(ds), min_side=0)[..., 0], 255 * mask)


def test_what_is_absent_is_not_made_up() -> None:
    for name, reason in (
        ("PhotometricInterpretation", "photometric"), ("Rows", "no Rows"), ("BitsAllocated", "no BitsAllocated"),
        ("PixelData", "no pixels"),
    ):  # fmt: skip
        ds = dataset(GREY)
        whole = written(ds)
        assert decode(whole, min_side=0).shape == (30, 40, 3)
        delattr(ds, name)
        buffer = io.BytesIO()
        ds.save_as(buffer, enforce_file_format=True)
        with pytest.raises(DataError, match=reason):
            decode(buffer.getvalue(), min_side=0)
    with pytest.raises(DataError, match="PixelRepresentation is missing"):
        decode(written(dataset(GREY, PixelRepresentation=None)), min_side=0)
    assert np.array_equal(decode(written(dataset(PICTURE, PixelRepresentation=None)), min_side=0), PICTURE)
    floats = dataset(GREY, PixelData=None)
    floats.FloatPixelData, floats.BitsAllocated = GREY.astype(np.float32).tobytes(), 32
    floats.file_meta = FileMetaDataset()
    floats.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = io.BytesIO()
    floats.save_as(buffer, enforce_file_format=True)
    with pytest.raises(DataError, match="FloatPixelData"):
        decode(buffer.getvalue(), min_side=0)


def test_a_wrong_transfer_syntax_is_refused() -> None:
    said_jpeg = written(dataset(PICTURE)).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.4.50"[:20], 1)
    with pytest.raises(DataError):
        decode(said_jpeg, min_side=0)
    rle = written(dataset(PICTURE, PixelData=encapsulate(jpegs(1))), RLELossless)
    with pytest.raises(DataError, match="do not decode"):
        decode(rle, min_side=0)


def test_a_decoder_that_panics_on_too_long_a_segment_is_refused() -> None:
    long = struct.pack("<16L", 1, 64, *[0] * 14) + bytes([251, 7])  # six equal pixels
    assert (
        decode(
            written(dataset(np.full((2, 3), 7, np.uint8), PixelData=encapsulate([long])), RLELossless), min_side=0
        ).tolist()
        == [[[7] * 3] * 3] * 2
    )
    halves = struct.pack("<16L", 2, 64, 66, *[0] * 13) + bytes([251, 7, 251, 7])  # six where four belong
    with pytest.raises(DataError, match="do not decode"):
        decode(written(dataset(np.zeros((2, 2), np.uint16), PixelData=encapsulate([halves])), RLELossless), min_side=0)


def test_an_icon_and_private_elements_do_not_stand_for_the_image() -> None:
    ds = dataset(PICTURE)
    ds.IconImageSequence = Sequence([dataset(np.zeros((4, 4), np.uint8))])
    ds.add_new(0x00090010, "LO", "SOMEBODY")
    ds.add_new(0x00091001, "UN", struct.pack("<8H", *range(8)) * 50)
    assert np.array_equal(decode(written(ds), min_side=0), PICTURE)
    only = dataset(PICTURE, PixelData=None)
    only.IconImageSequence = Sequence([dataset(np.zeros((4, 4), np.uint8))])
    only.file_meta = FileMetaDataset()
    only.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = io.BytesIO()
    only.save_as(buffer, enforce_file_format=True)
    with pytest.raises(DataError, match="no pixels"):
        decode(buffer.getvalue(), min_side=0)


def test_palettes_of_8_and_16_bits() -> None:
    index = RNG.integers(0, 256, (30, 40), dtype=np.uint8)
    tables = [RNG.integers(0, 65536, 256).astype(np.uint16) for _ in range(3)]
    ds = dataset(index, PhotometricInterpretation="PALETTE COLOR")
    for name, table in zip(("Red", "Green", "Blue"), tables, strict=True):
        setattr(ds, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        setattr(ds, f"{name}PaletteColorLookupTableData", table.tobytes())
    expected = np.stack([np.rint(table[index] * (255 / 65535)) for table in tables], axis=-1)
    assert np.array_equal(decode(written(ds), min_side=0), expected)
