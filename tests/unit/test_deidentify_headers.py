"""DICOM headers through the allow-list."""

from __future__ import annotations

import datetime
import io
import shutil
import subprocess

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.sequence import Sequence

from tapetum.archive.deidentify import Key, Pseudonyms, clean
from tapetum.archive.deidentify.headers import move
from tapetum.archive.deidentify.known import Known
from tapetum.archive.deidentify.profile import load_profile
from tapetum.archive.pixels import decode
from tapetum.core.errors import DataError
from tapetum.phantom.dicom import Header, wrap
from tapetum.phantom.identifiers import KINDS, draw_identity, sign_jpeg, sign_object

NAMES = Pseudonyms(Key(bytes(range(32))))
WHO = draw_identity(np.random.default_rng(3), 61, datetime.date(2023, 5, 2))
SECRETS = (*(getattr(WHO, kind) for kind in KINDS), WHO.family, WHO.given)


def photograph(side=256):
    import cv2

    image = np.zeros((side, side, 3), np.uint8)
    cv2.circle(image, (side // 2, side // 2), int(0.44 * side), (40, 90, 170), -1)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()


def plain(side=256):
    return wrap(photograph(side), side, Header("k", "P0001", "F", 61, "OD", "2023-05-02", "cam_a", "site_1", 1))


def canary():
    jpeg = sign_jpeg(photograph(), WHO)
    header = Header("k", "P0001", "F", 61, "OD", "2023-05-02", "cam_a", "site_1", 1)
    return sign_object(wrap(jpeg, 256, header), WHO)


def cleaned(data, names=NAMES, patient=WHO.patient_id, **more):
    return clean(data, pseudonyms=names, patient_id=patient, identifiers={}, **more).data


def changed(data, edit):
    ds = pydicom.dcmread(io.BytesIO(data))
    edit(ds)
    stream = io.BytesIO()
    ds.save_as(stream)
    return stream.getvalue()


def read(data):
    return pydicom.dcmread(io.BytesIO(data))


def test_no_canary_is_left_and_the_picture_is_the_same():
    before, after = canary(), cleaned(canary())
    for secret in SECRETS:
        for encoding in ("utf-8", "utf-16-le", "utf-16-be"):
            assert secret.lower().encode(encoding) not in after.lower()
    assert WHO.family.lower().encode() in before.lower()
    assert np.array_equal(decode(before, min_side=0), decode(after, min_side=0))
    assert after[:128] == bytes(128)


def test_nothing_private_no_overlay_no_nested_rest():
    ds = read(cleaned(canary()))
    assert not any(e.tag.is_private or 0x5000 <= e.tag.group <= 0x60FF for e in ds.iterall())
    assert "RequestAttributesSequence" not in ds
    assert "DataSetTrailingPadding" not in ds
    assert "SourceApplicationEntityTitle" not in ds.file_meta
    assert all(int(e.tag) in load_profile().action or e.tag.group in (0x0012, 0x7FE0) or e.keyword in
               ("SpecificCharacterSet", "LongitudinalTemporalInformationModified") for e in ds)  # fmt: skip


def test_what_is_needed_stays():
    before, after = read(plain()), read(cleaned(plain(), patient="P0001"))
    for name in ("Rows", "Columns", "ImageLaterality", "Modality", "PhotometricInterpretation", "Manufacturer",
                 "ManufacturerModelName", "AnatomicRegionSequence", "ImageType", "LossyImageCompression"):  # fmt: skip
        assert after[name].value == before[name].value, name
    assert after.file_meta.TransferSyntaxUID == before.file_meta.TransferSyntaxUID
    assert after.file_meta.MediaStorageSOPInstanceUID == after.SOPInstanceUID != before.SOPInstanceUID
    assert after.PatientIdentityRemoved == "YES"
    codes = [item.CodeValue for item in after.DeidentificationMethodCodeSequence]
    assert codes == ["113100", "113101", "113105", "113107", "113109"]


def test_one_pseudonym_one_shift_one_uid():
    first = read(cleaned(plain(), patient="P0001"))
    assert first.PatientID == str(first.PatientName) == NAMES.patient("P0001")
    assert first.StudyDate == NAMES.date("2023-05-02", "P0001").replace("-", "")
    assert first.AcquisitionDateTime == first.StudyDate + "100000"
    assert first.StudyInstanceUID == NAMES.uid(read(plain()).StudyInstanceUID)

    def refer(ds):
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = ds.SOPClassUID, "1.2.3.4.5.6"
        ds.SourceImageSequence = Sequence([item])

    item = read(cleaned(changed(plain(), refer), patient="P0001")).SourceImageSequence[0]
    assert item.ReferencedSOPInstanceUID == NAMES.uid("1.2.3.4.5.6")
    assert item.ReferencedSOPClassUID == first.SOPClassUID


def test_the_same_input_gives_the_same_bytes_and_another_key_others():
    assert cleaned(canary()) == cleaned(canary())
    assert cleaned(canary()) != cleaned(canary(), Pseudonyms(Key(bytes(32))))


def test_basic_profile_has_no_date():
    ds = read(cleaned(plain(), Pseudonyms(Key(bytes(32)), "basic"), patient="P0001"))
    assert ds.StudyDate == ""
    assert ds.ContentDate == "19000101"
    assert ds.LongitudinalTemporalInformationModified == "REMOVED"
    assert "113107" not in [item.CodeValue for item in ds.DeidentificationMethodCodeSequence]


@pytest.mark.parametrize(
    ("before", "days", "after"),
    [
        ("20230502", 1, "20230503"), ("20240228", 1, "20240229"), ("20230101120000", -1, "20221231120000"),
        ("20230502101500.25+0100", -2, "20230430101500.25+0100"), ("202305", 1, ""), ("Smith", 1, ""),
        ("20231399", 1, ""), ("00010101", -1, ""), ("2023.05.02", 1, "20230503"),
    ],
)  # fmt: skip
def test_moved_dates(before, days, after):
    assert move(before, days) == after


def test_a_defined_term_that_is_a_name_is_removed():
    def edit(ds):
        ds.ImageType = ["ORIGINAL", "PRIMARY", WHO.family.upper()]
        ds.BodyPartExamined = WHO.family.upper()
        ds.ManufacturerModelName = f"Camera of {WHO.family}"
        ds.SeriesDescription = f"Fundus {WHO.family} OD 45 macula"
        ds.PatientName = WHO.family

    ds = read(cleaned(changed(plain(), edit)))
    assert list(ds.ImageType) == ["ORIGINAL", "PRIMARY", ""]
    assert "BodyPartExamined" not in ds
    assert ds.ManufacturerModelName == ""
    assert ds.SeriesDescription == "Fundus OD macula"


def test_a_person_called_like_a_term_is_still_taken():
    def edit(ds):
        ds.PatientName = "Eye^Primary"

    ds = read(cleaned(changed(plain(), edit)))
    assert ds.ImageType[1] == "PRIMARY"
    assert str(ds.PatientName) == NAMES.patient(WHO.patient_id)


def test_what_cannot_be_made_safe_is_refused_and_names_nobody():
    def no_pixels(ds):
        del ds.PixelData

    def unknown_class(ds):
        ds.SOPClassUID = "1.2.3.4"

    def burnt(ds):
        ds.BurnedInAnnotation, ds.Modality = "YES", "US"

    for edit, why in ((no_pixels, "without pixels"), (unknown_class, "no class"), (burnt, "burnt")):
        with pytest.raises(DataError, match=why) as caught:
            cleaned(changed(canary(), edit))
        assert not any(secret.lower() in str(caught.value).lower() for secret in SECRETS)
    with pytest.raises(DataError):
        cleaned(canary()[:400])


def test_overlay_bits_inside_pixels_go():
    def native(ds):
        samples = np.arange(256 * 256, dtype="<u2").reshape(256, 256) % 4096
        samples[:8] |= 0x8000
        ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.Modality = 1, "MONOCHROME2", "OPT"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
        del ds.PlanarConfiguration
        ds.PixelData = samples.tobytes() + WHO.name.encode().ljust(64)
        ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OW", False

    raw = read(cleaned(changed(plain(), native))).PixelData
    assert len(raw) == 256 * 256 * 2
    assert np.frombuffer(raw, "<u2").max() < 4096
    assert np.array_equal(np.frombuffer(raw, "<u2")[3000:4000], np.arange(3000, 4000) % 4096)


def test_jpeg_inside_loses_its_comments():
    frame = next(generate_frames(read(cleaned(canary())).PixelData, number_of_frames=1))
    assert b"\xff\xfe" not in frame[:600]
    assert b"Exif" not in frame


def test_known_spellings():
    known = Known(["Müller^Änne", "1950-01-02", "+49 (555) 123-4567", "Li"], {"left"})
    for text in ("mueller no, MULLER yes", "seen Änne", "02.01.1950", "19500102", "495551234567", "mr li, wei"):
        assert known.in_text(text), text
    for text in ("linear", "1950", "left", "müllerchen"):
        assert not known.in_text(text), text
    assert known.in_bytes("xMÜLLERx".encode("utf-16-le"))
    assert known.in_bytes(b"xMullerx")
    assert not known.in_bytes(b"linear")
    assert not Known(["12345"]).in_bytes(b"2.25.9123459")
    assert Known(["12345"]).in_bytes(b"id 12345;")


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (Debian's dicom3tools) is not installed")
def test_the_validator_finds_nothing_new(tmp_path):
    def errors(data, name):
        (tmp_path / name).write_bytes(data)
        said = subprocess.run(["dciodvfy", "-new", tmp_path / name], capture_output=True, text=True, check=False).stderr
        assert "OphthalmicPhotography8BitImage" in said
        return {line for line in said.splitlines() if line.startswith("Error")}

    assert errors(cleaned(plain(), patient="P0001"), "b") <= errors(plain(), "a")
    basic = cleaned(plain(), Pseudonyms(Key(bytes(32)), "basic"), patient="P0001")
    assert errors(basic, "c") <= errors(plain(), "a")
