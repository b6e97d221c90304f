"""Videos as rows: a frame every so many seconds, each an image of its own (`clip.mp4#t=3.20`).

Source: decoded by OpenCV's FFmpeg. Differs: frames are counted by their own time stamps, so that a video of variable
frame rate keeps its times.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tapetum.archive.rows import Row
from tapetum.archive.sandbox import apart
from tapetum.core.errors import DataError, UsageError

MAX_FRAMES = 2000
MAX_DECODED = 100_000
MAX_PIXELS = 40_000_000


def clip_rows(path: Path, file: str, *, every_seconds: float = 1.0) -> Iterator[Row]:
    """Frames of a video; it names no patient.

    Args:
        path: of the file.
        file: its place inside the export.
        every_seconds: between two frames taken; above 0.

    Raises:
        DataError: the video does not open, holds no frame, or would give more than 2,000. UsageError: an odd interval.
    """
    if not (math.isfinite(every_seconds) and every_seconds > 0):
        raise UsageError(f"every_seconds={every_seconds}", "a time above 0", "every_seconds=1.0")
    for seconds in apart("tapetum.archive.volumes.clips:times", str(path), float(every_seconds)):
        yield Row(
            file=f"{file}#t={seconds:.2f}", row=0, patient_id="",
            read=functools.partial(_read, path, float(every_seconds), float(seconds)),
        )  # fmt: skip


def times(place: str, every_seconds: float) -> list[float]:
    """The times in seconds of the frames that are taken; runs in a child process.

    Args:
        place: path of the file.
        every_seconds: between two frames.

    Raises:
        DataError: as `clip_rows`.
    """
    found = [seconds for seconds, _ in _taken(Path(place), every_seconds, pixels=False)]
    if not found:
        raise DataError("the video holds no frame that decodes", "a whole, undamaged video")
    return found


def frame(place: str, every_seconds: float, seconds: float) -> bytes:
    """One frame as PNG; runs in a child process.

    Args:
        place: path of the file.
        every_seconds: as for `times`.
        seconds: one of the times.

    Raises:
        DataError: there is no such frame.
    """
    for time, image in _taken(Path(place), every_seconds, pixels=True):
        if abs(time - seconds) < 1e-6 and image is not None:
            done, packed = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 3])
            if done:
                return packed.tobytes()
    raise DataError(f"no frame at {seconds:.2f} s", "the video as it was listed")


def _read(path: Path, every_seconds: float, seconds: float) -> bytes:
    return apart("tapetum.archive.volumes.clips:frame", str(path), every_seconds, seconds)


def _taken(path: Path, every_seconds: float, *, pixels: bool) -> Iterator[tuple[float, Any]]:
    clip = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        if not clip.isOpened():
            raise DataError("the video does not open", "a video that FFmpeg reads (.mp4, .avi, .mov)")
        width, height = clip.get(cv2.CAP_PROP_FRAME_WIDTH), clip.get(cv2.CAP_PROP_FRAME_HEIGHT)
        if not 0 < width * height <= MAX_PIXELS:
            raise DataError(f"frames of {width:g} × {height:g} pixels", f"1 to {MAX_PIXELS:,} pixels")
        due, count, last = 0.0, 0, -1.0
        for _ in range(MAX_DECODED):
            if not clip.grab():
                return
            seconds = clip.get(cv2.CAP_PROP_POS_MSEC) / 1000.0
            if seconds + 1e-9 < due or seconds <= last:
                continue
            done, image = clip.retrieve() if pixels else (True, None)
            if not done:
                continue
            if count >= MAX_FRAMES:
                raise DataError(f"more than {MAX_FRAMES} frames", "a longer every_seconds or a shorter video")
            yield round(seconds, 6), None if image is None else np.asarray(image)
            due, last, count = (
                due + every_seconds * (1 + math.floor((seconds - due) / every_seconds)),
                seconds,
                count + 1,
            )
        raise DataError(f"more than {MAX_DECODED:,} frames in the video", "a shorter video")
    finally:
        clip.release()
