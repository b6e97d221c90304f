"""Decode DICOM images with JPEG pixels: Tapetum against pydicom's `pixel_array`, in one run.

    python benchmarks/dicom_decode.py

The peer is `pydicom.dcmread` followed by `pixel_array`, which gives RGB. Both sides run in turn, round by round;
medians and their ratio are printed with the mean difference of the results in grey levels. The aim is a ratio of 3 at
full size; the scaled decode of an ingest is printed beside it, and what the sandbox adds to it.
"""

from __future__ import annotations

import io
import statistics

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.utils import pixel_array
from pydicom.uid import JPEGBaseline8Bit, generate_uid

from decode_resize import SIDE, photograph, seconds
from tapetum.archive.pixels import decode, decode_sight
from tapetum.archive.sandbox import Sandbox

ROUNDS = 7


def wrapped(jpeg: bytes) -> bytes:
    """The photograph as an Ophthalmic Photography object."""
    ds = Dataset()
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.5.1"
    ds.SOPInstanceUID = generate_uid(entropy_srcs=["benchmark"])
    ds.Rows = ds.Columns = SIDE
    ds.SamplesPerPixel, ds.PlanarConfiguration, ds.PhotometricInterpretation = 3, 0, "YBR_FULL_422"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    ds.PixelData = encapsulate([jpeg])
    ds["PixelData"].VR = "OB"
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def peer(data: bytes) -> np.ndarray:
    """Read the file and decode it as pydicom does."""
    return pixel_array(pydicom.dcmread(io.BytesIO(data)))


def sight(data: bytes) -> np.ndarray:
    """What an ingest decodes, without the description; run in the sandbox."""
    return decode_sight(data)[0]


def main() -> None:
    """Print one line per way of decoding."""
    data = wrapped(photograph(0))
    print(f"{SIDE} × {SIDE} DICOM with JPEG pixels, {len(data) / 1e6:.1f} MB, {ROUNDS} rounds, medians")
    with Sandbox(workers=1) as sandbox:
        ways = {
            "full size": lambda: decode(data, min_side=0),
            "min_side 512": lambda: decode(data, min_side=512),
            "sight": lambda: sight(data),
            "sight, in the sandbox": lambda: sandbox.call("dicom_decode:sight", data),
        }
        ours: dict[str, list[float]] = {name: [] for name in ways}
        theirs: list[float] = []
        sandbox.call("dicom_decode:sight", data)
        for _ in range(ROUNDS):
            theirs.append(seconds(lambda: peer(data)))
            for name, way in ways.items():
                ours[name].append(seconds(way))
    other = statistics.median(theirs)
    print(f"pydicom pixel_array {other * 1e3:6.1f} ms")
    for name, times in ours.items():
        mine = statistics.median(times)
        print(f"{name:22s} {mine * 1e3:6.1f} ms   ratio {other / mine:5.2f}")
    difference = np.abs(decode(data, min_side=0).astype(float) - peer(data)).mean()
    print(f"full size: mean difference {difference:.3f} grey levels")


if __name__ == "__main__":
    main()
