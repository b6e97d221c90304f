"""What an object of each DICOM class is: an image, the text of a report, or neither; and of which modality."""

from __future__ import annotations

from collections.abc import Mapping

from pydicom.uid import UID

from tapetum.core.types import UNKNOWN

_STORAGE = "1.2.840.10008.5.1.4.1.1."
DICOMDIR_CLASS = "1.2.840.10008.1.3.10"
PDF_CLASS = _STORAGE + "104.1"
SR_CLASSES: Mapping[str, str] = {
    _STORAGE + "88.11": "Basic Text",
    _STORAGE + "88.22": "Enhanced",
    _STORAGE + "88.33": "Comprehensive",
    _STORAGE + "88.34": "Comprehensive 3D",
    _STORAGE + "88.35": "Extensible",
}
# Only where the class alone says it: a Secondary Capture, a photograph or an ultrasound may show anything.
_MODALITY_OF_CLASS: Mapping[str, str] = {
    _STORAGE + "77.1.5.1": "fundus",
    _STORAGE + "77.1.5.2": "fundus",
    _STORAGE + "77.1.5.4": "oct",
    _STORAGE + "77.1.5.5": "fundus",
    _STORAGE + "77.1.5.6": "fundus",
}
_RADIOGRAPHS = (_STORAGE + "1", _STORAGE + "1.1", _STORAGE + "1.1.1")
# Objects with samples that are no picture of a patient: dose, labels, computed maps.
_DERIVED = (
    _STORAGE + "66.4", _STORAGE + "66.7", _STORAGE + "66.8", _STORAGE + "30", _STORAGE + "481.2",
    _STORAGE + "81.1",
)  # fmt: skip
# SNOMED CT (both codes that the standard has used for it) and the former SRT code.
_CHEST_CODES = frozenset({("SCT", "51185008"), ("SCT", "816094009"), ("SRT", "T-D3000"), ("SNM3", "T-D3000")})
_CHEST_WORDS = frozenset({"CHEST", "THORAX"})


def class_name(uid: str) -> str:
    """The class's name in the standard, `"unknown class"` for one that it does not list.

    Example:
        >>> class_name("1.2.840.10008.5.1.4.1.1.88.11"), class_name("1.2.3")
        ('Basic Text SR Storage', 'unknown class')
    """
    name = UID(uid).name if uid else ""
    return "unknown class" if not name or name == uid else name


def is_document(uid: str) -> bool:
    """Whether objects of the class hold the text of a report that is read here."""
    return uid == PDF_CLASS or uid in SR_CLASSES


def is_derived(uid: str) -> bool:
    """Whether objects of the class hold samples that are no picture: labels, doses, maps of a quantity."""
    return uid in _DERIVED


def document_name(uid: str) -> str:
    """How the provenance of a report names the class: `"DICOM SR Basic Text"`, `"DICOM Encapsulated PDF"`."""
    return "DICOM Encapsulated PDF" if uid == PDF_CLASS else f"DICOM SR {SR_CLASSES[uid]}"


def modality_of(uid: str, *, body_part: str, view: str, regions: frozenset[tuple[str, str]], device: str) -> str:
    """Id of the modality, `"unknown"` where the header does not settle it.

    Args:
        uid: SOP class.
        body_part: Body Part Examined.
        view: View Position with Series or Study words left out.
        regions: (scheme, code) of Anatomic Region.
        device: what kind of device took the image, in words.

    Example:
        >>> modality_of(_STORAGE + "1.1", body_part="CHEST", view="PA", regions=frozenset(), device="")
        'cxr'
    """
    if uid in _RADIOGRAPHS:
        chest = _CHEST_WORDS & {body_part.strip().upper(), view.strip().upper()} or regions & _CHEST_CODES
        return "cxr" if chest else UNKNOWN
    # The same class serves the slit lamp and the external camera; where the header says so, it is no fundus.
    if "slit" in device.casefold() or "external" in device.casefold():
        return UNKNOWN
    return _MODALITY_OF_CLASS.get(uid, UNKNOWN)
