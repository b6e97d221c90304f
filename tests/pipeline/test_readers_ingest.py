"""Exports of every kind through ingest: recognised, taken whole, every file accounted for."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from openpyxl.workbook import Workbook
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from kinds_of_files import export_of, nifti_file, vol_file
from tapetum.archive import IngestConfig, IngestSummary, ingest, open_archive
from tapetum.core.errors import UsageError
from tapetum.core.types import Laterality


def picture(number: int) -> bytes:
    image = np.random.default_rng(number).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def photo(path: Path, number: int) -> None:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.77.1.5.1", f"1.2.{number}"
    ds.PatientID, ds.ImageLaterality = f"p{number}", "R"
    ds.Rows = ds.Columns = 16
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation = 7, 0
    ds.PixelData = np.random.default_rng(number).integers(0, 256, 256, dtype=np.uint8).tobytes()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.save_as(path, enforce_file_format=True)


def take(export: Path, **config: object) -> IngestSummary:
    settings = {"deidentify": "none", **config}
    return ingest([export], export.parent / "out.tap", IngestConfig(**settings))  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "images"), [("vendor", 4), ("nifti", 2), ("video", 2)])
def test_each_kind_is_recognised_and_taken(tmp_path: Path, kind: str, images: int) -> None:
    export_of(kind, tmp_path / "export")
    found = take(tmp_path / "export", report_required=False)
    assert found.images == images, found.reasons
    assert any(reason.file.startswith("c.") for reason in found.reasons)
    again = take(tmp_path / "export", report_required=False)
    assert (again.added, again.digest) == (0, found.digest)


def test_vendor_volume_with_its_frames_and_localiser(tmp_path: Path) -> None:
    export = tmp_path / "export"
    export.mkdir()
    (export / "a.vol").write_bytes(vol_file(count=3))
    assert take(export).images == 2
    volume, slo = sorted(open_archive(tmp_path / "out.tap").records, key=lambda r: r.source)
    assert (volume.source, volume.frames, volume.modality, volume.laterality) == ("a.vol", 3, "oct", Laterality.RIGHT)
    assert (slo.source, slo.frames, slo.modality, slo.mm_per_pixel) == ("a.vol#slo", 1, "slo", 0.02)
    assert volume.provenance["patient_id"] == "vol PatientID"
    archive = open_archive(tmp_path / "out.tap")
    assert archive.pixels(volume.image_id, min_side=0).shape == (4, 6, 3)


def test_excel_table_names_images_of_every_kind(tmp_path: Path) -> None:
    export = tmp_path / "export"
    export.mkdir()
    (export / "a.png").write_bytes(picture(1))
    photo(export / "b.dcm", 2)
    (export / "c.vol").write_bytes(vol_file(patient="p3"))
    nifti_file(export / "d.nii.gz", np.arange(600, dtype=np.uint8).reshape(10, 12, 5))
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    for line in (["Eye clinic"], ["file", "patient", "eye", "age"], ["a.png", "p1", "rechts", "60,5"],
                 ["b.dcm", "p2", "OD", 61], ["c.vol", "p3", None, None], ["d.nii.gz", "p4", "OS", None]):  # fmt: skip
        sheet.append(line)
    book.save(export / "clinic.xlsx")
    found = take(export, reader="folder(header_row=2)")
    assert (found.images, found.quarantined) == (5, 0), found.reasons
    records = {r.source: r for r in open_archive(tmp_path / "out.tap").records}
    assert (records["a.png"].laterality, records["a.png"].age_years) == (Laterality.RIGHT, 60.5)
    assert records["a.png"].provenance["age_years"] == "column age"
    assert (records["b.dcm"].modality, records["b.dcm"].age_years) == ("fundus", 61.0)
    assert records["d.nii.gz"].frames == 5


def test_a_mixture_without_a_table_is_not_guessed(tmp_path: Path) -> None:
    export = tmp_path / "export"
    export.mkdir()
    photo(export / "b.dcm", 2)
    (export / "c.vol").write_bytes(vol_file(patient="p3"))
    with pytest.raises(UsageError, match=r"files of 2 kinds and no table: dicom \(b.dcm\), vendor \(c.vol\)") as caught:
        take(export)
    assert caught.value.next_step == "reader=dicom or reader=vendor"
    found = take(export, reader="dicom")
    assert found.images == 1
    assert any("1 .vol" in note for note in found.notes)
