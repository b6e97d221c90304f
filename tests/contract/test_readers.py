"""What every reader promises: rows with bytes, refusals with a reason, nothing outside read, options alike."""

from __future__ import annotations

import dataclasses
import inspect
import io
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from kinds_of_files import TABLE, export_of
from tapetum.archive import IngestConfig, decode, ingest, open_archive
from tapetum.archive.readers import Reader
from tapetum.archive.rows import Note, Refusal, Row
from tapetum.archive.tables.settings import TableSettings
from tapetum.core.errors import DataError
from tapetum.core.registry import Family
from tapetum.core.types import Laterality

READERS = Family("tapetum.archive.readers")
PLAIN = TableSettings()


def dicom_file(number: int, **fields: object) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    ds = Dataset()
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.5.1"
    ds.SOPInstanceUID = generate_uid(entropy_srcs=[str(number)])
    ds.PatientID, ds.PatientSex, ds.PatientAge = f"p{number}", "F", "061Y"
    ds.StudyDate, ds.StudyInstanceUID, ds.ImageLaterality = "20210403", "1.2.3", "R"
    ds.Rows = ds.Columns = 16
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation = 7, 0
    ds.PixelData = pixels.tobytes()
    for name, value in fields.items():
        if value is None:
            delattr(ds, name)
        else:
            setattr(ds, name, value)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def export_for(name: str, root: Path) -> str:
    """An export that the reader reads, with a table, and the ending of its files."""
    if name not in ("dicom", "folder"):
        return export_of(name, root)
    (root / "deep").mkdir(parents=True)
    (root / "deep" / "a.dcm").write_bytes(dicom_file(1))
    (root / "b.dcm").write_bytes(dicom_file(2, ImageLaterality="L"))
    (root / "c.dcm").write_bytes(b"not dicom" * 30)
    (root / "t.csv").write_text(TABLE.format(".dcm"))
    return ".dcm"


@pytest.mark.parametrize("name", READERS.names())
def test_reader_yields_rows_with_bytes_and_refusals_with_reasons(name: str, tmp_path: Path) -> None:
    ending = export_for(name, tmp_path / "export")
    reader: Reader = READERS.build(name)
    said = list(reader(tmp_path / "export", PLAIN))
    rows = {item.file.partition("#")[0]: item for item in said if isinstance(item, Row)}
    assert {f"b{ending}", f"deep/a{ending}"} <= set(rows)
    for row in rows.values():
        data = row.read()
        assert data == row.read()
        assert decode(data, min_side=0).shape[2] == 3
        assert row.row > 0
    b = rows[f"b{ending}"]
    assert (b.patient_id, b.laterality, b.report, b.labels) == ("p2", Laterality.LEFT, "text two", ("B",))
    assert {"patient_id", "laterality", "report"} <= set(b.provenance)
    assert b.provenance["report"] == "column report"
    refused = [item for item in said if isinstance(item, Refusal)]
    assert any(r.row == 4 and "leaves the export" in r.reason for r in refused)
    # Nothing is said of c: a table of images passes it over, a reader of its kind refuses it.
    assert name == "folder" or any("c." in str(item) for item in said)
    assert all(isinstance(item, Row | Refusal | Note) for item in said)
    assert [item for item in reader(tmp_path / "export", PLAIN) if isinstance(item, Refusal)] == refused


@pytest.mark.parametrize("name", READERS.names())
def test_reader_takes_what_the_protocol_says_and_refuses_an_empty_folder(name: str, tmp_path: Path) -> None:
    parameters = inspect.signature(READERS.member(name)).parameters.values()
    promised = [p for p in inspect.signature(Reader.__call__).parameters if p != "self"]
    assert [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY] == promised
    options = READERS.options(name)
    assert all(option.default is not inspect.Parameter.empty for option in options.values())
    # What is said of a table is the same for all readers, and is no option of one of them.
    assert not {field.name for field in dataclasses.fields(TableSettings)} & set(options)
    with pytest.raises(DataError):
        list(READERS.build(name)(tmp_path, PLAIN))
    with pytest.raises(DataError):
        list(READERS.build(name)(tmp_path / "nowhere", PLAIN))


@pytest.mark.parametrize("name", READERS.names())
def test_reader_writes_nothing(name: str, tmp_path: Path) -> None:
    export = tmp_path / "export"
    export_for(name, export)
    before = {p: p.stat().st_mtime_ns for p in export.rglob("*")}
    for item in READERS.build(name)(export, PLAIN):
        if isinstance(item, Row):
            item.read()
    assert {p: p.stat().st_mtime_ns for p in export.rglob("*")} == before


def test_dicom_header_becomes_the_record(tmp_path: Path) -> None:
    root = tmp_path / "export"
    root.mkdir()
    (root / "a.dcm").write_bytes(dicom_file(1, ImageComments="clear media", PixelSpacing=[0.01, 0.01]))
    (root / "b.dcm").write_bytes(
        dicom_file(2, ImageLaterality=None, Laterality="L", PatientAge=None, PatientBirthDate="19600501")
    )
    (root / "c.dcm").write_bytes(dicom_file(3, Laterality="L"))
    (root / "d.dcm").write_bytes(dicom_file(4, PatientID=""))
    (root / "e.dcm").write_bytes(dicom_file(5)[:-300])
    (root / "f.dcm").write_bytes(b"x" * 200)
    (root / "notes.txt").write_text("no image")
    summary = ingest([root], tmp_path / "out.tap", IngestConfig(deidentify="none"))
    archive = open_archive(tmp_path / "out.tap")
    a, b = sorted(archive.records, key=lambda r: r.source)
    expected = dataclasses.replace(
        a, patient_id="p1", visit_id="1.2.3", laterality=Laterality.RIGHT, modality="fundus", mm_per_pixel=0.01,
        age_years=61.0, sex="F", captured="2021-04-03", report="clear media",
    )  # fmt: skip
    assert a == expected
    assert (b.laterality, b.age_years) == (Laterality.LEFT, 60.0)
    assert np.isnan(b.mm_per_pixel)
    reasons = {r.file: r.reason for r in summary.reasons}
    assert set(reasons) == {"c.dcm", "d.dcm", "e.dcm", "f.dcm"}
    assert "OD (ImageLaterality) and OS (Laterality)" in reasons["c.dcm"]
    assert "no patient" in reasons["d.dcm"]
    assert "cut short" in reasons["e.dcm"]
    assert "no DICOM marker" in reasons["f.dcm"]


def test_table_that_contradicts_the_header_refuses_the_file(tmp_path: Path) -> None:
    for i in (1, 2, 3):
        (tmp_path / f"{i}.dcm").write_bytes(dicom_file(i))
    (tmp_path / "t.csv").write_text(
        "file,patient,eye,report\n1.dcm,p9,OD,text\n2.dcm,p2,OS,text\n3.dcm,p3,right,text\n"
    )
    said = list(READERS.build("dicom")(tmp_path, PLAIN))
    assert [item.file for item in said if isinstance(item, Row)] == ["3.dcm"]
    assert sorted(item.reason.split(",")[0] for item in said if isinstance(item, Refusal)) == [
        "the table and the header name two patients (expected: the same in both)",
        "the table says eye OS",
    ]
