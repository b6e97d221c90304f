"""Topcon `.fda`: made-up files, since no real one is at hand; what is read, what stays unknown, what is refused."""

from __future__ import annotations

import io
import math
import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
import pytest

from kinds_of_files import fda_bytes, fda_chunks
from tapetum.archive.readers.vendor import vendor
from tapetum.archive.rows import Refusal, Row
from tapetum.archive.tables.settings import TableSettings
from tapetum.archive.volumes import topcon
from tapetum.core.errors import DataError

RNG = np.random.default_rng(3)
SCANS = RNG.integers(0, 256, (4, 48, 64), dtype=np.uint8)
PHOTO = RNG.integers(0, 256, (40, 56, 3), dtype=np.uint8)


def rows(root: Path) -> dict[str, Row]:
    return {item.file: item for item in vendor(root, TableSettings()) if isinstance(item, Row)}


def refusals(root: Path) -> dict[str, str]:
    return {item.file: item.reason for item in vendor(root, TableSettings()) if isinstance(item, Refusal)}


def changed(name: str, data: bytes | None, **more: Any) -> bytes:
    """A file in which one chunk has other contents, or is absent."""
    chunks = fda_chunks(SCANS, photo=PHOTO, **more)
    return fda_bytes([(n, data if n == name and data is not None else d) for n, d in chunks if n != name or data])


def patched(name: str, layout: str, at: int, *values: float) -> bytes:
    """A file in which some values of a chunk are others."""
    data = bytearray(dict(fda_chunks(SCANS, photo=PHOTO))[name])
    struct.pack_into(layout, data, at, *values)
    return changed(name, bytes(data))


def facts_of(tmp_path: Path, data: bytes) -> dict[str, Any]:
    (tmp_path / "f.fda").write_bytes(data)
    return topcon.describe(str(tmp_path / "f.fda"))[0]


def test_volume_and_photograph_are_those_written(tmp_path: Path) -> None:
    (tmp_path / "a.fda").write_bytes(fda_bytes(fda_chunks(SCANS, photo=PHOTO, eye=1)))
    found = rows(tmp_path)
    assert list(found) == ["a.fda", "a.fda#fundus"]
    volume, photo = found["a.fda"], found["a.fda#fundus"]
    assert (volume.patient_id, volume.laterality.value, volume.frames, volume.modality) == ("MRN-4711", "OS", 4, "oct")
    assert (volume.captured, volume.device) == ("2021-06-05", "Topcon 3D OCT-2000")
    assert (photo.modality, photo.frames, photo.laterality.value, photo.captured) == ("fundus", 1, "OS", "2021-06-05")
    assert volume.identifiers == {"name": "Wilhelmina Quastenflosser", "birth_date": "1950-02-03"}
    assert (volume.sex, math.isnan(volume.age_years)) == ("unknown", True)
    assert volume.provenance == {
        "modality": "vendor file", "laterality": "fda @CAPTURE_INFO_02", "captured": "fda @CAPTURE_INFO_02",
        "patient_id": "fda @PATIENT_INFO_02", "device": "fda @HW_INFO_03",
    }  # fmt: skip
    assert "look at a few" in volume.notes[0]
    ds = pydicom.dcmread(io.BytesIO(volume.read()))
    np.testing.assert_array_equal(ds.pixel_array, SCANS)
    assert (ds.ImageLaterality, "PatientID" in ds, "PatientName" in ds) == ("L", False, False)
    coloured = pydicom.dcmread(io.BytesIO(photo.read()))
    np.testing.assert_array_equal(coloured.pixel_array, PHOTO)
    assert coloured.PhotometricInterpretation == "RGB"
    assert "PixelSpacing" not in coloured
    assert volume.read() == volume.read()


def test_spacing_only_of_a_fine_raster(tmp_path: Path) -> None:
    """6 mm over 120 samples and 4.5 mm over 125 B-scans; with few of them n and n − 1 differ, and nothing is said."""
    many = RNG.integers(0, 256, (125, 8, 120), dtype=np.uint8)
    facts = facts_of(tmp_path, fda_bytes(fda_chunks(many)))
    assert (facts["row_mm"], facts["column_mm"], facts["between_mm"]) == pytest.approx((0.0026, 0.05, 0.036))
    ds = pydicom.dcmread(io.BytesIO(rows(tmp_path)["f.fda"].read()))
    assert [float(mm) for mm in ds.PixelSpacing] == [0.0026, 0.05]
    measures = ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert float(measures.SpacingBetweenSlices) == 0.036
    facts = facts_of(tmp_path, fda_bytes(fda_chunks(SCANS)))
    assert (facts["column_mm"], facts["between_mm"], facts["second"]) == (0, 0, "")
    assert "PixelSpacing" not in pydicom.dcmread(io.BytesIO(rows(tmp_path)["f.fda"].read()))
    facts = facts_of(tmp_path, fda_bytes(fda_chunks(many, pattern=1)))
    assert (facts["row_mm"], facts["column_mm"], facts["between_mm"]) == (0, 0, 0)
    assert "pattern 1, no raster" in facts["remarks"][0]
    older = [("@PARAM_SCAN_02" if name == "@PARAM_SCAN_04" else name, data) for name, data in fda_chunks(many)]
    older = [
        (n, struct.pack("<B5I7dB", 2, *[0] * 5, 6, 4.5, 3.5, *[0] * 4, 0) if "SCAN_02" in n else d) for n, d in older
    ]
    facts = facts_of(tmp_path, fda_bytes(older))
    assert (facts["row_mm"], facts["column_mm"]) == pytest.approx((0.0035, 0.05))


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -6.0, 0.0, 1e300])
def test_a_length_that_is_none_stays_unknown(tmp_path: Path, wrong: float) -> None:
    many = RNG.integers(0, 256, (1, 8, 120), dtype=np.uint8)
    chunks = dict(fda_chunks(many)) | {"@PARAM_SCAN_04": struct.pack("<3I5d2B", 0, 0, 0, *[wrong] * 5, 0, 0)}
    facts = facts_of(tmp_path, fda_bytes(list(chunks.items())))
    assert (facts["row_mm"], facts["column_mm"], facts["between_mm"]) == (0, 0, 0)


def test_what_the_file_does_not_say_stays_unknown(tmp_path: Path) -> None:
    for gone, key in (("@CAPTURE_INFO_02", "laterality"), ("@PATIENT_INFO_02", "patient_id")):
        assert key not in facts_of(tmp_path, changed(gone, None))
    assert facts_of(tmp_path, changed("@HW_INFO_03", None))["device"] == "Topcon"
    assert facts_of(tmp_path, changed("@PARAM_SCAN_04", None))["row_mm"] == 0
    assert facts_of(tmp_path, patched("@CAPTURE_INFO_02", "<3H", 106, 2021, 13, 1))["captured"] == ""
    (tmp_path / "f.fda").write_bytes(changed("@CAPTURE_INFO_02", None, eye=1))
    row = rows(tmp_path)["f.fda"]
    assert (row.laterality.value, row.captured, "laterality" in row.provenance) == ("unknown", "unknown", False)
    (tmp_path / "f.fda").write_bytes(patched("@CAPTURE_INFO_02", "<B", 0, 9))
    row = rows(tmp_path)["f.fda"]
    assert row.laterality.value == "unknown"
    assert "side 'eye 9' is not understood" in row.notes


def test_a_photograph_without_colours_is_remarked_on(tmp_path: Path) -> None:
    grey = imagecodecs.jpeg2k_encode(PHOTO[..., 0], level=0, codecformat="j2k")
    head = struct.pack("<4I4sI", 56, 40, 8, 1, b"", len(grey))
    facts = facts_of(tmp_path, changed("@IMG_FUNDUS", head + grey))
    assert (facts["second"], facts["remarks"]) == ("", ["a photograph without colours is not taken"])


JPEG = dict(fda_chunks(SCANS))["@IMG_JPEG"]
LAST = len(JPEG) - len(imagecodecs.jpeg2k_encode(SCANS[3], level=0, codecformat="j2k")) - 4


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (fda_bytes(fda_chunks(SCANS), b"FAA"), "anterior eye"),
        (fda_bytes(fda_chunks(SCANS), b"FDS"), "Topcon .fds"),
        (fda_bytes(fda_chunks(SCANS), b"XYZ"), "unknown kind"),
        (fda_bytes([]), "no B-scans"),
        (fda_bytes([("@IMG_MOT_COMP_03", b"\0" * 99)]), "16 bits, whose range nobody states"),
        (fda_bytes(fda_chunks(SCANS) * 2), "two chunks @HW_INFO_03"),
        (fda_bytes([("Quastenflosser", b"")]), "no name where chunk 1 begins"),
        (fda_bytes([("@A", b"")] * 10_001), "more than 10,000 chunks"),
        (patched("@IMG_JPEG", "<I", 17, 0), "0 B-scans"),
        (patched("@IMG_JPEG", "<I", 17, 3), "says 3 B-scans, the file holds more"),
        (patched("@IMG_JPEG", "<I", 17, 5), "B-scan 5 of 5 ends after its chunk"),
        (patched("@IMG_JPEG", "<I", 17, 2**32 - 1), "believable size"),
        (patched("@IMG_JPEG", "<I", 9, 65), "64 × 48 of 1 components of 8 bits"),
        (patched("@IMG_JPEG", "<I", 25, 2**31), "B-scan 1 of 4 ends after its chunk"),
        (patched("@IMG_JPEG", "<I", 25, 0), "B-scan 1 of 4 is no JPEG 2000"),
        (patched("@IMG_JPEG", "<I", 25, 1000), "B-scan 2 of 4"),
        (patched("@IMG_JPEG", "<I", 29, 0x31313131), "B-scan 1 of 4 is no JPEG 2000"),
        (changed("@IMG_JPEG", JPEG[:20]), "chunk @IMG_JPEG of 20 bytes"),
        (changed("@CAPTURE_INFO_02", b"\0" * 50), "chunk @CAPTURE_INFO_02 of 50 bytes"),
        (patched("@PATIENT_INFO_02", "<4s", 0, b"\x01\x02\x03\x04"), "no text"),  # type: ignore[arg-type]
        (patched("@IMG_FUNDUS", "<I", 0, 57), "the photograph has 56 × 40"),
        (patched("@IMG_FUNDUS", "<I", 12, 2), "2 photographs"),
        (patched("@IMG_FUNDUS", "<I", 20, 2**31), "one that fits its chunk"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "a.fda").write_bytes(data)
    (tmp_path / "b.fda").write_bytes(fda_bytes(fda_chunks(SCANS)))
    said = refusals(tmp_path)
    assert list(said) == ["a.fda"]
    assert reason in said["a.fda"]
    assert "Quast" not in said["a.fda"]
    assert list(rows(tmp_path)) == ["b.fda"]


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    """At every chunk's beginning, name and end, and everywhere in between by steps."""
    chunks = fda_chunks(SCANS, photo=PHOTO)
    whole = fda_bytes(chunks)
    ends = {len(fda_bytes(chunks[:n])) - 1 for n in range(len(chunks) + 1)}
    cuts = {end + more for end in ends for more in (-1, 0, 1, 2, 7)} | set(range(4, len(whole), 41))
    place = tmp_path / "a.fda"
    for cut in sorted(cut for cut in cuts if cut < len(whole)):
        place.write_bytes(whole[:cut])
        with pytest.raises(DataError):
            topcon.describe(str(place))
    place.write_bytes(whole)
    assert topcon.describe(str(place))[0]["count"] == 4


def test_pictures_that_do_not_decode_are_refused(tmp_path: Path) -> None:
    """The header is whole, what follows is cut: the last B-scan's length is told as 120 bytes."""
    place = tmp_path / "a.fda"
    place.write_bytes(changed("@IMG_JPEG", JPEG[:LAST] + struct.pack("<I", 120) + JPEG[LAST + 4 : LAST + 124]))
    assert topcon.describe(str(place))[0]["count"] == 4
    with pytest.raises(DataError, match="JPEG 2000 that does not decode"):
        topcon.pixels(str(place), 0, "bscans")
    with pytest.raises(DataError, match="JPEG 2000 that does not decode"):
        rows(tmp_path)["a.fda"].read()


def test_damaged_bytes_end_in_a_reason(tmp_path: Path) -> None:
    """Single bytes and runs of them changed at random: facts, or a DataError; nothing else."""
    whole = fda_bytes(fda_chunks(SCANS[:1], photo=PHOTO[:8, :8]))
    place, outcomes = tmp_path / "a.fda", [0, 0]
    for _ in range(300):
        data = bytearray(whole)
        at, length = int(RNG.integers(7, len(data) - 8)), int(RNG.integers(1, 8))
        data[at : at + length] = RNG.bytes(length)
        place.write_bytes(data)
        try:
            facts = topcon.describe(str(place))[0]
            for part in filter(None, ("bscans", facts["second"])):
                topcon.pixels(str(place), 0, part)
            outcomes[0] += 1
        except DataError:
            outcomes[1] += 1
    assert min(outcomes) > 10


def test_a_picture_of_a_size_that_nothing_holds_is_refused(tmp_path: Path) -> None:
    """One B-scan of 31,000 × 31,000 samples, said by chunk and codestream alike, in a file of 4 kB."""
    data = bytearray(dict(fda_chunks(SCANS[:1]))["@IMG_JPEG"])
    siz = data.index(b"\xff\x51")
    struct.pack_into("<2I", data, 9, 31_000, 31_000)
    for at in (6, 22):  # the image's size, the tile's
        struct.pack_into(">2I", data, siz + at, 31_000, 31_000)
    place = tmp_path / "a.fda"
    place.write_bytes(fda_bytes([(n, bytes(data) if n == "@IMG_JPEG" else d) for n, d in fda_chunks(SCANS[:1])]))
    row = rows(tmp_path)["a.fda"]
    with pytest.raises(DataError):
        row.read()
    place.write_bytes(fda_bytes(fda_chunks(SCANS)))
    assert len(rows(tmp_path)["a.fda"].read()) > SCANS.size
