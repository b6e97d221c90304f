"""Which eye (or side) a DICOM header names: every place where it may stand, and no guess where they disagree.

Places, in the order in which the provenance is chosen: Image Laterality, Laterality, Frame Laterality in the shared
and in every per-frame functional group, and the modifier of Anatomic Region or Primary Anatomic Structure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tapetum.archive import fields
from tapetum.archive.dicom import values
from tapetum.core.errors import DataError
from tapetum.core.types import Laterality

_EYE = {"R": Laterality.RIGHT, "L": Laterality.LEFT, "B": Laterality.BOTH, "U": Laterality.NOT_PAIRED}
# PS3.16 CID 244 Laterality, in SNOMED CT and in the SRT codes that files before 2018 carry.
_EYE_OF_CODE = {
    ("SCT", "24028007"): Laterality.RIGHT,
    ("SCT", "7771000"): Laterality.LEFT,
    ("SCT", "51440002"): Laterality.BOTH,
    ("SRT", "G-A100"): Laterality.RIGHT,
    ("SRT", "G-A101"): Laterality.LEFT,
    ("SRT", "G-A102"): Laterality.BOTH,
}
_REGIONS = (
    ("AnatomicRegionSequence", "AnatomicRegionModifierSequence"),
    ("PrimaryAnatomicStructureSequence", "PrimaryAnatomicStructureModifierSequence"),
)


def laterality_of(ds: Any) -> tuple[Laterality, str]:
    """Which eye, and the places that said so (`"DICOM ImageLaterality, Laterality"`); unknown and `""` if none did.

    Raises:
        DataError: a text that names no side, or places that disagree.
    """
    said: dict[str, Laterality] = {}
    for place, eye in _said(ds):
        if said.setdefault(place, eye) != eye:
            raise DataError(f"the header says laterality {said[place].value} and {eye.value}, both as {place}", "one")
    if not said:
        return Laterality.UNKNOWN, ""
    if len(set(said.values())) > 1:
        found = " and ".join(f"{eye.value} ({place})" for place, eye in said.items())
        raise DataError(f"the header says laterality {found}", "one")
    return next(iter(said.values())), "DICOM " + ", ".join(said)


def region_codes(ds: Any) -> frozenset[tuple[str, str]]:
    """(scheme, code) of the anatomic regions that the header names."""
    return frozenset(_code(item) for item in values.items(ds, "AnatomicRegionSequence"))


def _said(ds: Any) -> Iterator[tuple[str, Laterality]]:
    for name in ("ImageLaterality", "Laterality"):
        yield from _named(ds, name)
    yield from _coded(ds)
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in values.items(ds, groups):
            for anatomy in values.items(group, "FrameAnatomySequence"):
                yield from _named(anatomy, "FrameLaterality")
                yield from _coded(anatomy)


def _named(ds: Any, name: str) -> Iterator[tuple[str, Laterality]]:
    text = values.text(ds, name)
    if text:
        yield name, _EYE.get(text.upper()) or fields.laterality(text)


def _coded(ds: Any) -> Iterator[tuple[str, Laterality]]:
    for region, modifier in _REGIONS:
        for item in values.items(ds, region):
            for code in values.items(item, modifier):
                eye = _EYE_OF_CODE.get(_code(code))
                if eye:
                    yield modifier.removesuffix("Sequence"), eye


def _code(item: Any) -> tuple[str, str]:
    scheme = values.text(item, "CodingSchemeDesignator").upper()
    return ("SRT" if scheme in ("SNM3", "99SDM") else scheme), values.text(item, "CodeValue").upper()
