"""A DICOM file pseudonymised: header through the allow-list, pixels rewritten, then searched for what must be gone."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import pydicom
from jaxtyping import Bool, UInt8
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from tapetum.archive.deidentify.blank import blank_file, blank_samples
from tapetum.archive.deidentify.cleaning import QUARANTINE, UNSEEN, what_to_keep
from tapetum.archive.deidentify.files import strip_jpeg
from tapetum.archive.deidentify.headers import HeaderCleaner, declare, in_the_standard, new_meta, said_by
from tapetum.archive.deidentify.known import Known
from tapetum.archive.deidentify.profile import load_profile
from tapetum.archive.deidentify.pseudonyms import Pseudonyms
from tapetum.archive.dicom.frames import COLOUR, GREY, Layout, encapsulated_frame, layout, stored_samples
from tapetum.archive.dicom.pixels import read_dicom
from tapetum.archive.pixels import MAX_PIXELS
from tapetum.core.errors import DataError

_NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
_JPEG = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70",
         "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")  # fmt: skip
_PHOTOGRAPHS = ("OP", "XC", "OT", "")
Keep = Bool[np.ndarray, "h w"]


def clean_object(
    data: bytes, pseudonyms: Pseudonyms, patient_id: str, known: Known, *,
    seen: UInt8[np.ndarray, "h w 3"] | None, modality: str, ocr: bool,
) -> tuple[bytes, tuple[str, ...], dict[str, str]]:  # fmt: skip
    """Pseudonymise a DICOM image object; its bytes, notes, and what each new UID and number stands for.

    Args:
        data: the file.
        pseudonyms: of the key.
        patient_id: whose file.
        known: identifiers that the export gives; those of the header are added here.
        seen: the picture at about 512 pixels.
        modality: as the export says; the header's own is used where it says nothing.
        ocr: look for text in the pixels.

    Raises:
        DataError: an object without pixels or without a class of the standard, damaged, or not to be made safe.
    """
    profile = load_profile()
    try:
        ds = read_dicom(data)
        said = said_by(ds, profile)
    except DataError as error:
        raise DataError("the DICOM file does not open", error.expected or "a whole, undamaged file") from None
    except RecursionError:
        raise DataError("sequences nested too deeply", "at most 16 levels") from None
    if "PixelData" not in ds:
        raise DataError("a DICOM object without pixels: its text is kept only after scrubbing", "an image object")
    if not in_the_standard(str(ds.get("SOPClassUID", ""))) or not ds.get("SOPInstanceUID", ""):
        raise DataError("a DICOM object of no class of the standard, or without its UID", "an image object")
    known = known.joined(said)
    form = layout(ds, max_pixels=MAX_PIXELS)
    cleaner = HeaderCleaner(profile, pseudonyms, patient_id, known)
    kept: Any = cleaner.clean(ds)
    kept.PatientName = kept.PatientID = pseudonyms.patient(patient_id)
    notes, safe, syntax = _pixels(ds, kept, form, data, seen, modality, ocr)
    kept.SpecificCharacterSet = "ISO_IR 192"
    kept.file_meta = new_meta(kept, syntax)
    if known.in_bytes(_head(written(kept), kept)):
        raise DataError("an identifier is left in the header", QUARANTINE)
    declare(kept, pseudonyms, profile, pixels=safe)
    return written(kept), notes, cleaner.replaced


def _pixels(
    ds: Any, kept: Any, form: Layout, data: bytes, seen: UInt8[np.ndarray, "h w 3"] | None, modality: str, ocr: bool
) -> tuple[tuple[str, ...], bool, str]:
    """Copy the pixels over, blanked where needed; notes, whether text was looked for, and the transfer syntax."""
    keep, paint, notes, safe = None, (0, 0, 0), (UNSEEN,), False
    if form.frames == 1:
        if modality == "unknown" and str(ds.get("Modality", "")) not in _PHOTOGRAPHS:
            modality = "other"
        keep, paint, notes = what_to_keep(data, seen, modality=modality, ocr=ocr)
        safe = UNSEEN not in notes
    if not safe and str(ds.get("BurnedInAnnotation", "")).strip().upper() == "YES":
        raise DataError("the header says that text is burnt into the pixels, and it was not looked for", "ocr=true")
    if keep is None:
        _copied(ds, kept, form)
        return notes, safe, form.syntax
    return notes, safe, _painted(ds, kept, form, keep, paint)


def _copied(ds: Any, kept: Any, form: Layout) -> None:
    """Pixels as they are, without what hides behind, between or inside them."""
    if form.syntax not in _NATIVE:
        frames = [encapsulated_frame(ds, form, n) for n in range(form.frames)]
        if form.syntax in _JPEG:
            frames = [strip_jpeg(f.rstrip(b"\0") if f[-2:] != b"\xff\xd9" else f, orientation=False) for f in frames]
        elif form.syntax.startswith("1.2.840.10008.1.2.4."):
            frames = [_without_comments(f) for f in frames]
        kept.PixelData = encapsulate([f + b"\0" * (len(f) % 2) for f in frames])
        kept["PixelData"].VR = "OB"
        return
    bits = form.width * form.height * form.frames * form.samples * form.allocated
    size = ((bits * 2 // 3 if form.photometric == "YBR_FULL_422" else bits) + 7) // 8
    raw = bytes(ds.PixelData)
    if len(raw) < size:
        raise DataError("the DICOM pixels are cut short", "a whole, undamaged file")
    raw = raw[:size]
    spare = form.allocated - form.stored
    if spare and not form.signed and form.allocated in (8, 16):
        # Bits that no sample uses once carried overlays: lettering that a viewer shows over the picture.
        order = ">" if form.syntax == ExplicitVRBigEndian else "<"
        samples = np.frombuffer(raw, f"{order}u{form.allocated // 8}")
        low = int(ds.get("HighBit", form.stored - 1)) + 1 - form.stored
        mask = ((1 << form.stored) - 1) << max(0, low)
        if (samples & ~np.array(mask, samples.dtype)).any():
            raw = (samples & np.array(mask, samples.dtype)).astype(samples.dtype).tobytes()
    kept.PixelData = raw + b"\0" * (len(raw) % 2)
    kept["PixelData"].VR = ds["PixelData"].VR if ds["PixelData"].VR in ("OB", "OW") else "OW"


def _painted(ds: Any, kept: Any, form: Layout, keep: Keep, paint: tuple[int, int, int]) -> str:
    """One frame with what is not kept painted over: JPEG as JPEG, all else exactly and not compressed."""
    if form.syntax == _JPEG[0]:
        frame = encapsulated_frame(ds, form, 0)
        made = blank_file(strip_jpeg(frame, orientation=False), keep, paint)
        kept.PixelData = encapsulate([made + b"\0" * (len(made) % 2)])
        kept["PixelData"].VR = "OB"
        return form.syntax
    if form.syntax == ExplicitVRBigEndian or form.photometric not in (*GREY, "RGB", "YBR_FULL", *COLOUR):
        raise DataError("text stands outside the field, in pixels that cannot be written again", "RGB or grey")
    samples, ybr = stored_samples(ds, form, 0)
    colour: Any = paint
    if samples.ndim == 2:
        # Grey on whatever scale: the stored value that the background has itself.
        outside = blank_samples(np.zeros(samples.shape, np.uint8), keep, 1) > 0
        colour = int(np.median(samples[outside])) if outside.any() else 0
    elif ybr:
        from PIL import Image

        colour = Image.new("RGB", (1, 1), paint).convert("YCbCr").getpixel((0, 0))
    elif samples.dtype != np.uint8:
        colour = [value << max(0, form.stored - 8) for value in paint]
    made = np.ascontiguousarray(blank_samples(samples, keep, colour))
    raw = made.astype(made.dtype.newbyteorder("<")).tobytes()
    kept.PixelData = raw + b"\0" * (len(raw) % 2)
    kept["PixelData"].VR = "OW" if made.dtype.itemsize > 1 else "OB"
    kept.BitsAllocated = 8 * made.dtype.itemsize
    if samples.ndim == 3:
        kept.PlanarConfiguration = 0
        kept.PhotometricInterpretation = "YBR_FULL" if ybr else "RGB"
    return ExplicitVRLittleEndian


def _without_comments(stream: bytes) -> bytes:
    """A JPEG 2000 codestream without the comments in its main header."""
    if stream[:2] != b"\xff\x4f":
        raise DataError("JPEG 2000 pixels in a file format of their own", "a bare codestream")
    parts, place = [stream[:2]], 2
    while stream[place : place + 2] != b"\xff\x90":
        length = int.from_bytes(stream[place + 2 : place + 4], "big")
        if stream[place] != 0xFF or length < 2 or place + 2 + length > len(stream):
            raise DataError("the JPEG 2000 codestream is damaged", "a whole, undamaged file")
        if stream[place + 1] != 0x64:
            parts.append(stream[place : place + 2 + length])
        place += 2 + length
    end = stream.rfind(b"\xff\xd9")
    return b"".join(parts) + stream[place : end + 2 if end > 0 else len(stream)]


def written(ds: Any) -> bytes:
    """A data set as a file.

    Raises:
        DataError: it cannot be written; the message quotes no value.
    """
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd values were dropped; what pydicom still remarks on is no identifier
        try:
            pydicom.dcmwrite(stream, ds, enforce_file_format=True)
        except Exception as error:  # the text of the error may quote a value
            raise DataError(f"the header cannot be written again ({type(error).__name__})", QUARANTINE) from None
    return stream.getvalue()


def _head(data: bytes, ds: Any) -> bytes:
    """Everything before the pixels, which come last."""
    return data[: len(data) - len(ds.PixelData)]
