"""From a DICOM header to a `Row`: every field with its place in the header, nothing guessed.

Used by every reader that meets DICOM: folders, tables that name DICOM files, and archives reached over a network.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from tapetum.archive import fields
from tapetum.archive.dicom.classes import class_name, is_derived, modality_of
from tapetum.archive.dicom.eye import laterality_of, region_codes
from tapetum.archive.dicom.values import items, number, text, texts
from tapetum.archive.rows import Row
from tapetum.core.errors import DataError
from tapetum.core.types import UNKNOWN

_NAMES = ("PatientName", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName", "ResponsiblePerson")
_PHYSICIANS = (
    "ReferringPhysicianName", "ConsultingPhysicianName", "PhysiciansOfRecord", "PerformingPhysicianName",
    "NameOfPhysiciansReadingStudy", "RequestingPhysician", "OperatorsName",
)  # fmt: skip
_PLAIN: Mapping[str, tuple[str, ...]] = {
    "accession": ("AccessionNumber",),
    "phone": ("PatientTelephoneNumbers", "ReferringPhysicianTelephoneNumbers"),
    "address": ("PatientAddress", "InstitutionAddress", "ReferringPhysicianAddress"),
    "institution": ("InstitutionName", "InstitutionalDepartmentName"),
    "other_id": ("OtherPatientIDs", "AdmissionID", "MedicalRecordLocator"),
}
_TAKEN = (
    "SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "Modality", "Manufacturer",
    "ManufacturerModelName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "StudyDate", "SeriesDate",
    "AcquisitionDate", "AcquisitionDateTime", "ContentDate", "ContentTime", "StudyTime", "BodyPartExamined",
    "ViewPosition", "ImageLaterality", "Laterality", "AnatomicRegionSequence", "PrimaryAnatomicStructureSequence",
    "AcquisitionDeviceTypeCodeSequence", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    "PixelSpacing", "ImagerPixelSpacing", "Rows", "Columns", "NumberOfFrames", "ImageComments",
    "OtherPatientIDsSequence", "PredecessorDocumentsSequence", "BurnedInAnnotation",
)  # fmt: skip
# Elements that a row is made from; a caller that reads no others reads thousands of headers quickly.
HEADER_KEYWORDS: tuple[str, ...] = (*_TAKEN, *_NAMES, *_PHYSICIANS, *(tag for tags in _PLAIN.values() for tag in tags))


def row_of(ds: Any, *, file: str, read: Callable[[], bytes], patient_required: bool = True) -> Row:
    """The row that the header of one DICOM image gives.

    Args:
        ds: the data set, whole or with `HEADER_KEYWORDS` only.
        file: the image's place inside the export.
        read: returns the file's bytes.
        patient_required: False where a table may name the patient; `patient_id` is then `""` if the header has none.

    Raises:
        DataError: an object without pixels, derived values in place of an image, no patient, or sides that disagree.

    Example:
        >>> from pydicom.dataset import Dataset
        >>> ds = Dataset()
        >>> ds.PatientID, ds.Rows, ds.Columns, ds.ImageLaterality = "p1", 8, 8, "R"
        >>> row_of(ds, file="a.dcm", read=bytes).provenance["laterality"]
        'DICOM ImageLaterality'
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd values are met when they are looked at, and judged below
        return _row_of(ds, file, read, patient_required)


def _row_of(ds: Any, file: str, read: Callable[[], bytes], patient_required: bool) -> Row:
    uid = text(ds, "SOPClassUID")
    if is_derived(uid):
        raise DataError(f"no picture of a patient ({class_name(uid)})", "an image")
    if number(ds, "Rows") is None:
        raise DataError(f"an object without pixels ({class_name(uid)})", "an image")
    where: dict[str, str] = {}
    notes: list[str] = []
    patient = text(ds, "PatientID")
    if patient_required or patient:
        patient = fields.patient_id(patient)
        where["patient_id"] = "DICOM PatientID"
    visit = text(ds, "StudyInstanceUID")
    if visit:
        where["visit_id"] = "DICOM StudyInstanceUID"
    eye, eye_place = laterality_of(ds)
    where |= {"laterality": eye_place} if eye_place else {}
    captured = _captured(ds, where, notes)
    age = _age(ds, captured, where, notes)
    sex, note = fields.sex(text(ds, "PatientSex"))
    notes.append(note)
    where |= {"sex": "DICOM PatientSex"} if sex != UNKNOWN else {}
    modality = modality_of(
        uid,
        body_part=text(ds, "BodyPartExamined"),
        view=text(ds, "ViewPosition"),
        regions=region_codes(ds),
        device=" ".join(text(item, "CodeMeaning") for item in items(ds, "AcquisitionDeviceTypeCodeSequence")),
    )
    where |= {"modality": f"DICOM SOPClassUID {class_name(uid)}"} if modality != UNKNOWN else {}
    device = _device(ds)
    where |= {"device": "DICOM Manufacturer, ManufacturerModelName"} if device != UNKNOWN else {}
    comment = text(ds, "ImageComments")
    comment = comment if any(c.isalnum() for c in comment) else ""
    where |= {"report": "DICOM ImageComments"} if comment else {}
    spacing = _spacing(ds, where, notes)
    return Row(
        file=file, row=0, patient_id=patient, read=read, visit_id=visit or UNKNOWN, laterality=eye, modality=modality,
        mm_per_pixel=spacing, age_years=age, sex=sex, captured=captured, report=comment, frames=_frames(ds),
        device=device, provenance=where, identifiers=identifiers_of(ds), notes=tuple(n for n in notes if n),
    )  # fmt: skip


def with_patient(row: Row) -> Row:
    """The row itself, checked to name a patient.

    Raises:
        DataError: it names none.
    """
    return dataclasses.replace(row, patient_id=fields.patient_id(row.patient_id))


def date_of(ds: Any) -> str:
    """ISO date of the study, series, acquisition or content, the first that is understood; `"unknown"` if none."""
    return _captured(ds, {}, [])


def identifiers_of(ds: Any) -> dict[str, str]:
    """Who the patient is and who treated them, as the header says: for scrubbing, never to be stored."""
    found: dict[str, str] = {}
    for name in _NAMES:
        for value in _persons(ds, name):
            _add(found, "name", value)
    born = text(ds, "PatientBirthDate")
    if born:
        iso, _ = fields.iso_date(born)
        _add(found, "birth_date", born if iso == UNKNOWN else iso)
    for kind, names in _PLAIN.items():
        for name in names:
            for value in texts(ds, name):
                _add(found, kind, value)
    for item in items(ds, "OtherPatientIDsSequence"):
        _add(found, "other_id", text(item, "PatientID"))
    for name in _PHYSICIANS:
        for value in _persons(ds, name):
            _add(found, "physician", value)
    return found


def _persons(ds: Any, name: str) -> Iterator[str]:
    """Each person of the element, in each of the alphabets given, components apart by a blank."""
    for person in texts(ds, name):
        for form in person.split("="):
            plain = " ".join(form.replace("^", " ").split())
            if plain:
                yield plain


def _add(found: dict[str, str], kind: str, value: str) -> None:
    plain, key, count = value.strip(), kind, 1
    while key in found:
        if found[key] == plain:
            return
        count += 1
        key = f"{kind}_{count}"
    if any(c.isalnum() for c in plain):  # not the dashes that stand for nothing
        found[key] = plain


def _captured(ds: Any, where: dict[str, str], notes: list[str]) -> str:
    for name in ("StudyDate", "AcquisitionDate", "AcquisitionDateTime", "SeriesDate", "ContentDate"):
        said = text(ds, name)
        if not said:
            continue
        day, note = fields.iso_date(said[:8] if name == "AcquisitionDateTime" else said)
        if day != UNKNOWN:
            where["captured"] = f"DICOM {name}"
            return day
        notes.append(note)
    return UNKNOWN


def _age(ds: Any, captured: str, where: dict[str, str], notes: list[str]) -> float:
    age, note = fields.age_years(text(ds, "PatientAge"))
    notes.append(note)
    if not math.isnan(age):
        where["age_years"] = "DICOM PatientAge"
        return age
    born, _ = fields.iso_date(text(ds, "PatientBirthDate"))
    if UNKNOWN in (born, captured):
        return math.nan
    years = int(captured[:4]) - int(born[:4]) - (captured[5:] < born[5:])
    if not 0 <= years <= fields.OLDEST_YEARS:
        notes.append(f"born {years} years before the image: the age is taken as unknown")
        return math.nan
    where["age_years"] = f"DICOM PatientBirthDate and {where['captured'].removeprefix('DICOM ')}"
    return float(years)


def _device(ds: Any) -> str:
    maker, model = text(ds, "Manufacturer"), text(ds, "ManufacturerModelName")
    if maker and model.casefold().startswith(maker.casefold()):
        return model
    return " ".join(part for part in (maker, model) if part) or UNKNOWN


def _frames(ds: Any) -> int:
    said = text(ds, "NumberOfFrames")
    count = number(ds, "NumberOfFrames")
    if not said or said == "0":  # some writers put 0 or nothing where there is one
        return 1
    if count is None or count < 1 or count != int(count):
        raise DataError(f"number of frames {said!r}", "a whole number from 1")
    return int(count)


def _spacing(ds: Any, where: dict[str, str], notes: list[str]) -> float:
    said: dict[str, str] = {}  # text of the spacing → its place
    if text(ds, "PixelSpacing"):
        said.setdefault(text(ds, "PixelSpacing"), "PixelSpacing")
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in items(ds, groups):
            for measures in items(group, "PixelMeasuresSequence"):
                spacing = text(measures, "PixelSpacing")
                if spacing:
                    said.setdefault(spacing, "PixelMeasuresSequence")
    if not said:
        if text(ds, "ImagerPixelSpacing"):
            notes.append("the spacing is given at the detector only: it is taken as unknown in the patient")
        return math.nan
    if len(said) > 1:
        notes.append(f"the header gives {len(said)} spacings: taken as unknown")
        return math.nan
    spacing, place = next(iter(said.items()))
    try:
        values = [float(part) for part in spacing.split("\\")]
    except ValueError:
        values = []
    if len(values) != 2 or not all(0 < value < 1e4 for value in values):
        notes.append(f"the spacing {spacing!r} is not understood, taken as unknown")
        return math.nan
    if values[0] != values[1]:
        notes.append(f"pixels of {values[0]:g} × {values[1]:g} mm are not square: no single spacing is kept")
        return math.nan
    where["mm_per_pixel"] = f"DICOM {place}"
    return values[0]
