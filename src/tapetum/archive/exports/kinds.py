"""What kinds of files an export holds, told by content where the content tells it, and how each becomes rows."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tapetum.archive.dicom.file import is_dicom
from tapetum.archive.places import IMAGE_SUFFIXES
from tapetum.archive.rows import Row
from tapetum.core.errors import DataError

NIFTI_SUFFIXES = (".nii", ".nii.gz")
VIDEO_SUFFIXES = (".mp4", ".m4v", ".avi", ".mov", ".mkv", ".wmv")
# Beginning of the file → vendor; the endings .vol, .e2e and .fda alone are used by others too.
VENDOR_MARKS = {b"HSF-OCT-": ".vol", b"CMDb": ".e2e", b"FOCT": ".fda"}
VENDOR_SUFFIXES = tuple(VENDOR_MARKS.values())


@dataclass(frozen=True)
class Options:
    """What the kinds need to be told.

    Attributes:
        window: `"low,high"`, the NIfTI values shown black and white. every_seconds: between frames of a video.
    """

    window: str = ""
    every_seconds: float = 1.0


def kind_of(path: Path) -> str:
    """`dicom`, `vendor`, `nifti`, `video`, `picture` or `""`."""
    name = path.name.lower()
    try:
        with path.open("rb") as stream:
            head = stream.read(132)
    except OSError:
        return ""
    if is_dicom(head):
        return "dicom"
    if any(head.startswith(mark) for mark in VENDOR_MARKS):
        return "vendor"
    for kind, suffixes in (("nifti", NIFTI_SUFFIXES), ("video", VIDEO_SUFFIXES), ("picture", IMAGE_SUFFIXES)):
        if name.endswith(suffixes):
            return kind
    return ""


def rows_of(root: Path, file: str, options: Options, *, kind: str = "") -> Iterator[Row]:
    """The images of one file with what the file says of itself, `patient_id=""` where it names no patient.

    Args:
        root: of the export.
        file: its place below.
        options: for the kinds that need them.
        kind: if already known.

    Raises:
        DataError: the file cannot be taken. MissingExtraError: its kind needs an extra.
    """
    path = root / file
    if not path.resolve().is_relative_to(root.resolve()):
        raise DataError(f"{file!r} is a link out of the export's folder", "a file inside it")
    match kind or kind_of(path):
        case "dicom":
            from tapetum.archive.dicom.header import HEADER_KEYWORDS, row_of
            from tapetum.archive.dicom.values import read_header

            ds = read_header(path, HEADER_KEYWORDS)
            yield row_of(ds, file=file, read=functools.partial(Path.read_bytes, path), patient_required=False)
        case "vendor":
            from tapetum.archive.volumes.oct import vendor_rows

            yield from vendor_rows(path, file)
        case "nifti":
            from tapetum.archive.volumes.nifti import nifti_rows

            yield from nifti_rows(path, file, window=options.window)
        case "video":
            from tapetum.archive.volumes.clips import clip_rows

            yield from clip_rows(path, file, every_seconds=options.every_seconds)
        case _:  # what it is, its content says when it is decoded
            yield Row(file=file, row=0, patient_id="", read=functools.partial(Path.read_bytes, path))
