"""Volumes that are no DICOM yet (vendor OCT, NIfTI) as DICOM multi-frame objects, the same bytes every time.

The object holds pixels, spacing and side and names nobody. It is uncompressed, so that its bytes depend on no library's
version.
"""

from __future__ import annotations

import hashlib
import io

import numpy as np
from jaxtyping import UInt8
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from tapetum.core.types import Laterality

OPT_CLASS = "1.2.840.10008.5.1.4.1.1.77.1.5.4"
PHOTO_CLASS = "1.2.840.10008.5.1.4.1.1.77.1.5.1"
CAPTURE_CLASS = "1.2.840.10008.5.1.4.1.1.7.2"
_MODALITY = {OPT_CLASS: "OPT", PHOTO_CLASS: "OP", CAPTURE_CLASS: "OT"}
_SIDE = {Laterality.RIGHT: "R", Laterality.LEFT: "L", Laterality.BOTH: "B"}


def volume_dicom(
    frames: UInt8[np.ndarray, "n h w *rgb"],
    *,
    seed: str,
    sop_class: str,
    spacing_mm: tuple[float, float] | None = None,
    between_mm: float = 0.0,
    laterality: Laterality = Laterality.UNKNOWN,
) -> bytes:
    """A multi-frame DICOM object.

    Args:
        frames: grey values, or red, green and blue, frame by frame.
        seed: what the object's UIDs are made from, for example a digest of the file it came from.
        sop_class: of the object.
        spacing_mm: height and width of a pixel, None if unknown.
        between_mm: distance between frames, 0 if unknown.
        laterality: which eye.

    Returns:
        The bytes of the file; the same for the same arguments.
    """
    count, rows, columns = frames.shape[:3]
    ds = Dataset()
    ds.SOPClassUID = sop_class
    ds.SOPInstanceUID, ds.SeriesInstanceUID, ds.StudyInstanceUID = (
        _uid(f"{kind} {seed}") for kind in ("instance", "series", "study")
    )
    ds.Modality = _MODALITY[sop_class]
    ds.ImageLaterality = _SIDE.get(laterality, "")
    ds.NumberOfFrames = count
    ds.Rows, ds.Columns = rows, columns
    if frames.ndim == 4:
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    else:
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.WindowCenter, ds.WindowWidth = "128", "256"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    if spacing_mm:
        measures = Dataset()
        measures.PixelSpacing = [f"{value:.6g}" for value in spacing_mm]
        if between_mm > 0:
            measures.SpacingBetweenSlices = f"{between_mm:.6g}"
        group = Dataset()
        group.PixelMeasuresSequence = [measures]
        ds.SharedFunctionalGroupsSequence = [group]
        ds.PixelSpacing = measures.PixelSpacing
    pixels = np.ascontiguousarray(frames).tobytes()
    ds.PixelData = pixels + b"\0" * (len(pixels) % 2)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    # Written out, since pydicom would put its own version here.
    ds.file_meta.ImplementationClassUID = _uid("tapetum")
    ds.file_meta.ImplementationVersionName = "TAPETUM"
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _uid(text: str) -> UID:
    """A UID made from a text (PS3.5 B.2: 2.25 and a number of 128 bits)."""
    return UID(f"2.25.{int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], 'big')}")
