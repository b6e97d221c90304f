"""Which eye: what tag, table, file name, report and the side of the optic disc say, checked against each other.

A value comes only from what the clinic wrote (tag or table, else an unmistakable file name). Report and disc can
contradict it, which sends the image to quarantine; they never supply it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from tapetum.core.types import Laterality

# The working width of the field of view, in pixels: vessels are still seen, and it costs two milliseconds.
_WIDTH = 128
# Chosen on every second of 4,023 public fundus photographs whose eye is known: none of the 1,034 that pass
# contradicts it. recipes/measures/laterality.py measures the other half.
MARGIN = 3.0
NEAREST, FARTHEST, HIGHEST = 0.25, 0.85, 0.40
_NAMED = {
    Laterality.RIGHT: r"od|re|right|r|rechts|ojo_derecho",
    Laterality.LEFT: r"os|le|left|l|oi|links|ojo_izquierdo",
}
_IN_NAME = {
    eye: re.compile(rf"(?:^|[_\-. ])(?:{words})(?=$|[_\-. ]|\d)", re.IGNORECASE) for eye, words in _NAMED.items()
}


@dataclass(frozen=True)
class Disc:
    """The brightest disc-like place of a fundus photograph.

    Attributes:
        x, y: from the middle of the field, in field radii; x to the image's right, y downwards.
        margin: how far it stands out before the second-best place, in standard deviations of the score; NaN where
            there is no field to look at.
    """

    x: float
    y: float
    margin: float

    @property
    def side(self) -> Laterality:
        """The eye that has its disc there, unknown where the place is doubtful or too near the middle."""
        sure = self.margin > MARGIN and NEAREST < abs(self.x) < FARTHEST and abs(self.y) < HIGHEST
        if not sure:
            return Laterality.UNKNOWN
        return Laterality.RIGHT if self.x > 0 else Laterality.LEFT


def find_disc(image: UInt8[np.ndarray, "h w 3"]) -> Disc:
    """Look for the optic disc by brightness and vessels.

    Args:
        image: a colour fundus photograph, RGB, any size; not mirrored, macula or disc in the field.

    Returns:
        The best place with its margin; nothing is known of images that are no fundus photographs.
    """
    field = _field(image)
    if field is None:
        return Disc(math.nan, math.nan, math.nan)
    small, inside = field
    score = np.where(inside, _likeness(small, inside), -9.0)
    row, column = np.unravel_index(int(score.argmax()), score.shape)
    radius, middle = _WIDTH / 2, (score.shape[0] / 2, score.shape[1] / 2)
    x, y = np.arange(score.shape[1])[None, :] - column, np.arange(score.shape[0])[:, None] - row
    far = inside & (x**2 + y**2 > (0.32 * radius) ** 2)
    margin = float(score[row, column] - score[far].max()) if far.any() else math.nan
    return Disc(float(column + 0.5 - middle[1]) / radius, float(row + 0.5 - middle[0]) / radius, margin)


def of_file_name(file: str) -> Laterality:
    """The eye that a file's name spells out, unknown where it names none or both; folders are not read.

    Example:
        >>> of_file_name("2021/0042_OD_1.jpg").value, of_file_name("border.jpg").value
        ('OD', 'unknown')
    """
    stem = PurePosixPath(file.partition("#")[0]).stem
    named = [eye for eye, pattern in _IN_NAME.items() if pattern.search(stem)]
    return named[0] if len(named) == 1 else Laterality.UNKNOWN


def conflict(claimed: Laterality, evidence: Mapping[str, Laterality]) -> str:
    """Why an image's eye cannot be believed, or an empty text.

    Args:
        claimed: what tag or table say.
        evidence: what else speaks of it, by name, for example `{"file name": …, "side of the disc": …}`.

    Returns:
        A sentence for the quarantine; empty where nothing contradicts, or where nothing was claimed and the evidence
        agrees.

    Example:
        >>> conflict(Laterality.RIGHT, {"file name": Laterality.LEFT})
        'which eye? the record says OD, the file name says OS'
    """
    one_eye = (Laterality.RIGHT, Laterality.LEFT)
    said = {"record": claimed} if claimed in one_eye else {}
    said |= {name: eye for name, eye in evidence.items() if eye in one_eye}
    if len(set(said.values())) < 2 or claimed is Laterality.BOTH or claimed is Laterality.NOT_PAIRED:
        return ""
    return "which eye? " + ", ".join(f"the {name} says {eye.value}" for name, eye in said.items())


def _field(image: UInt8[np.ndarray, "h w 3"]) -> tuple[Float32[np.ndarray, "r c 3"], np.ndarray] | None:
    """The field of view at a fixed width, and where inside it a disc can lie."""
    coarse = _fitted(image, 2 * _WIDTH)
    bright = _brightest(coarse)
    # The brightness that 3 % of the pixels exceed, by counting.
    counts = np.cumsum(np.bincount(bright.ravel(), minlength=256))
    seen = bright > max(12.0, 0.12 * float(np.searchsorted(counts, 0.97 * counts[-1])))
    rows, columns = np.flatnonzero(seen.mean(axis=1) > 0.03), np.flatnonzero(seen.mean(axis=0) > 0.03)
    if rows.size < 16 or columns.size < 16:
        return None
    crop = np.ascontiguousarray(coarse[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    small = _fitted(crop, _WIDTH, enlarge=True).astype(np.float32)
    height, width = small.shape[:2]
    across = (np.arange(width, dtype=np.float32) + 0.5 - width / 2)[None, :]
    down = (np.arange(height, dtype=np.float32) + 0.5 - height / 2)[:, None]
    inside = (across**2 + down**2 < (0.9 * _WIDTH / 2) ** 2) & (_brightest(small) > 15)
    return (small, inside) if inside.sum() > 100 else None


def _brightest(image: np.ndarray) -> np.ndarray:
    """The largest of the three channels; numpy's own maximum along a short last axis takes ten times as long."""
    return np.maximum(np.maximum(image[..., 0], image[..., 1]), image[..., 2])


def _fitted(image: UInt8[np.ndarray, "h w 3"], longest: int, *, enlarge: bool = False) -> UInt8[np.ndarray, "r c 3"]:
    scale = longest / max(image.shape[:2])
    if scale >= 1 and not enlarge:
        return image
    size = (max(16, round(image.shape[1] * scale)), max(16, round(image.shape[0] * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)


def _likeness(small: Float32[np.ndarray, "r c 3"], inside: np.ndarray) -> Float32[np.ndarray, "r c"]:
    """How much each place looks like a disc: brighter than its surroundings, with vessels gathering on it."""
    mask = (_brightest(small) > 15).astype(np.float32)

    def blurred(plane: np.ndarray, sigma: float) -> np.ndarray:
        size = 2 * int(2 * sigma) + 1  # two standard deviations: what lies further off weighs too little to matter
        weight = np.maximum(cv2.GaussianBlur(mask, (size, size), sigma), 1e-3)
        return cv2.GaussianBlur(plane * mask, (size, size), sigma) / weight

    light = 0.4 * small[..., 0] + 0.6 * small[..., 1]
    around = blurred(light, 14)
    bright = (blurred(light, 3) - around) / (around + 10)
    green = small[..., 1]
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))
    dark_lines = cv2.morphologyEx(cv2.GaussianBlur(green, (0, 0), 0.6), cv2.MORPH_BLACKHAT, kernel)
    vessels = blurred(dark_lines / (blurred(green, 6) + 10) * inside, 6)
    return _standard(bright, inside) + 0.7 * _standard(vessels, inside)


def _standard(plane: np.ndarray, inside: np.ndarray) -> np.ndarray:
    values = plane[inside]
    return (plane - values.mean()) / (values.std() + 1e-6)
