"""Files of every kind that a reader takes, made here: one picture, volume or video each, of known content."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import imagecodecs
import nibabel
import numpy as np

TABLE = "file,patient,eye,report,label\na{0},p1,OD,text one,A\nb{0},p2,OS,text two,B\n../b{0},p2,OS,text two,B\n"


def vol_file(
    *,
    eye: str = "OD",
    pattern: int = 3,
    count: int = 2,
    patient: str = "p1",
    value: float = 0.0625,
    mark: float = 3.4e38,
) -> bytes:
    """A Heidelberg `.vol`: `count` B-scans of 6 × 4 samples of one reflectivity, the first sample marked as outside."""
    width, height, slo = 6, 4, 5
    head = bytearray(2048)
    head[:12] = b"HSF-OCT-103\0"
    struct.pack_into("<3I3d2I2d", head, 12, width, count, height, 0.01, 0.12, 0.004, slo, slo, 0.02, 0.02)
    head[84:86] = eye.encode()
    struct.pack_into("<2i", head, 96, pattern, 300)
    struct.pack_into("<I", head, 136, 77)
    head[140 : 140 + len(patient)] = patient.encode()
    struct.pack_into("<d", head, 164, 22000.0)  # 1960-03-25
    struct.pack_into("<d", head, 200, 44000.0)  # 2020-06-18
    scan = np.full((height, width), value, "<f4")
    scan[0, 0] = mark
    return bytes(head) + bytes(range(slo * slo)) + (b"\0" * 300 + scan.tobytes()) * count


def nifti_file(path: Path, data: np.ndarray, *, cal: tuple[float, float] = (0.0, 0.0), flip: bool = False) -> None:
    """A NIfTI volume with voxels of 2 × 2 × 3 mm, by option with its x axis towards the left."""
    image = nibabel.Nifti1Image(data, np.diag([-2.0 if flip else 2.0, 2.0, 3.0, 1.0]))
    image.header.set_xyzt_units("mm")
    image.header["cal_min"], image.header["cal_max"] = cal
    nibabel.save(image, path)


def video_file(path: Path, frames: int, *, rate: float = 10.0, first: int = 0) -> None:
    """An AVI of grey frames, frame i of grey 2 (first + i)."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), rate, (64, 48))
    for number in range(frames):
        writer.write(np.full((48, 64, 3), 2 * (first + number), np.uint8))
    writer.release()


def export_of(kind: str, root: Path) -> str:
    """An export of one kind (`vendor`, `nifti`, `video`): a of p1 (right), b of p2 (left), c broken, and a table.

    Returns:
        The ending of the files.
    """
    ending = {"vendor": ".vol", "nifti": ".nii.gz", "video": ".avi"}[kind]
    (root / "deep").mkdir(parents=True)
    for name, patient, eye in (("deep/a", "p1", "OD"), ("b", "p2", "OS")):
        if kind == "vendor":
            (root / f"{name}.vol").write_bytes(vol_file(eye=eye, patient=patient))
        elif kind == "nifti":
            nifti_file(root / f"{name}.nii.gz", np.arange(60, dtype=np.uint8).reshape(3, 4, 5) + len(name))
        else:
            video_file(root / f"{name}.avi", 3, first=len(name))
    broken = {"vendor": b"HSF-OCT-103", "nifti": b"\x1f\x8b junk", "video": b"RIFF junk"}[kind]
    (root / f"c{ending}").write_bytes(broken)
    (root / "t.csv").write_text(TABLE.format(ending))
    return ending


FDA_PERSON = {"number": "MRN-4711", "first": "Wilhelmina", "last": "Quastenflosser"}


def fda_chunks(
    scans: np.ndarray, *, photo: np.ndarray | None = None, eye: int = 0, pattern: int = 2
) -> list[tuple[str, bytes]]:
    """Names and contents of the chunks of a made-up Topcon `.fda`: B-scans [n h w], a photograph in RGB.

    The raster covers 6 × 4.5 mm, a sample is 2.6 µm deep.
    """
    count, height, width = scans.shape
    pictures = [imagecodecs.jpeg2k_encode(scan, level=0, codecformat="j2k") for scan in scans]
    person = struct.pack(
        "<32s32s32s8sB3H", *(FDA_PERSON[key].encode() for key in ("number", "first", "last")), b"", 1, 1950, 2, 3
    )
    chunks = [
        ("@FDA_FILE_INFO", struct.pack("<2I32s", 2, 1000, b"8.0.1.20198")),
        ("@HW_INFO_03", struct.pack("<16s16s32s16s10H", b"3D OCT-2000", b"SN-778899", b"", b"1.0", *([1] * 10))),
        ("@PATIENT_INFO_02", person + bytes(504)),
        ("@CAPTURE_INFO_02", struct.pack("<BBI100s6H", eye, 2, 7, FDA_PERSON["last"].encode(), 2021, 6, 5, 9, 8, 7)),
        (
            "@IMG_JPEG",
            struct.pack("<B6I", pattern, 1, 1, width, height, count, 0xA02)
            + b"".join(struct.pack("<i", len(one)) + one for one in pictures),
        ),
        ("@PARAM_SCAN_04", struct.pack("<3I5d2B", 0, 0, 0, 6.0, 4.5, 2.6, 0, 0, 0, 0)),
        ("@CONTOUR_INFO", struct.pack("<20sBB3I", b"RETINA_1", 0, 0, 2, 1, 4) + bytes(4)),
        ("@CONTOUR_INFO", struct.pack("<20sBB3I", b"RETINA_2", 0, 0, 2, 1, 4) + bytes(4)),
        ("@PATIENTEXT_INFO", FDA_PERSON["last"].encode().ljust(128, b"\0")),
    ]
    if photo is not None:
        picture = imagecodecs.jpeg2k_encode(np.ascontiguousarray(photo[..., ::-1]), level=0, codecformat="j2k")
        head = struct.pack("<4I4sI", photo.shape[1], photo.shape[0], 24, 1, b"\x02\x0a\0\0", len(picture))
        chunks.insert(6, ("@IMG_FUNDUS", head + picture))
    return chunks


def fda_bytes(chunks: list[tuple[str, bytes]], kind: bytes = b"FDA") -> bytes:
    """The file of these chunks."""
    parts = [bytes([len(name)]) + name.encode() + struct.pack("<I", len(data)) + data for name, data in chunks]
    return b"FOCT" + kind + struct.pack("<2I", 2, 1000) + b"".join(parts) + b"\0"
