"""A pseudonymised DICOM object under another key: UIDs, numbers, dates and the patient anew; pixels untouched."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import pydicom
from pydicom.dataelem import DataElement

from tapetum.archive.deidentify.headers import in_the_standard, move, new_meta
from tapetum.archive.deidentify.objects import written
from tapetum.archive.deidentify.profile import load_profile
from tapetum.archive.deidentify.pseudonyms import Pseudonyms
from tapetum.core.errors import ArtefactError


def is_object(data: bytes) -> bool:
    """Whether a file is a DICOM object: others hold nothing that follows from a key."""
    return data[128:132] == b"DICM"


def pseudonym_in(data: bytes) -> str:
    """The patient's pseudonym as the header has it."""
    return str(pydicom.dcmread(io.BytesIO(data), specific_tags=["PatientID"]).PatientID)


def rekeyed(data: bytes, old: Pseudonyms, new: Pseudonyms, patient_id: str, replaced: Mapping[str, str]) -> bytes:
    """The object that `clean` would have made of the original with the new key.

    Args:
        data: as `clean` wrote it with the old key.
        old: the old pseudonyms.
        new: the new ones, of the same profile.
        patient_id: as the clinic writes it.
        replaced: pseudonym → original, of the object's UIDs and numbers.

    Raises:
        ArtefactError: a UID or number of the header is not in `replaced`.
    """
    days = new.shift_days(patient_id) - old.shift_days(patient_id)

    def original(text: str) -> str:
        if text not in replaced:
            raise ArtefactError(
                "an object holds a pseudonym whose original was not kept", "", "ingest the export into a new archive"
            )
        return replaced[text]

    change: dict[str, Callable[[str], str]] = {
        "patient": lambda text: new.patient(patient_id),
        "uid": lambda text: text if in_the_standard(text) else new.uid(original(text)),
        "token": lambda text: new.token(original(text), "accession"),
        "date": lambda text: move(text, days, again=True),
    }
    if old.profile == "basic":
        del change["date"]  # there is none
    ds: Any = pydicom.dcmread(io.BytesIO(data))
    _change(ds, change)
    ds.PatientName = ds.PatientID = new.patient(patient_id)
    ds.file_meta = new_meta(ds, str(ds.file_meta.TransferSyntaxUID))
    return written(ds)


def _change(ds: Any, change: Mapping[str, Callable[[str], str]]) -> None:
    actions = load_profile().action
    for tag in list(ds.keys()):
        vr = str(ds.get_item(tag).VR)
        if vr == "SQ":
            for item in ds[tag].value or []:
                _change(item, change)
            continue
        made, element = change.get(actions.get(int(tag), "")), ds[tag]
        if made is None or element.VR == "TM":
            continue
        values = [made(str(v)) if str(v) else "" for v in (element.value if element.VM > 1 else [element.value or ""])]
        if any(values):
            ds[tag] = DataElement(tag, element.VR, values[0] if len(values) == 1 else values)
