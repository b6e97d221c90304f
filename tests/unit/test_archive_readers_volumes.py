"""Vendor OCT, NIfTI and video: what is read, checked against hand-computed values, and what is refused."""

from __future__ import annotations

import gzip
import io
import math
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from kinds_of_files import nifti_file, video_file, vol_file
from tapetum.archive.exports.kinds import Options, kind_of
from tapetum.archive.readers.folder import folder
from tapetum.archive.readers.nifti import nifti
from tapetum.archive.readers.vendor import vendor
from tapetum.archive.readers.video import video
from tapetum.archive.rows import Refusal, Row
from tapetum.archive.tables.settings import TableSettings
from tapetum.archive.volumes import clips, heyex
from tapetum.archive.volumes import nifti as niftivolume
from tapetum.archive.volumes import vendor as eyevolumes
from tapetum.core.errors import DataError, UsageError

SPECTRALIS = Path(os.environ.get("TAPETUM_DATA", "../shared/data")) / "spectralis"


def rows(said: Any) -> dict[str, Row]:
    return {item.file: item for item in said if isinstance(item, Row)}


def test_vol_header_and_pixels_are_those_written(tmp_path: Path) -> None:
    (tmp_path / "a.vol").write_bytes(vol_file())
    found = rows(vendor(tmp_path, TableSettings()))
    assert list(found) == ["a.vol", "a.vol#slo"]
    volume, slo = found["a.vol"], found["a.vol#slo"]
    assert (volume.patient_id, volume.laterality.value, volume.frames, volume.modality) == ("p1", "OD", 2, "oct")
    assert math.isnan(volume.mm_per_pixel)  # 4 × 10 µm
    assert "not square" in volume.notes[0]
    assert (slo.frames, slo.modality, slo.mm_per_pixel) == (1, "slo", 0.02)
    assert (volume.captured, volume.age_years) == ("2020-06-18", 60.0)
    assert volume.identifiers == {"birth_date": "1960-03-25"}
    assert volume.provenance["laterality"] == "vol ScanPosition"
    ds = pydicom.dcmread(io.BytesIO(volume.read()))
    # 255 · 0.0625 ** (1/4) = 127.5, rounded to even; the marked sample is black.
    expected = np.full((2, 4, 6), 128, np.uint8)
    expected[:, 0, 0] = 0
    np.testing.assert_array_equal(ds.pixel_array, expected)
    assert [float(v) for v in ds.PixelSpacing] == [0.004, 0.01]
    assert (ds.ImageLaterality, "PatientID" in ds) == ("R", False)
    np.testing.assert_array_equal(
        pydicom.dcmread(io.BytesIO(slo.read())).pixel_array.ravel(), np.arange(25, dtype=np.uint8)
    )
    assert volume.read() == volume.read()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (vol_file()[:-1], "a whole file"),
        (vol_file()[:100], "2,048 bytes"),
        (vol_file(eye="XX"), "scan position 'XX'"),
        (vol_file()[:12] + struct.pack("<I", 2**31) + vol_file()[16:], "believable size"),
        (vol_file()[:40] + struct.pack("<d", math.nan) + vol_file()[48:], "positive sizes"),
    ],
)
def test_vol_that_contradicts_itself_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    (tmp_path / "a.vol").write_bytes(data)
    (tmp_path / "b.vol").write_bytes(vol_file())
    said = list(vendor(tmp_path, TableSettings()))
    refused = [item for item in said if isinstance(item, Refusal)]
    assert [item.file for item in refused] == ["a.vol"]
    assert reason in refused[0].reason
    assert len(rows(said)) == 2


def test_a_device_number_stands_only_without_a_clinic_id(tmp_path: Path) -> None:
    (tmp_path / "a.vol").write_bytes(vol_file(patient=""))
    assert rows(vendor(tmp_path, TableSettings()))["a.vol"].patient_id == "heyex-77"
    (tmp_path / "t.csv").write_text("file,patient\na.vol,p5\n")
    for said in (vendor(tmp_path, TableSettings()), folder(tmp_path, TableSettings())):
        row = rows(said)["a.vol#slo"]
        assert (row.patient_id, row.provenance["patient_id"], row.row) == ("p5", "column patient", 2)


@pytest.mark.parametrize(("cell", "reason"), [("a.vol,p9,OD", "two patients"), ("a.vol,p1,OS", "the header OD")])
def test_table_that_contradicts_a_vol_refuses_it(tmp_path: Path, cell: str, reason: str) -> None:
    (tmp_path / "a.vol").write_bytes(vol_file())
    (tmp_path / "t.csv").write_text(f"file,patient,eye\n{cell}\n")
    said = list(vendor(tmp_path, TableSettings()))
    assert not rows(said)
    assert any(isinstance(item, Refusal) and reason in item.reason for item in said)


@pytest.mark.real
@pytest.mark.skipif(not SPECTRALIS.is_dir(), reason="TAPETUM_DATA/spectralis is absent")
def test_real_rings_and_lines() -> None:
    found = rows(vendor(SPECTRALIS, TableSettings()))
    assert len(found) == 8
    patterns = []
    for path in sorted(SPECTRALIS.glob("*.vol")):
        with path.open("rb") as stream:
            patterns.append(heyex.read_vol_header(stream).pattern)
        bscan = heyex.vol_bscans(path)
        assert bscan.shape == (1, 496, 768)
        assert 20 < bscan.mean() < 120
        assert pydicom.dcmread(io.BytesIO(found[path.name].read())).pixel_array.shape == (496, 768)
    assert sorted(patterns) == ["line", "ring", "ring", "ring"]


@pytest.mark.real
@pytest.mark.skipif(not SPECTRALIS.is_dir(), reason="TAPETUM_DATA/spectralis is absent")
def test_real_line_scan_equals_eyepy() -> None:
    io_functions = pytest.importorskip("eyepy.io.import_functions", exc_type=ImportError)
    for path in sorted(SPECTRALIS.glob("*.vol")):
        with path.open("rb") as stream:
            if heyex.read_vol_header(stream).pattern == "line":
                theirs = io_functions.import_heyex_vol(path)
                # Theirs shows a logarithm by default, ours the fourth root: the same reflectivities must give the same.
                theirs.set_intensity_transform(lambda raw: np.rint(255 * np.where(raw <= 1, raw, 0) ** 0.25))
                ours = heyex.vol_bscans(path)
                assert np.abs(np.asarray(theirs.data, dtype=float) - ours).max() <= 1
                np.testing.assert_array_equal(np.asarray(theirs.localizer.data), heyex.vol_slo(path)[0])


class Volume:
    """What eyepy hands over, as far as it is used."""

    def __init__(self, shape: tuple[int, int, int] = (2, 4, 6), slo: bool = True) -> None:
        self.shape = shape
        self.data = np.full(shape, 7.4)
        self.meta = {"scale_x": 0.01, "scale_y": 0.004, "scale_z": 0.12, "scale_unit": "mm"}
        self.localizer = type("Slo", (), {"data": np.zeros((5, 5)), "meta": {"scale_x": 0.02, "scale_y": 0.02}})()
        self.localizer = self.localizer if slo else None


def test_eyepy_volumes_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {"laterality": "L", "n_said": 2, "patient_id": "p3", "device": "Heidelberg Engineering", "name": "A B"}
    held: list[Any] = [(Volume(), facts), (Volume(slo=False), facts | {"laterality": "R"})]
    monkeypatch.setattr(eyevolumes, "_volumes", lambda path, only=-1: iter(held))
    monkeypatch.setattr(
        "tapetum.archive.volumes.oct.apart", lambda name, *a: getattr(eyevolumes, name.split(":")[1])(*a)
    )
    (tmp_path / "a.e2e").write_bytes(b"CMDb" + b"\0" * 200)
    found = rows(vendor(tmp_path, TableSettings()))
    assert list(found) == ["a.e2e#1", "a.e2e#1.slo", "a.e2e#2"]
    assert [row.laterality.value for row in found.values()] == ["OS", "OS", "OD"]
    assert found["a.e2e#1"].identifiers == {"name": "A B"}
    ds = pydicom.dcmread(io.BytesIO(found["a.e2e#1"].read()))
    assert ds.pixel_array.shape == (2, 4, 6)
    assert (ds.pixel_array == 7).all()
    held[1] = (Volume(), facts | {"n_said": 3})
    said = list(vendor(tmp_path, TableSettings()))
    assert not rows(said)
    assert any("the header says 3 B-scans, the file holds 2" in str(item) for item in said)
    with pytest.raises(DataError, match="grey values"):
        eyevolumes.grey(np.full((1, 2, 2), 300.0))


def test_vendor_files_are_told_by_content(tmp_path: Path) -> None:
    for name, head, kind in (
        ("a.vol", b"HSF-OCT-103", "vendor"), ("b.vol", b"something else", ""), ("c.dat", b"CMDb", "vendor"),
        ("d.fda", b"FOCT", "vendor"), ("e.nii.gz", b"", "nifti"), ("f.MP4", b"", "video"), ("g.JPG", b"", "picture"),
    ):  # fmt: skip
        (tmp_path / name).write_bytes(head)
        assert kind_of(tmp_path / name) == kind, name
    assert kind_of(tmp_path / "absent") == ""


def test_nifti_slices_spacing_and_orientation(tmp_path: Path) -> None:
    data = np.zeros((3, 4, 5), np.uint8)
    data[2, 3, 4] = 200  # right, anterior, superior
    for flip in (False, True):
        # The same body, written with its x axis to the left.
        nifti_file(tmp_path / "a.nii.gz", data[::-1] if flip else data, flip=flip)
        (tmp_path / "t.csv").write_text("file,patient\na.nii.gz,p1\n")
        row = rows(nifti(tmp_path, TableSettings()))["a.nii.gz"]
        assert (row.frames, row.mm_per_pixel, row.patient_id) == (5, 2.0, "p1")
        frames = pydicom.dcmread(io.BytesIO(row.read())).pixel_array
        assert frames.shape == (5, 4, 3)
        # Last slice; anterior at the top; the patient's right at the picture's left.
        assert np.argwhere(frames == 200).tolist() == [[4, 0, 0]]


def test_nifti_range_is_never_guessed(tmp_path: Path) -> None:
    data = np.array([0, 1000, 2000, 4000], np.int16).reshape(2, 2, 1)
    nifti_file(tmp_path / "a.nii", data)
    (tmp_path / "t.csv").write_text("file,patient\na.nii,p1\n")
    said = list(nifti(tmp_path, TableSettings()))
    assert not rows(said)
    assert any("whose range is unknown" in str(item) for item in said)
    row = rows(nifti(tmp_path, TableSettings(), window="0,2000"))["a.nii"]
    values = pydicom.dcmread(io.BytesIO(row.read())).pixel_array
    assert sorted(values.ravel().tolist()) == [0, 128, 255, 255]
    assert rows(folder(tmp_path, TableSettings(), window="0,2000"))["a.nii"].frames == 1
    nifti_file(tmp_path / "a.nii", data, cal=(0.0, 4000.0))
    assert "cal_min" in rows(nifti(tmp_path, TableSettings()))["a.nii"].notes[0]
    with pytest.raises(UsageError, match="window"):
        niftivolume.parse_window("5,1")


def test_nifti_bombs_and_lies_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = tmp_path / "a.nii.gz"
    bomb.write_bytes(gzip.compress(b"\0" * 100_000))
    monkeypatch.setattr(niftivolume, "MAX_UNPACKED_BYTES", 50_000)
    with pytest.raises(DataError, match="unpacks to more"):
        niftivolume.describe(str(bomb), None)
    monkeypatch.undo()
    nifti_file(tmp_path / "b.nii", np.zeros((3, 4, 5), np.uint8))
    whole = bytearray((tmp_path / "b.nii").read_bytes())
    struct.pack_into("<8h", whole, 40, 3, 30000, 30000, 100, 1, 1, 1, 1)
    (tmp_path / "b.nii").write_bytes(whole)
    with pytest.raises(DataError, match="promises"):
        niftivolume.describe(str(tmp_path / "b.nii"), None)
    nifti_file(tmp_path / "c.nii", np.zeros((3, 4, 5, 2), np.uint8))
    with pytest.raises(DataError, match="three axes"):
        niftivolume.describe(str(tmp_path / "c.nii"), None)


def test_video_frames_at_intervals(tmp_path: Path) -> None:
    video_file(tmp_path / "a.avi", 35, rate=10.0)
    (tmp_path / "t.csv").write_text("file,patient\na.avi,p1\n")
    found = rows(video(tmp_path, TableSettings()))
    assert list(found) == ["a.avi#t=0.00", "a.avi#t=1.00", "a.avi#t=2.00", "a.avi#t=3.00"]
    import cv2

    picture = cv2.imdecode(np.frombuffer(found["a.avi#t=2.00"].read(), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (48, 64, 3)
    assert abs(float(picture.mean()) - 40) < 4  # frame 20 is of grey 40
    assert len(rows(video(tmp_path, TableSettings(), every_seconds=0.5))) == 7
    assert len(rows(folder(tmp_path, TableSettings(), every_seconds=2.0))) == 2
    with pytest.raises(UsageError, match="every_seconds"):
        list(video(tmp_path, TableSettings(), every_seconds=0.0))


def test_video_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video_file(tmp_path / "a.avi", 30)
    monkeypatch.setattr(clips, "MAX_FRAMES", 2)
    with pytest.raises(DataError, match="more than 2 frames"):
        clips.times(str(tmp_path / "a.avi"), 0.5)
    (tmp_path / "b.mp4").write_bytes(b"\0" * 300)
    with pytest.raises(DataError, match="does not open"):
        clips.times(str(tmp_path / "b.mp4"), 0.5)


def test_options_have_defaults_that_guess_nothing() -> None:
    assert Options() == Options(window="", every_seconds=1.0)
