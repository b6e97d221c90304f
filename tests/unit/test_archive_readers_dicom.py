"""What a DICOM header says, where it says it, and what is refused; reports that come as objects."""

from __future__ import annotations

import io
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from tapetum.archive.dicom.header import HEADER_KEYWORDS, identifiers_of, row_of
from tapetum.archive.dicom.text import structured_text
from tapetum.archive.dicom.values import read_header, text
from tapetum.archive.readers.dicom import dicom
from tapetum.archive.rows import Note, Refusal, Row
from tapetum.archive.tables.settings import TableSettings
from tapetum.core.errors import DataError
from tapetum.core.types import Laterality

PHOTO = "1.2.840.10008.5.1.4.1.1.77.1.5.1"
BASIC_SR = "1.2.840.10008.5.1.4.1.1.88.11"
PDF = "1.2.840.10008.5.1.4.1.1.104.1"


def image(**fields: Any) -> Dataset:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID, ds.StudyInstanceUID = PHOTO, "1.2.3.4", "1.2.3"
    ds.PatientID, ds.StudyDate = "p1", "20210403"
    ds.Rows = ds.Columns = 4
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation = 7, 0
    ds.PixelData = bytes(range(16))
    for name, value in fields.items():
        setattr(ds, name, value)
    return ds


def items(*fields: dict[str, Any]) -> list[Dataset]:
    found = []
    for given in fields:
        ds = Dataset()
        for name, value in given.items():
            setattr(ds, name, value)
        found.append(ds)
    return found


def code(value: str, scheme: str = "SCT", meaning: str = "x") -> list[Dataset]:
    return items({"CodeValue": value, "CodingSchemeDesignator": scheme, "CodeMeaning": meaning})


def save(ds: Dataset, path: Path, syntax: str = ExplicitVRLittleEndian) -> None:
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.save_as(path, enforce_file_format=True)


def row(ds: Dataset, **options: Any) -> Row:
    return row_of(ds, file="a.dcm", read=bytes, **options)


def region(value: str, scheme: str = "SCT") -> list[Dataset]:
    eye = code("81745001")
    eye[0].AnatomicRegionModifierSequence = code(value, scheme)
    return eye


def frame_side(side: str, per_frame: bool = False) -> dict[str, Any]:
    group = items({"FrameAnatomySequence": items({"FrameLaterality": side})})
    return {"PerFrameFunctionalGroupsSequence" if per_frame else "SharedFunctionalGroupsSequence": group}


@pytest.mark.parametrize(
    ("fields", "eye", "place"),
    [
        ({"ImageLaterality": "R"}, "OD", "DICOM ImageLaterality"),
        ({"Laterality": "L"}, "OS", "DICOM Laterality"),
        ({"ImageLaterality": "R", "Laterality": "R"}, "OD", "DICOM ImageLaterality, Laterality"),
        (frame_side("L"), "OS", "DICOM FrameLaterality"),
        (frame_side("R", per_frame=True), "OD", "DICOM FrameLaterality"),
        ({"AnatomicRegionSequence": region("24028007")}, "OD", "DICOM AnatomicRegionModifier"),
        ({"AnatomicRegionSequence": region("7771000")}, "OS", "DICOM AnatomicRegionModifier"),
        ({"AnatomicRegionSequence": region("G-A101", "SNM3")}, "OS", "DICOM AnatomicRegionModifier"),
        ({"ImageLaterality": "U"}, "not paired", "DICOM ImageLaterality"),
        ({"ImageLaterality": ""}, "unknown", ""),
        ({"SeriesDescription": "right eye"}, "unknown", ""),
    ],
)
def test_laterality_and_its_place(fields: dict[str, Any], eye: str, place: str) -> None:
    found = row(image(**fields))
    assert (found.laterality.value, found.provenance.get("laterality", "")) == (eye, place)


@pytest.mark.parametrize(
    "fields",
    [
        {"ImageLaterality": "R", "Laterality": "L"},
        {"ImageLaterality": "R", **frame_side("L")},
        {"ImageLaterality": "L", "AnatomicRegionSequence": region("24028007")},
        {"PerFrameFunctionalGroupsSequence": frame_side("L")["SharedFunctionalGroupsSequence"]
         + frame_side("R")["SharedFunctionalGroupsSequence"]},
        {"ImageLaterality": "X"},
    ],
)  # fmt: skip
def test_sides_that_disagree_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="laterality"):
        row(image(**fields))


def test_every_field_with_its_place() -> None:
    found = row(
        image(
            PatientAge="061Y",
            PatientSex="F",
            PixelSpacing=["0.01", "0.01"],
            NumberOfFrames=3,
            Manufacturer="Zenit",
            ManufacturerModelName="Fundus 3",
            ImageComments="clear media",
        )
    )
    assert (found.age_years, found.sex, found.mm_per_pixel, found.frames) == (61.0, "F", 0.01, 3)
    said = [found.device, found.report, found.modality, found.captured]
    assert said == ["Zenit Fundus 3", "clear media", "fundus", "2021-04-03"]
    assert found.provenance == {
        "patient_id": "DICOM PatientID", "visit_id": "DICOM StudyInstanceUID", "captured": "DICOM StudyDate",
        "age_years": "DICOM PatientAge", "sex": "DICOM PatientSex", "report": "DICOM ImageComments",
        "modality": "DICOM SOPClassUID Ophthalmic Photography 8 Bit Image Storage",
        "device": "DICOM Manufacturer, ManufacturerModelName", "mm_per_pixel": "DICOM PixelSpacing",
    }  # fmt: skip


def test_unknown_stays_unknown() -> None:
    found = row(image(StudyDate="", PixelSpacing=["0.01", "0.02"], PatientSex="X", PatientAge="999Y"))
    assert math.isnan(found.mm_per_pixel)
    assert math.isnan(found.age_years)
    assert (found.sex, found.captured, found.device) == ("unknown", "unknown", "unknown")
    assert len(found.notes) == 3
    assert math.isnan(row(image(ImagerPixelSpacing=["0.1", "0.1"])).mm_per_pixel)
    with pytest.warns(UserWarning, match="DA"):  # as in files before 1993
        old = image(StudyDate="2021.04.03", PatientBirthDate="1960.05.01")
    dotted = row(old)
    assert (dotted.captured, dotted.age_years) == ("2021-04-03", 60.0)


@pytest.mark.parametrize(
    ("uid", "fields", "modality"),
    [
        ("1.2.840.10008.5.1.4.1.1.77.1.5.4", {}, "oct"),
        ("1.2.840.10008.5.1.4.1.1.77.1.5.5", {}, "fundus"),
        ("1.2.840.10008.5.1.4.1.1.1.1", {"BodyPartExamined": "CHEST"}, "cxr"),
        ("1.2.840.10008.5.1.4.1.1.1.1", {"BodyPartExamined": "HAND"}, "unknown"),
        ("1.2.840.10008.5.1.4.1.1.1", {"AnatomicRegionSequence": code("T-D3000", "SRT")}, "cxr"),
        ("1.2.840.10008.5.1.4.1.1.7", {}, "unknown"),
        ("1.2.840.10008.5.1.4.1.1.77.1.4", {}, "unknown"),
        (PHOTO, {"AcquisitionDeviceTypeCodeSequence": code("1", "99X", "Slit Lamp Biomicroscope")}, "unknown"),
    ],
)
def test_modality_only_where_the_header_settles_it(uid: str, fields: dict[str, Any], modality: str) -> None:
    assert row(image(SOPClassUID=uid, **fields)).modality == modality


def test_who_the_patient_is_for_scrubbing() -> None:
    ds = image(
        PatientName="Müller^Anna=山田^花子", PatientBirthDate="19600501", AccessionNumber="A77",
        PatientTelephoneNumbers=["+49 30 1", "+49 30 2"], ReferringPhysicianName="Weiß^Otto", OperatorsName="----",
        OtherPatientIDsSequence=items({"PatientID": "MRN9"}), InstitutionName="Augenklinik",
    )  # fmt: skip
    ds.SpecificCharacterSet = "ISO_IR 192"
    assert identifiers_of(ds) == {
        "name": "Müller Anna", "name_2": "山田 花子", "birth_date": "1960-05-01", "accession": "A77",
        "phone": "+49 30 1", "phone_2": "+49 30 2", "institution": "Augenklinik", "other_id": "MRN9",
        "physician": "Weiß Otto",
    }  # fmt: skip


def test_no_patient_is_refused_unless_a_table_may_say() -> None:
    with pytest.raises(DataError, match="no patient"):
        row(image(PatientID=" "))
    assert row(image(PatientID=" "), patient_required=False).patient_id == ""


@pytest.mark.parametrize("uid", ["1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.481.2"])
def test_derived_values_are_no_picture(uid: str) -> None:
    with pytest.raises(DataError, match="no picture"):
        row(image(SOPClassUID=uid))


def test_header_is_read_without_pixels_and_with_lies(tmp_path: Path) -> None:
    save(image(PatientName="Doe^Jane"), tmp_path / "a.dcm", ImplicitVRLittleEndian)
    found = read_header(tmp_path / "a.dcm", HEADER_KEYWORDS)
    assert text(found, "PatientName") == "Doe^Jane"
    assert "PixelData" not in found
    whole = (tmp_path / "a.dcm").read_bytes()
    # The length of Patient ID says 4 GB.
    place = whole.index(b"\x10\x00\x20\x00")
    lie = whole[: place + 4] + b"\xf0\xff\xff\xff" + whole[place + 8 :]
    (tmp_path / "lie.dcm").write_bytes(lie)
    assert text(read_header(tmp_path / "lie.dcm", HEADER_KEYWORDS), "Rows") == ""
    (tmp_path / "cut.dcm").write_bytes(whole[:150])
    with pytest.raises(DataError):
        row_of(read_header(tmp_path / "cut.dcm", HEADER_KEYWORDS), file="cut.dcm", read=bytes)


def test_deflated_header_is_read_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(image(), tmp_path / "plain.dcm")
    plain = (tmp_path / "plain.dcm").read_bytes()
    start = 144 + int.from_bytes(plain[140:144], "little")
    packer = zlib.compressobj(wbits=-15)
    body = packer.compress(plain[start:] + b"\0" * 100_000) + packer.flush()
    uid, deflated = b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99"
    meta = plain[:start].replace(b"UI" + len(uid).to_bytes(2, "little") + uid, b"UI" + b"\x16\0" + deflated)
    length = (int.from_bytes(plain[140:144], "little") + 2).to_bytes(4, "little")
    (tmp_path / "d.dcm").write_bytes(meta[:140] + length + meta[144:] + body)
    assert text(read_header(tmp_path / "d.dcm", HEADER_KEYWORDS), "PatientID") == "p1"
    monkeypatch.setattr("tapetum.archive.dicom.values.MAX_INFLATED_BYTES", 1000)
    with pytest.raises(DataError, match="deflated data of more"):
        read_header(tmp_path / "d.dcm", HEADER_KEYWORDS)


def test_endless_sequences_do_not_end_the_run(tmp_path: Path) -> None:
    ds = image()
    save(ds, tmp_path / "a.dcm")
    whole = (tmp_path / "a.dcm").read_bytes()
    place = whole.index(b"\x08\x00\x16\x00")
    deep = (b"\x08\x00\x18\x22SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff") * 3000
    (tmp_path / "deep.dcm").write_bytes(whole[:place] + deep + whole[place:])
    said = list(dicom(tmp_path, TableSettings()))
    assert [item.file for item in said if isinstance(item, Row)] == ["a.dcm"]
    assert [item.file for item in said if isinstance(item, Refusal)] == ["deep.dcm"]


def report(findings: str, **fields: Any) -> Dataset:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID, ds.StudyInstanceUID, ds.PatientID = BASIC_SR, "1.2.9", "1.2.3", "p1"
    ds.ContentDate, ds.ContentTime, ds.Modality = "20210403", "101500", "SR"
    ds.ConceptNameCodeSequence = code("18748-4", "LN", "Diagnostic Imaging Report")
    ds.ContentSequence = items(
        {"RelationshipType": "HAS OBS CONTEXT", "ValueType": "PNAME", "PersonName": "Weiß^Otto"},
        {
            "RelationshipType": "CONTAINS", "ValueType": "CONTAINER",
            "ConceptNameCodeSequence": code("121070", "DCM", "Findings"),
            "ContentSequence": items(
                {"RelationshipType": "CONTAINS", "ValueType": "TEXT", "TextValue": findings,
                 "ConceptNameCodeSequence": code("121071", "DCM", "Finding")},
                {"RelationshipType": "CONTAINS", "ValueType": "CODE", "ConceptCodeSequence": code("1", "99X", "Drusen"),
                 "ConceptNameCodeSequence": code("121071", "DCM", "Finding")},
                {"RelationshipType": "CONTAINS", "ValueType": "NUM",
                 "ConceptNameCodeSequence": code("1", "99X", "Cup-disc ratio"),
                 "MeasuredValueSequence": items(
                     {"NumericValue": "0.6", "MeasurementUnitsCodeSequence": code("1", "UCUM", "ratio")})},
            ),
        },
    )  # fmt: skip
    for name, value in fields.items():
        setattr(ds, name, value)
    return ds


def test_structured_report_as_text() -> None:
    assert structured_text(report("haemorrhage temporally")).splitlines() == [
        "Diagnostic Imaging Report", "", "Findings", "Finding: haemorrhage temporally", "Finding: Drusen",
        "Cup-disc ratio: 0.6",
    ]  # fmt: skip


def pdf(line: str) -> bytes:
    """The smallest PDF with one line of text."""
    stream = f"BT /F1 12 Tf 20 100 Td ({line}) Tj ET".encode()
    parts = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 200] /Contents 4 0 R "
        b"/Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
    ]
    data, places = b"%PDF-1.4\n", []
    for number, part in enumerate(parts, start=1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, part)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"xref\n0 5\n0000000000 65535 f \n%strailer << /Size 5 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % (
        table, len(data),
    )  # fmt: skip
    return data + end


def test_reports_join_their_study_in_the_order_of_time(tmp_path: Path) -> None:
    save(image(ImageComments="from the camera"), tmp_path / "a.dcm")
    save(image(SOPInstanceUID="1.2.3.5", StudyInstanceUID="1.2.77", PatientID="p2"), tmp_path / "other.dcm")
    document = Dataset()
    document.SOPClassUID, document.SOPInstanceUID, document.PatientID = PDF, "1.2.10", "p1"
    document.StudyInstanceUID, document.ContentDate, document.ContentTime = "1.2.3", "20210403", "090000"
    document.EncapsulatedDocument = pdf("Macula flat.")
    save(document, tmp_path / "z.dcm")
    save(report("drusen in the macula"), tmp_path / "b.dcm")
    save(report("draft", SOPInstanceUID="1.2.8"), tmp_path / "draft.dcm")
    former = items({"ReferencedSOPInstanceUID": "1.2.8"})
    final = report("none", SOPInstanceUID="1.2.11", ContentTime="120000")
    final.PredecessorDocumentsSequence = items({"ReferencedSeriesSequence": items({"ReferencedSOPSequence": former})})
    save(final, tmp_path / "final.dcm")
    said = list(dicom(tmp_path, TableSettings()))
    rows = {item.file: item for item in said if isinstance(item, Row)}
    assert rows["a.dcm"].report.startswith("Macula flat.\n\nDiagnostic Imaging Report\n\nFindings\nFinding: drusen in")
    assert rows["a.dcm"].report.count("Findings") == 2
    assert rows["a.dcm"].provenance["report"] == "DICOM Encapsulated PDF, DICOM SR Basic Text"
    assert rows["other.dcm"].report == ""
    notes = [item.text for item in said if isinstance(item, Note)]
    assert "draft.dcm is passed over: a later report replaces it" in notes
    assert "3 report objects (structured reports, PDFs) were joined to 1 images" in notes


def test_reports_that_fit_nothing_are_refused(tmp_path: Path) -> None:
    save(image(), tmp_path / "a.dcm")
    save(image(PatientID="p2", StudyInstanceUID="1.2.5", SOPInstanceUID="1.5"), tmp_path / "b1.dcm")
    save(image(PatientID="p2", StudyInstanceUID="1.2.6", SOPInstanceUID="1.6"), tmp_path / "b2.dcm")
    save(report("x", PatientID="p9"), tmp_path / "wrong.dcm")
    save(report("x", StudyInstanceUID="1.2.4", SOPInstanceUID="1.7"), tmp_path / "same_day.dcm")
    save(report("x", StudyInstanceUID="1.2.4", ContentDate="20200101", SOPInstanceUID="1.8"), tmp_path / "old.dcm")
    save(report("x", StudyInstanceUID="1.2.4", PatientID="p2", SOPInstanceUID="1.9"), tmp_path / "two.dcm")
    empty = report("x", SOPInstanceUID="1.10")
    empty.ContentSequence = []
    save(empty, tmp_path / "empty.dcm")
    said = list(dicom(tmp_path, TableSettings()))
    reasons = {item.file: item.reason for item in said if isinstance(item, Refusal)}
    assert set(reasons) == {"wrong.dcm", "old.dcm", "two.dcm", "empty.dcm"}
    assert "two patients" in reasons["wrong.dcm"]
    assert "without an image" in reasons["old.dcm"]
    assert "2 studies" in reasons["two.dcm"]
    assert "no text" in reasons["empty.dcm"]
    assert next(item for item in said if isinstance(item, Row) and item.file == "a.dcm").report


def test_every_file_is_accounted_for(tmp_path: Path) -> None:
    save(image(), tmp_path / "a.dcm")
    save(image(SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4"), tmp_path / "seg")
    save(image(SOPInstanceUID="1.9"), tmp_path / "DICOMDIR")
    (tmp_path / "b.dcm").write_bytes(b"x")
    (tmp_path / "c.txt").write_text("x")
    (tmp_path / "d.TXT").write_text("x")
    said = list(dicom(tmp_path, TableSettings()))
    assert [item.file for item in said if isinstance(item, Row)] == ["a.dcm"]
    assert {item.file for item in said if isinstance(item, Refusal)} == {"seg", "b.dcm"}
    notes = [item.text for item in said if isinstance(item, Note)]
    assert notes[0].startswith("DICOMDIR is passed over")
    assert notes[1] == "2 files are no DICOM files and not read: 2 .txt; first c.txt"


def test_real_test_files_of_pydicom_are_all_accounted_for() -> None:
    import pydicom

    root = Path(pydicom.__file__).parent / "data" / "test_files"
    said = list(dicom(root, TableSettings()))
    named = [item.file for item in said if isinstance(item, Row | Refusal)]
    assert len(named) == len(set(named))
    notes = [item.text for item in said if isinstance(item, Note)]
    passed = sum(1 for note in notes if "is passed over" in note)
    others = sum(int(note.split()[0]) for note in notes if "no DICOM files" in note)
    files = [path for path in root.rglob("*") if path.is_file()]
    assert len(named) + passed + others == len(files)
    rows = {item.file: item for item in said if isinstance(item, Row)}
    assert rows["CT_small.dcm"].device == "GE MEDICAL SYSTEMS RHAPSODE"
    assert rows["SC_rgb_rle_2frame.dcm"].frames == 2
    assert np.isclose(rows["CT_small.dcm"].mm_per_pixel, 0.661468)
    assert rows["CT_small.dcm"].laterality == Laterality.UNKNOWN
    assert io.BytesIO(rows["CT_small.dcm"].read()).read(132)[128:] == b"DICM"


def test_damaged_headers_are_rows_or_refusals_and_nothing_is_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    rng = np.random.default_rng(5)
    save(image(PatientName="Canary^Carla", ImageLaterality="R", NumberOfFrames=1), tmp_path / "good.dcm")
    whole = (tmp_path / "good.dcm").read_bytes()
    for number in range(300):
        data = bytearray(whole)
        for place in rng.integers(132, len(data), size=int(rng.integers(1, 12))):
            data[place] = rng.integers(0, 256)
        (tmp_path / f"{number:03}.dcm").write_bytes(data[: int(rng.integers(200, len(data) + 1))])
    said = list(dicom(tmp_path, TableSettings()))
    assert len({item.file for item in said if isinstance(item, Row | Refusal)}) == 301
    assert not recwarn.list
    assert "Canary" not in "".join(str(item) for item in said if not isinstance(item, Row))
    assert capfd.readouterr() == ("", "")
