"""One file of a clinic's export in, the same file pseudonymised out: header, metadata and pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, UInt8

from tapetum.archive.deidentify.blank import blank_file
from tapetum.archive.deidentify.field import find_field
from tapetum.archive.deidentify.files import strip
from tapetum.archive.deidentify.known import Known
from tapetum.archive.deidentify.profile import load_profile
from tapetum.archive.deidentify.pseudonyms import Pseudonyms
from tapetum.core.errors import DataError

QUARANTINE = "an image that can be made safe"
OUTSIDE = "what stood outside the field of view was blanked"
UNSEEN = "pixels were not searched for burnt-in text (no round field of view; ocr=true searches)"


@dataclass(frozen=True)
class Cleaned:
    """A pseudonymised file.

    Attributes:
        data: its bytes, the same object where nothing had to go. notes: what was done to the pixels, or left undone.
        replaced: pseudonym → UID or number that it stands for, of a DICOM header; to be kept sealed, or not at all.
    """

    data: bytes
    notes: tuple[str, ...] = ()
    replaced: Mapping[str, str] = field(default_factory=dict[str, str])


def clean(
    data: bytes,
    *,
    pseudonyms: Pseudonyms,
    patient_id: str,
    identifiers: Mapping[str, str],
    seen: UInt8[np.ndarray, "h w 3"] | None = None,
    modality: str = "unknown",
    ocr: bool = False,
) -> Cleaned:
    """Pseudonymise a DICOM, JPEG, PNG or TIFF file; the same input gives the same bytes.

    Args:
        data: the file as exported.
        pseudonyms: of the key.
        patient_id: whose file, as the clinic writes it.
        identifiers: what else the export says of the patient, by kind; searched for afterwards, never stored.
        seen: the picture decoded to about 512 pixels as RGB, if at hand; decoded here if not.
        modality: as the export says; of `fundus` and `unknown` images the round field of view is looked for.
        ocr: also search the whole picture for text and blank it (`pip install --no-deps rapidocr-onnxruntime`).

    Returns:
        The file, notes, and what UIDs and numbers were replaced.

    Raises:
        DataError: it cannot be made safe: no pixels, damaged, text burnt in that was not found, or an identifier that
            is still there afterwards. The message names no identifier.
        MissingExtraError: `ocr` without the text detector.
    """
    known = Known([patient_id, *identifiers.values()], load_profile().vocabulary)
    try:
        if data[128:132] == b"DICM":
            from tapetum.archive.deidentify.objects import clean_object

            return Cleaned(*clean_object(data, pseudonyms, patient_id, known, seen=seen, modality=modality, ocr=ocr))
        return _clean_file(data, known, seen, modality, ocr)
    except DataError as error:
        if known.in_text(str(error)):
            raise DataError("the file cannot be made safe", QUARANTINE) from None
        raise


def _clean_file(
    data: bytes, known: Known, seen: UInt8[np.ndarray, "h w 3"] | None, modality: str, ocr: bool
) -> Cleaned:
    made = strip(data)
    keep, paint, notes = what_to_keep(made, seen, modality=modality, ocr=ocr)
    if keep is not None:
        made = blank_file(made, keep, paint)
    if known.in_bytes(_head(made)):
        raise DataError("an identifier is left in the file's head", QUARANTINE)
    return Cleaned(made, notes)


def what_to_keep(
    data: bytes, seen: UInt8[np.ndarray, "h w 3"] | None, *, modality: str, ocr: bool
) -> tuple[Bool[np.ndarray, "h w"] | None, tuple[int, int, int], tuple[str, ...]]:
    """Which pixels stay; `None` where all do.

    Args:
        data: the file, decoded only where `seen` is absent or text is looked for.
        seen: the picture at about 512 pixels.
        modality: only of `fundus` or `unknown` a field of view is looked for.
        ocr: look for text.

    Returns:
        The mask as seen, RGB to paint the rest with, and notes.
    """
    field = None
    keep, paint, notes = None, (0, 0, 0), list[str]()
    if modality in ("fundus", "unknown"):
        seen = _decoded(data, 512) if seen is None else seen
        field = find_field(seen, oval=modality == "fundus")
    if field is None:
        if not ocr:
            notes.append(UNSEEN)
    elif seen is not None:
        paint = field.background
        if field.marked:
            keep = field.inside(seen.shape[1], seen.shape[0])
            notes.append(OUTSIDE)
    if ocr:
        from tapetum.archive.deidentify.lettering import find_lettering

        large = _decoded(data, 0)
        lettering = find_lettering(large)
        if lettering.any():
            rest = ~lettering
            keep = rest if keep is None or field is None else rest & field.inside(rest.shape[1], rest.shape[0])
            notes.append("text found in the picture was blanked")
    return keep, paint, tuple(notes)


def _decoded(data: bytes, side: int) -> UInt8[np.ndarray, "h w 3"]:
    from tapetum.archive.pixels import decode

    return decode(data, min_side=side)


def _head(data: bytes) -> bytes:
    """What of a stripped file is no compressed picture."""
    if data[:2] == b"\xff\xd8":
        at = data.find(b"\xff\xda")
        return data[: at if at > 0 else len(data)]
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        at = data.find(b"IDAT")
        return data[: at if at > 0 else len(data)]
    return b""
