"""A DICOM header through the allow-list: what is not listed is removed, in sequences as at the top."""

from __future__ import annotations

import re
from datetime import date, timedelta
from typing import Any

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import UID

from tapetum.archive.deidentify.known import Known
from tapetum.archive.deidentify.profile import Profile
from tapetum.archive.deidentify.pseudonyms import Pseudonyms, movable
from tapetum.core.errors import DataError

DEEPEST = 16
# Of the 2.25 arc, drawn once: names this software in the files it writes.
IMPLEMENTATION_UID = "2.25.214857305912448071833916273560224817399"
_IMAGE_TYPE = 0x00080008
_DUMMY = {"DA": "19000101", "TM": "000000", "DT": "19000101000000"}
_DEFINED = re.compile(r"[A-Z0-9_ ]{0,16}")
_NUMBER = re.compile(r"[-+0-9.eE ]{0,16}")
_SHORT_TERM = re.compile(r"[A-Z]{1,4}|[0-9]{1,8}")
_CODE = re.compile(r"[A-Za-z0-9.{}\[\]/%*^'+-]{1,16}")
_MEANING = re.compile(r"[A-Za-z0-9 ,.()/'%+-]{1,64}")
_TEXT_VR = ("LO", "SH", "LT", "ST", "UT", "UC", "PN", "AE", "UR", "UN", "AS", "DA", "DT", "TM", "UI")
_BINARY_VR = ("US", "SS", "UL", "SL", "UV", "SV", "FL", "FD", "OB", "OW", "OF", "OD", "OL", "AT")
_EITHER = {
    "US or SS": ("US", "SS"),
    "OB or OW": ("OB", "OW"),
    "US or OW": ("US", "OW"),
    "US or SS or OW": ("US", "SS", "OW"),
}
# Coded entries of PS3.16 CID 7050: what was done, as options of the profile.
METHODS = {
    "113100": "Basic Application Confidentiality Profile",
    "113101": "Clean Pixel Data Option",
    "113105": "Clean Descriptors Option",
    "113107": "Retain Longitudinal Temporal Information Modified Dates Option",
    "113109": "Retain Device Identity Option",
}


class HeaderCleaner:
    """Cleans data sets of one patient.

    Args:
        profile: the allow-list. pseudonyms: of the key. patient_id: as the clinic writes it. known: the identifiers.

    Attributes:
        replaced: pseudonym → what it stands for, of all UIDs and numbers met so far.
    """

    def __init__(self, profile: Profile, pseudonyms: Pseudonyms, patient_id: str, known: Known) -> None:
        self._profile = profile
        self._names = pseudonyms
        self._patient_id = patient_id
        self._known = known
        self.replaced: dict[str, str] = {}

    def clean(self, ds: Any, depth: int = 0) -> Dataset:
        """A new data set with what may stay; pixels are not copied.

        Raises:
            DataError: sequences nested deeper than 16.
        """
        if depth > DEEPEST:
            raise DataError(f"sequences nested deeper than {DEEPEST}", f"at most {DEEPEST}")
        kept = Dataset()
        for tag in sorted(ds.keys()):
            action = self._profile.action.get(int(tag))
            if action is None or tag.is_private:
                continue
            try:
                element = ds[tag]
            except Exception:  # a value that does not parse cannot be shown to be harmless
                continue
            made = self._element(int(tag), element, action, depth)
            if made is not None:
                kept.add(made)
        self._whole_codes(kept)
        return kept

    def _whole_codes(self, ds: Dataset) -> None:
        """Codes of a public scheme stay; a code without its scheme, or a meaning without its code, is none."""
        if "CodeValue" in ds and str(ds.get("CodingSchemeDesignator", "")) in self._profile.schemes:
            return
        for keyword in ("CodeValue", "CodeMeaning", "CodingSchemeDesignator", "CodingSchemeVersion"):
            if keyword in ds:
                delattr(ds, keyword)

    def _element(self, tag: int, element: Any, action: str, depth: int) -> DataElement | None:
        vr = dictionary_VR(tag)
        if action == "empty":
            return DataElement(tag, vr, [] if vr == "SQ" else "")
        if element.VR not in _EITHER.get(vr, (vr,)):
            return None
        if vr == "SQ":
            items = [self.clean(item, depth + 1) for item in element.value or []]
            # An item of which nothing was left says nothing; frames are counted by their items and stay.
            if "FunctionalGroups" not in element.keyword:
                items = [item for item in items if len(item)]
            return DataElement(tag, vr, Sequence(items)) if items or not len(element.value or []) else None
        values = [v for v in (element.value if element.VM > 1 else [element.value]) if v is not None]
        # Image Type's values count by their place: an empty one stays.
        made = self._values(tag, str(element.VR), [v for v in values if v != "" or tag == _IMAGE_TYPE], action)
        if made is None:
            return None
        return DataElement(tag, element.VR, "" if not made else made[0] if len(made) == 1 else made)

    def _values(self, tag: int, vr: str, values: list[Any], action: str) -> list[Any] | None:
        """New values; none left is an empty attribute, `None` removes it."""
        if action == "keep":
            return self._kept(tag, vr, values)
        if action == "patient":
            return [self._names.patient(self._patient_id)]
        if action == "date":
            return self._moved(tag, vr, [str(v) for v in values])
        texts = [str(v).strip().rstrip("\0") for v in values]
        if action == "standard":
            return texts if all(map(in_the_standard, texts)) else None
        if action == "code":
            pattern = _MEANING if vr == "LO" else _CODE
            return texts if texts and all(pattern.fullmatch(t) and not self._known.in_text(t) for t in texts) else None
        return self._replaced(texts, action)

    def _replaced(self, texts: list[str], action: str) -> list[Any]:
        if action == "uid":
            return [self._noted(self._names.uid(t), t) if not in_the_standard(t) else t for t in texts if t]
        if action == "token":
            return [self._noted(self._names.token(t, "accession"), t) for t in texts if t]
        if action == "device":
            return [t for t in texts if t.isascii() and t.isprintable() and len(t) <= 64 and not self._known.in_text(t)]
        words = [w for t in texts for w in re.findall(r"[A-Za-z]+", t) if w.lower() in self._profile.words]
        words = [w for w in words if not self._known.in_text(w)]
        return [" ".join(words)] if words else []

    def _noted(self, pseudonym: str, original: str) -> str:
        self.replaced[pseudonym] = original
        return pseudonym

    def _kept(self, tag: int, vr: str, values: list[Any]) -> list[Any] | None:
        if vr in _BINARY_VR:
            return values
        pattern = _NUMBER if vr in ("DS", "IS") else _SHORT_TERM if vr in _TEXT_VR else _DEFINED
        texts = [str(getattr(v, "original_string", v)).strip() for v in values]
        if tag == _IMAGE_TYPE:  # Image Type: a maker may write anything behind the second value
            return [t if t in self._profile.image_type else "" for t in texts] if texts else None
        if not all(pattern.fullmatch(t) for t in texts):
            return None
        if vr == "CS" and any(self._known.in_text(t) for t in texts):
            return None
        return values

    def _moved(self, tag: int, vr: str, texts: list[str]) -> list[str] | None:
        if self._names.profile == "basic":
            return [] if tag in self._profile.empty_in_basic or not texts else [_DUMMY[vr]] * len(texts)
        if vr == "TM":
            return texts if all(re.fullmatch(r"[\d.:]{0,16}", t) for t in texts) else []
        moved = [move(t, self._names.shift_days(self._patient_id)) for t in texts]
        return moved if all(moved) else []


def in_the_standard(uid: str) -> bool:
    """Whether the DICOM standard lists a UID: it names a class or a syntax, and nobody's image."""
    return UID(uid).name != uid


def move(text: str, days: int, *, again: bool = False) -> str:
    """A DICOM date or date and time, moved; empty for what is none. Hours and the offset from UTC stay.

    Args:
        text: as the header has it.
        days: how far.
        again: it was moved before, so that it may stand nearer to the calendar's ends.

    Example:
        >>> move("20230502101500.5+0100", -2)
        '20230430101500.5+0100'
    """
    found = re.fullmatch(r"(\d{4})\.?(\d{2})\.?(\d{2})(\d{0,6}(?:\.\d{1,6})?(?:[+-]\d{4})?)", text.strip())
    if not found:
        return ""
    try:
        day = date(int(found[1]), int(found[2]), int(found[3]))
    except ValueError:
        return ""
    if not (again or movable(day)):
        return ""
    day += timedelta(days=days)
    return f"{day.year:04d}{day.month:02d}{day.day:02d}{found[4]}"


def said_by(ds: Any, profile: Profile, depth: int = 0) -> list[str]:
    """All values of a header that identify somebody: every person's name, and what the profile lists."""
    found: list[str] = []
    if depth > DEEPEST:
        return found
    for tag in list(ds.keys()):
        try:
            vr = str(ds.get_item(tag).VR or "") or dictionary_VR(tag)
        except KeyError:
            vr = "UN"
        if vr not in ("SQ", "PN") and int(tag) not in profile.identifying:
            continue
        try:
            element = ds[tag]
            if element.VR == "SQ":
                for item in element.value or []:
                    found += said_by(item, profile, depth + 1)
            elif element.value is not None:
                found += [str(v) for v in (element.value if element.VM > 1 else [element.value])]
        except Exception:  # unreadable here is unreadable for the cleaner, which removes it
            continue
    return found


def declare(ds: Any, pseudonyms: Pseudonyms, profile: Profile, *, pixels: bool) -> None:
    """Write into the header what was done; called once the search afterwards has found nothing."""
    modified = pseudonyms.profile == "longitudinal"
    ds.PatientIdentityRemoved = "YES"
    ds.DeidentificationMethod = f"Tapetum {pseudonyms.profile} profile {profile.version}"
    done = ["113100", *(["113101"] if pixels else []), "113105", *(["113107"] if modified else []), "113109"]
    items: list[Dataset] = []
    for code in done:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code, "DCM", METHODS[code]
        items.append(item)
    ds.DeidentificationMethodCodeSequence = Sequence(items)
    ds.LongitudinalTemporalInformationModified = "MODIFIED" if modified else "REMOVED"
    if pixels:
        ds.BurnedInAnnotation = "NO"


def new_meta(ds: Any, transfer_syntax: str) -> FileMetaDataset:
    """File meta information made anew: no application entity, no private part."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(ds.SOPClassUID)
    meta.MediaStorageSOPInstanceUID = UID(ds.SOPInstanceUID)
    meta.TransferSyntaxUID = UID(transfer_syntax)
    meta.ImplementationClassUID = UID(IMPLEMENTATION_UID)
    meta.ImplementationVersionName = "TAPETUM"
    return meta
