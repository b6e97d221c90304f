"""Files that lie, bombs and rubbish, through the sandbox: each ends with its own reason, in bounded memory and time."""

from __future__ import annotations

import io
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless, generate_uid

from tapetum.archive.pixels import decode, decode_sight, probe
from tapetum.archive.sandbox import Limits, Sandbox

RNG = np.random.default_rng(5)
PICTURE = cv2.GaussianBlur(RNG.integers(0, 256, (90, 120, 3), dtype=np.uint8), (0, 0), 2)
LIMITS = Limits(memory_bytes=768 * 2**20, cpu_seconds=20, wall_seconds=60)
PEAK_BYTES = 700 * 2**20


def look(data: bytes) -> tuple[str, int]:
    """Run in the child: all three ways in; what came out, and the most memory that was ever held."""
    rgb, found = decode_sight(data)
    assert rgb.dtype == np.uint8
    assert rgb.ndim == 3
    assert probe(data) == found
    decode(data, min_side=64)
    # Not ru_maxrss: Linux hands a child what the process that started it has held.
    status = Path("/proc/self/status")
    held = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")] if status.exists() else []
    peak = int(held[0].split()[1]) * 1024 if held else 0
    return f"{found.format} {found.width} × {found.height} × {found.frames}", peak


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png(width: int, height: int, *, colour: int = 0, body: bytes | None = None, text: bytes = b"") -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    if body is None:
        packer, row = zlib.compressobj(1), bytes(1 + width * (3 if colour == 2 else 1))
        body = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    said = chunk(b"zTXt", text) if text else b""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + said + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def dicom(pixels: bytes, *, syntax: str = ExplicitVRLittleEndian, **fields: object) -> bytes:
    ds = Dataset()
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.5.1"
    ds.SOPInstanceUID = generate_uid(entropy_srcs=["hostile"])
    ds.Rows, ds.Columns, ds.SamplesPerPixel, ds.PlanarConfiguration = 90, 120, 3, 0
    ds.PhotometricInterpretation = "RGB"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    for name, value in fields.items():
        setattr(ds, name, value)
    ds.PixelData = pixels
    ds["PixelData"].VR = "OB" if syntax != ExplicitVRLittleEndian else "OW"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def frames(count: int = 1, **options: object) -> list[bytes]:
    return [saved(Image.fromarray(PICTURE), "JPEG", quality=90, **options) for _ in range(count)]


def length_lie() -> bytes:
    data = dicom(PICTURE.tobytes())
    return data.replace(struct.pack("<I", PICTURE.nbytes), struct.pack("<I", 0xFFFFFFFE))


def deep_sequences(depth: int) -> bytes:
    item = Dataset()
    item.CodeValue = "x"
    sequence = struct.pack("<HHI", 0x0040, 0xA730, 0xFFFFFFFF)  # raw: 3000 nested data sets do not write
    start, end = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF), struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
    stop = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    body = (sequence + start) * depth + (end + stop) * depth
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = "1.2.840.10008.1.2"
    ds = Dataset()
    ds.file_meta = meta
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.77.1.5.1", generate_uid(entropy_srcs=["deep"])
    ds.PatientID = "p"
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True, implicit_vr=True, little_endian=True)
    return buffer.getvalue() + body


def shallow_sequences(depth: int) -> bytes:
    inner = Dataset()
    for _ in range(depth):
        outer = Dataset()
        outer.ContentSequence = Sequence([inner])
        inner = outer
    return dicom(PICTURE.tobytes(), ContentSequence=Sequence([inner]))


def deflated(size: int, *, cut: bool = False) -> bytes:
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.5.1"
    ds.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["deflated"])
    plain = dicom(PICTURE.tobytes())
    place = plain.index(b"\x08\0\x16\0UI")
    packer, block = zlib.compressobj(9, zlib.DEFLATED, -15), bytes(2**20)
    body = packer.compress(plain[place:])
    if size:
        body += packer.compress(struct.pack("<HH2sHI", 0xFFFC, 0xFFFC, b"OB", 0, size & ~1))
        body += packer.flush(zlib.Z_FULL_FLUSH)
        body += (packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)) * (size >> 20)
    body += packer.flush()
    buffer = io.BytesIO()
    Dataset.save_as(ds, buffer, enforce_file_format=True)
    head = buffer.getvalue()
    head = head[: 144 + struct.unpack("<I", head[140:144])[0]]
    return head + (body[: len(body) // 2] if cut else body)


def tiff(**tags: object) -> bytes:
    """A strip TIFF of 64 × 64 grey whose tags may lie."""
    said = {
        "width": 64, "height": 64, "bits": 8, "compression": 1, "photometric": 1, "offset": 8 + 2 + 9 * 12 + 4,
        "samples": 1, "rows": 64, "bytes": 4096,
    } | tags  # fmt: skip
    numbers = (256, 257, 258, 259, 262, 273, 277, 278, 279)
    body = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 9)
    for number, value in zip(numbers, said.values(), strict=True):
        kind, count, content = value if isinstance(value, tuple) else (4, 1, value)
        body += struct.pack("<HHII", number, kind, count, content)
    return body + struct.pack("<I", 0) + bytes(range(256)) * 16


def lying_exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    exif[0x8769] = {36867: "9" * 3000}
    data = bytearray(saved(Image.fromarray(PICTURE), "JPEG", exif=exif))
    place = data.index(b"Exif\0\0") + 6
    data[place + 4 : place + 8] = b"\xff\xff\xff\x7f" if orientation > 8 else data[place + 4 : place + 8]
    return bytes(data)


WHOLE = saved(Image.fromarray(PICTURE), "JPEG")
J2K = saved(Image.fromarray(PICTURE), "JPEG2000", no_jp2=True)
BIG_JPEG = WHOLE.replace(struct.pack(">HH", 90, 120), struct.pack(">HH", 65500, 65500))
OK = "ok"
# name → the bytes, and what must be said of them (a part of the reason, or `OK`).
CORPUS: dict[str, tuple[Callable[[], bytes], str]] = {
    "png bomb 20000²": (lambda: png(20000, 20000), "too large"),
    "png bomb 108 MP": (lambda: png(12000, 9000), "pixels"),
    "png of 99 MP": (lambda: png(11000, 9000), OK),
    "png 2³¹ wide": (lambda: png(2**31 - 1, 1, body=b""), "too large"),
    "png without data": (lambda: png(100, 100, body=zlib.compress(b"")), "does not decode"),
    "png inflates too far": (lambda: png(10, 10, body=zlib.compress(bytes(50 * 2**20))), OK),
    "png of zero width": (lambda: png(0, 10, body=b""), "does not decode|no image"),
    "png text bomb": (lambda: png(9, 9, text=b"k\0\0" + zlib.compress(bytes(80 * 2**20))), "does not decode"),
    "half a jpeg": (lambda: WHOLE[: len(WHOLE) // 2], "does not decode"),
    "jpeg header only": (lambda: WHOLE[:300], "does not decode|no image"),
    "jpeg says 65500²": (lambda: BIG_JPEG, "too large"),
    "jpeg, cmyk": (lambda: saved(Image.fromarray(PICTURE).convert("CMYK"), "JPEG"), "CMYK"),
    "jpeg, exif turned nine times": (lambda: lying_exif(9), OK),
    "jpeg, exif of 3000 digits": (lambda: lying_exif(1), OK),
    "jpeg, tail of rubbish": (lambda: WHOLE + RNG.bytes(10000), OK),
    "animated gif": (lambda: saved(Image.new("L", (9, 9)), "GIF", save_all=True), "no image"),
    "animated png": (
        lambda: saved(Image.new("L", (9, 9)), "PNG", save_all=True, append_images=[Image.new("L", (9, 9), 9)]),
        "2 images",
    ),
    "tiff of two pages": (
        lambda: saved(Image.new("L", (9, 9)), "TIFF", save_all=True, append_images=[Image.new("L", (9, 9), 9)]),
        "2 images",
    ),
    "tiff, sound": (tiff, OK),
    "tiff, strip beyond the end": (lambda: tiff(offset=2**31), "does not decode"),
    "tiff, more bytes than there are": (lambda: tiff(bytes=2**31), OK),
    "tiff, 2³² strips": (lambda: tiff(offset=(4, 2**32 - 1, 8)), "does not decode|no image|strip"),
    "tiff, 60000²": (lambda: tiff(width=60000, height=60000), "too large"),
    "tiff, no height": (lambda: tiff(height=0), "does not decode|pixels|no image"),
    "tiff, 33 bits": (lambda: tiff(bits=33), "does not decode|no image|bits"),
    "tiff, 9000 samples": (lambda: tiff(samples=9000), "does not decode|no image"),
    "tiff, unknown compression": (lambda: tiff(compression=34712), "does not decode|no image"),
    "tiff, directory in a circle": (lambda: tiff()[:118] + struct.pack("<I", 8) + tiff()[122:], "images|does not|ok"),
    "no bytes": (lambda: b"", "empty file"),
    "random bytes": (lambda: RNG.bytes(100_000), "no image"),
    "zeros": (lambda: bytes(100_000), "no image"),
    "only a preamble": (lambda: bytes(128) + b"DICM", "no pixels|does not open"),
    "preamble and rubbish": (lambda: bytes(128) + b"DICM" + RNG.bytes(50_000), "no pixels|does not open|cut short"),
    "dicom, sound": (lambda: dicom(PICTURE.tobytes()), OK),
    "dicom, half": (lambda: dicom(PICTURE.tobytes())[:16000], "cut short"),
    "dicom, 65535² × 100000": (
        lambda: dicom(PICTURE.tobytes(), Rows=65535, Columns=65535, NumberOfFrames=100000), "pixels",
    ),
    "dicom, 9000² × 100000": (
        lambda: dicom(PICTURE.tobytes(), Rows=9000, Columns=9000, NumberOfFrames=100000), "do not decode",
    ),
    "dicom, 2³¹ frames": (lambda: dicom(PICTURE.tobytes(), NumberOfFrames=2**31 - 1), "frames"),
    "dicom, no rows": (lambda: dicom(PICTURE.tobytes(), Rows=0), "pixels"),
    "dicom, rows absent": (lambda: dicom(PICTURE.tobytes(), Rows=None), "no Rows"),
    "dicom, no pixels in it": (lambda: dicom(b""), "do not decode"),
    "dicom, length of 4 GB": (length_lie, "cut short"),
    "dicom, 3000 sequences deep": (lambda: deep_sequences(3000), "deep|does not open"),
    "dicom, 100 sequences deep": (lambda: shallow_sequences(100), "deep"),
    "dicom, 20 sequences deep": (lambda: shallow_sequences(20), OK),
    "dicom, deflated": (lambda: deflated(0), OK),
    "dicom, deflate bomb of 1.2 GB": (lambda: deflated(1200 * 2**20), "inflates to more than"),
    "dicom, deflated and cut": (lambda: deflated(0, cut=True), "ends early"),
    "dicom, jpeg": (lambda: dicom(encapsulate(frames()), syntax=JPEGBaseline8Bit), OK),
    "dicom, jpeg of another size": (lambda: dicom(encapsulate([BIG_JPEG]), syntax=JPEGBaseline8Bit), "codestream"),
    "dicom, jpeg cut": (
        lambda: dicom(encapsulate([frames()[0][:2000]]), syntax=JPEGBaseline8Bit), "do not decode",
    ),
    "dicom, jpeg of 5 frames, 3 there": (
        lambda: dicom(encapsulate(frames(3)), syntax=JPEGBaseline8Bit, NumberOfFrames=5), "3 fragments",
    ),
    "dicom, pixels that are no jpeg": (
        lambda: dicom(encapsulate([RNG.bytes(5000)]), syntax=JPEGBaseline8Bit), "codestream",
    ),
    "dicom, no fragments": (lambda: dicom(b"\xfe\xff\0\xe0\0\0\0\0", syntax=JPEGBaseline8Bit), "0 fragments"),
    "dicom, jpeg 2000": (
        lambda: dicom(encapsulate([J2K]), syntax=JPEG2000Lossless, PhotometricInterpretation="YBR_RCT"), OK,
    ),
    "dicom, jpeg 2000 of 2³² pixels": (
        lambda: dicom(
            encapsulate([J2K.replace(struct.pack(">II", 120, 90), struct.pack(">II", 2**31, 2**31))]),
            syntax=JPEG2000Lossless, PhotometricInterpretation="YBR_RCT"),
        "codestream",
    ),
    "dicom, jpeg 2000 rubbish": (
        lambda: dicom(encapsulate([J2K[:300] + RNG.bytes(3000)]), syntax=JPEG2000Lossless), "do not decode|ok",
    ),
    "dicom, rle rubbish": (
        lambda: dicom(encapsulate([struct.pack("<16I", 3, *[64, 2**31, 2**32 - 1], *[0] * 12) + RNG.bytes(999)]),
                      syntax=RLELossless),
        "do not decode",
    ),
    "dicom, 32 bits": (
        lambda: dicom(bytes(90 * 120 * 4), SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2",
                      BitsAllocated=32, BitsStored=32, HighBit=31),
        "32 bits",
    ),
    "dicom, palette without a palette": (
        lambda: dicom(PICTURE.tobytes(), SamplesPerPixel=1, PhotometricInterpretation="PALETTE COLOR"), "palette",
    ),
    "dicom, unknown colours": (lambda: dicom(PICTURE.tobytes(), PhotometricInterpretation="HSV"), "photometric"),
    "dicom, unknown transfer syntax": (
        lambda: dicom(encapsulate(frames()), syntax="1.2.840.10008.1.2.4.102"), "transfer syntax",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(workers=1, limits=LIMITS) as pool:
        yield pool


@pytest.mark.parametrize("name", CORPUS)
def test_hostile_file_ends_with_its_own_reason(name: str, sandbox: Sandbox) -> None:
    build, expected = CORPUS[name]
    start = time.monotonic()
    outcome = next(iter(sandbox.map("test_hostile_files:look", [(build(),)])))
    assert time.monotonic() - start < LIMITS.wall_seconds
    said = OK if outcome.error is None else outcome.error.found
    assert any(part in said for part in expected.split("|")), said
    assert "memory" not in said
    assert "crashed" not in said
    if outcome.error is None:
        assert outcome.value[1] < PEAK_BYTES


def test_every_cut_and_flip_of_a_sound_file_is_accounted_for(sandbox: Sandbox) -> None:
    sound = [saved(Image.fromarray(PICTURE), form) for form in ("JPEG", "PNG", "TIFF")]
    sound += [dicom(PICTURE.tobytes()), tiff()]
    sound += [dicom(encapsulate(frames(2)), syntax=JPEGBaseline8Bit, NumberOfFrames=2)]
    sound += [dicom(encapsulate([J2K]), syntax=JPEG2000Lossless, PhotometricInterpretation="YBR_RCT"), deflated(0)]
    rng, broken = np.random.default_rng(11), []
    for data in sound:
        broken += [data[: int(cut)] for cut in rng.integers(0, len(data), 12)]
        for _ in range(25):
            changed = bytearray(data)
            for place in rng.integers(0, min(len(data), 1500), 3):
                changed[place] = rng.integers(256)
            broken.append(bytes(changed))
    outcomes = list(sandbox.map("test_hostile_files:look", ((data,) for data in broken)))
    assert len(outcomes) == len(broken)
    crashed = [o.error.found for o in outcomes if o.error and ("crashed" in o.error.found or "failed" in o.error.found)]
    assert not crashed


@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited by the system on Linux")
def test_the_sandbox_ends_what_the_checks_would_let_through(sandbox: Sandbox) -> None:
    with Sandbox(workers=1, limits=Limits(memory_bytes=64 * 2**20)) as small:
        outcome = next(iter(small.map("test_hostile_files:look", [(png(11000, 9000, colour=2),)])))
        assert outcome.error is not None
        assert "memory" in outcome.error.found or "does not decode" in outcome.error.found
        assert small.call("test_hostile_files:look", WHOLE)[0] == "JPEG 120 × 90 × 1"
