"""Canaries: invented people's names, numbers, addresses and days, put into every place where exports carry them.

A de-identification is tested by searching for them afterwards, byte by byte. Nobody of that name exists: names are
drawn syllable by syllable.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import cv2
import numpy as np
import pydicom
from jaxtyping import UInt8
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

KINDS = (
    "name", "patient_id", "birth_date", "phone", "address", "email", "accession", "other_id", "physician",
    "institution",
)  # fmt: skip
# Columns that a table gains beside those of every phantom clinic.
COLUMNS = ("name", "birth_date", "phone", "address", "accession", "physician")
# One picture in so many carries the name inside the field of view as well.
INSIDE_EVERY = 8
_ONSETS = ("br", "d", "f", "gl", "k", "l", "m", "n", "p", "qu", "r", "sk", "t", "v", "w", "z")
_VOWELS = ("a", "e", "i", "o", "u")


@dataclass(frozen=True)
class Identity:
    """Who an invented patient is."""

    family: str
    given: str
    patient_id: str
    birth_date: str
    phone: str
    address: str
    email: str
    accession: str
    other_id: str
    physician: str
    institution: str

    @property
    def name(self) -> str:
        """Family name, given name."""
        return f"{self.family}, {self.given}"

    @property
    def stem(self) -> str:
        """The name as the beginning of a file name."""
        return f"{self.family}_{self.given}"

    def cells(self) -> dict[str, str]:
        """What a table says of the patient."""
        return {column: str(getattr(self, column)) for column in COLUMNS}


def draw_identity(rng: np.random.Generator, age_years: int, first_visit: date) -> Identity:
    """Invent a person.

    Args:
        rng: of this person.
        age_years: at the first visit.
        first_visit: its day.
    """
    family, given, doctor, street, town = (_word(rng, 3), _word(rng, 2), _word(rng, 3), _word(rng, 3), _word(rng, 3))
    born = first_visit - timedelta(days=int(365.25 * age_years) + int(rng.integers(1, 364)))
    number = [int(n) for n in rng.integers(1_000_000, 9_999_999, 4)]
    return Identity(
        family=family,
        given=given,
        patient_id=f"MRN{number[0]}",
        birth_date=born.isoformat(),
        phone=f"555-{number[1] % 1000:03d}-{number[1] // 1000:04d}",
        address=f"{int(rng.integers(11, 99))} {street} Street, {town}",
        email=f"{given.lower()}.{family.lower()}@{town.lower()}.example",
        accession=f"ACC{number[2]}",
        other_id=f"OLD{number[3]}",
        physician=f"Dr {doctor}",
        institution=f"{town} Eye Hospital",
    )


def _word(rng: np.random.Generator, syllables: int) -> str:
    parts = [_ONSETS[int(rng.integers(len(_ONSETS)))] + _VOWELS[int(rng.integers(5))] for _ in range(syllables)]
    return ("".join(parts) + "x").capitalize()


def truth_rows(identity: Identity, patient: str) -> Iterator[dict[str, str]]:
    """Rows of `truth/identifiers.csv`: every value that must not be found afterwards."""
    for kind in KINDS:
        yield {"patient": patient, "kind": kind, "value": str(getattr(identity, kind)), "file": ""}
    for part in (identity.family, identity.given):
        yield {"patient": patient, "kind": "name_part", "value": part, "file": ""}


def sign_report(text: str, identity: Identity, day: str, rng: np.random.Generator) -> str:
    """A report with a head and a foot as letters have them."""
    heads = (
        f"Patient: {identity.name}, born {identity.birth_date}, MRN {identity.patient_id}. Seen on {day}.",
        f"{identity.given} {identity.family} (DOB {identity.birth_date}), {identity.address}, tel. {identity.phone}.",
        f"RE: {identity.given} {identity.family}, accession {identity.accession}, visit of {day}.",
    )
    feet = (
        f"Results sent to {identity.email}. {identity.physician}, {identity.institution}.",
        f"Please call Mr/Ms {identity.family} on {identity.phone}. {identity.physician}",
    )
    return f"{heads[int(rng.integers(3))]}\n{text}\n{feet[int(rng.integers(2))]}"


def write_on(image: UInt8[np.ndarray, "h w 3"], identity: Identity, *, inside: bool) -> UInt8[np.ndarray, "h w 3"]:
    """Burn the name and the number into the corner beside the field, and across the field if `inside`."""
    made = np.ascontiguousarray(image).copy()
    size = made.shape[0]
    scale, thick = size / 1000, max(1, size // 500)
    white = (235, 235, 235)
    cv2.putText(made, identity.family[:8], (2, round(0.035 * size)), cv2.FONT_HERSHEY_SIMPLEX, scale, white, thick)
    cv2.putText(made, identity.patient_id, (2, size - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.8 * scale, white, thick)
    if inside:
        place = (round(0.28 * size), round(0.72 * size))
        cv2.putText(made, identity.family.upper(), place, cv2.FONT_HERSHEY_SIMPLEX, 1.6 * scale, white, 2 * thick)
    return made


def sign_jpeg(jpeg: bytes, identity: Identity) -> bytes:
    """Metadata of every kind in a JPEG file: EXIF, XMP, a comment, a profile's text, a thumbnail, bytes behind it."""
    said = f"{identity.name}; {identity.patient_id}; {identity.birth_date}; {identity.other_id}"
    latin = said.encode("latin-1")
    entry = struct.pack(">HHII", 0x010E, 2, len(latin) + 1, 26)
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01" + entry + b"\0\0\0\0" + latin + b"\0"
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta><dc:creator>" + said.encode() + b"</dc:creator></x:xmpmeta>"
    segments = (
        (0xE1, exif), (0xE1, xmp), (0xE2, b"ICC_PROFILE\0\1\1" + b"desc" + said.encode("utf-16-be")),
        (0xE2, b"MPF\0" + latin), (0xED, b"Photoshop 3.0\x008BIM\x04\x04" + latin), (0xFE, said.encode("utf-16-le")),
        (0xFE, identity.phone.encode()),
    )  # fmt: skip
    made = jpeg[:2] + b"".join(bytes((0xFF, c)) + (len(b) + 2).to_bytes(2, "big") + b for c, b in segments) + jpeg[2:]
    return made + b"\0trailer " + latin + identity.email.encode()


def sign_object(data: bytes, identity: Identity) -> bytes:
    """Identifiers in a DICOM file: header, nested, private, overlay, file meta, preamble, behind the end."""
    ds = pydicom.dcmread(io.BytesIO(data))
    name = f"{identity.family}^{identity.given}"
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = name, identity.patient_id, identity.birth_date.replace("-", "")
    ds.OtherPatientIDs, ds.PatientAddress = identity.other_id, identity.address
    ds.PatientTelephoneNumbers, ds.AccessionNumber = identity.phone, identity.accession
    ds.InstitutionName, ds.InstitutionAddress = identity.institution, identity.address
    ds.ReferringPhysicianName = ds.OperatorsName = identity.physician
    ds.StationName, ds.DeviceSerialNumber = identity.other_id, identity.other_id
    ds.StudyDescription = f"Fundus photo {identity.family}"
    ds.SeriesDescription, ds.ProtocolName = f"{identity.given} OU", identity.name
    ds.ImageComments = f"Pt {identity.given} {identity.family} MRN {identity.patient_id}"
    ds.PatientComments = f"call {identity.phone}, {identity.email}"
    ds.ImageType = [*list(ds.ImageType)[:3], identity.family.upper()[:16]]
    request = Dataset()
    request.RequestedProcedureDescription = f"Fundus of {identity.name}"
    request.ScheduledProcedureStepID = identity.accession
    ds.RequestAttributesSequence = Sequence([request])
    private = ds.private_block(0x0029, "TAPETUM PHANTOM", create=True)
    private.add_new(0x01, "LO", identity.name)
    private.add_new(0x02, "UN", identity.family.encode("utf-16-le"))
    item = Dataset()
    item.PatientName = name
    private.add_new(0x03, "SQ", Sequence([item]))
    for tag, vr, value in (
        (0x10, "US", ds.Rows), (0x11, "US", ds.Columns), (0x22, "LO", identity.name), (0x40, "CS", "G"),
        (0x50, "SS", [1, 1]), (0x100, "US", 1), (0x102, "US", 0), (0x4000, "LT", identity.patient_id),
        (0x3000, "OW", identity.name.encode().ljust((ds.Rows * ds.Columns + 15) // 16 * 2, b"\0")),
    ):  # fmt: skip
        ds.add_new(0x60000000 + tag, vr, value)
    ds.file_meta.SourceApplicationEntityTitle = identity.family.upper()[:16]
    ds.preamble = identity.name.encode().ljust(128, b"\0")[:128]
    ds.add_new(0xFFFCFFFC, "OB", identity.name.encode("utf-8").ljust(64, b" "))
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, ds, enforce_file_format=False)
    return stream.getvalue()
