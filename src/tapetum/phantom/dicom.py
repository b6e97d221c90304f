"""One photograph as a DICOM object: Ophthalmic Photography 8 Bit, JPEG baseline inside."""

from __future__ import annotations

import io
from dataclasses import dataclass

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import UID, JPEGBaseline8Bit, generate_uid

OPHTHALMIC_PHOTOGRAPHY_8_BIT = "1.2.840.10008.5.1.4.1.1.77.1.5.1"


@dataclass(frozen=True)
class Header:
    """What the object says beside the pixels.

    Attributes:
        key: names the clinic, patient and visit; equal keys give equal UIDs.
        eye: `OD` or `OS`. day: ISO date. number: of the image within the series, from 1.
    """

    key: str
    patient: str
    sex: str
    age_years: int
    eye: str
    day: str
    camera: str
    site: str
    number: int


def wrap(jpeg: bytes, size: int, header: Header) -> bytes:
    r"""Put a JPEG file into a DICOM file.

    Args:
        jpeg: baseline JPEG, kept bit by bit.
        size: its side in pixels.
        header: patient, eye and day, and the key from which the UIDs follow.

    Returns:
        The bytes of a Part 10 file; no pixel spacing, since a fundus camera knows none.

    Example:
        >>> header = Header("demo", "P0001", "F", 61, "OD", "2023-05-02", "cam_a", "site_1", 1)
        >>> data = wrap(b"\xff\xd8\xff\xd9", 64, header)
        >>> str(pydicom.dcmread(io.BytesIO(data)).ImageLaterality)
        'R'
    """
    study = generate_uid(entropy_srcs=[header.key, header.patient, header.day, "study"])
    data = Dataset()
    data.SpecificCharacterSet = "ISO_IR 192"
    data.ImageType = ["ORIGINAL", "PRIMARY", "", "COLOR"]
    data.SOPClassUID = OPHTHALMIC_PHOTOGRAPHY_8_BIT
    data.SOPInstanceUID = generate_uid(entropy_srcs=[study, str(header.number), header.eye, "instance"])
    data.StudyInstanceUID = study
    data.SeriesInstanceUID = generate_uid(entropy_srcs=[study, "series"])
    data.Modality = "OP"
    day = header.day.replace("-", "")
    data.StudyDate = data.SeriesDate = data.ContentDate = day
    data.AcquisitionDateTime = f"{day}100000"
    data.StudyTime = data.ContentTime = "100000"
    data.StudyID, data.SeriesNumber, data.InstanceNumber = "1", 1, header.number
    data.AccessionNumber, data.ReferringPhysicianName = "", ""
    data.Manufacturer, data.ManufacturerModelName = "Tapetum phantom", header.camera
    data.InstitutionName = header.site
    data.PatientName = data.PatientID = header.patient
    data.PatientSex, data.PatientBirthDate, data.PatientAge = header.sex, "", f"{header.age_years:03d}Y"
    data.ImageLaterality = "R" if header.eye == "OD" else "L"
    data.PatientOrientation = ""
    data.BurnedInAnnotation = "NO"
    data.AcquisitionContextSequence = Sequence()
    data.AnatomicRegionSequence = Sequence([_code("81745001", "SCT", "Eye")])
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "YBR_FULL_422", 0
    data.Rows = data.Columns = size
    data.NumberOfFrames = 1
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
    data.LossyImageCompression, data.LossyImageCompressionMethod = "01", "ISO_10918_1"
    data.LossyImageCompressionRatio = round(3 * size * size / len(jpeg), 2)
    data.PresentationLUTShape = "IDENTITY"
    data.PixelData = encapsulate([jpeg + b"\0" * (len(jpeg) % 2)])
    data["PixelData"].VR = "OB"
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    data.file_meta.MediaStorageSOPClassUID = UID(OPHTHALMIC_PHOTOGRAPHY_8_BIT)
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, data, enforce_file_format=True)
    return stream.getvalue()


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item
