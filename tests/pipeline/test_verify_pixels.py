"""`verify_pixels=true`: what the quick look does not decode is decoded too."""

from __future__ import annotations

import io

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from tapetum.archive import IngestConfig, ingest

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7.4"


def three_frames(first: bytes) -> bytes:
    """A grey JPEG object of three frames whose first one is given."""
    buffer = io.BytesIO()
    Image.fromarray(np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)).save(buffer, "JPEG")
    sound = buffer.getvalue()
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID, data.StudyInstanceUID = SECONDARY_CAPTURE, "1.2.3.4", "1.2.3"
    data.PatientID, data.Modality, data.NumberOfFrames = "p1", "OT", 3
    data.Rows = data.Columns = 64
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
    data.PixelData = encapsulate([first or sound, sound, sound])
    data["PixelData"].VR = "OB"
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    data.file_meta.MediaStorageSOPClassUID, data.file_meta.MediaStorageSOPInstanceUID = SECONDARY_CAPTURE, "1.2.3.4"
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, data, enforce_file_format=True)
    return stream.getvalue()


@pytest.mark.parametrize(("first", "taken"), [(b"", 1), (b"\xff\xd8 no picture \xff\xd9", 0)])
def test_a_damaged_frame_that_the_look_skips_is_found(tmp_path, first, taken):
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "a.dcm").write_bytes(three_frames(first))
    plain = IngestConfig(deidentify="none")
    assert ingest([tmp_path / "e"], tmp_path / "quick.tap", plain).images == 1
    strict = IngestConfig(deidentify="none", verify_pixels=True)
    again = ingest([tmp_path / "e"], tmp_path / "quick.tap", strict)  # looked at again; what was taken is not lost
    assert (again.images, again.quarantined) == (1, 1 - taken)
    fresh = ingest([tmp_path / "e"], tmp_path / "strict.tap", strict)
    assert (fresh.images, fresh.quarantined) == (taken, 1 - taken)
