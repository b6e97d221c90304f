"""Where the field of view of a fundus photograph lies, and whether anything but noise stands outside it.

The rim must be part of an ellipse whose axes lie along the image's (a circle, or one in an image that was resized
unevenly); anything else is no field of view. Straight edges and notches bound it as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float64, UInt8

_SIDE = 160
# All as parts of the radius. An opening of this size takes lettering off that touches the rim.
_OPENING = 0.06
# Light falls off over a few pixels beyond the rim, and compression rings; further out nothing may stand.
_MARGIN = 0.02
_BEYOND = 0.06
_ROUND = 0.02
_LEAST_ARC_DEGREES = 80
_LEAST_RADIUS = 0.28
_OVAL = 1.45
_NEARLY_ROUND = 1.08
_NOISE_FLOOR = 20
_LEAST_MARK = 3


@dataclass(frozen=True)
class Field:
    """A field of view, in parts of the image's width and height.

    Attributes:
        centre, radii: of the ellipse, (x, y). hull: corners of the field's convex hull.
        background: RGB outside. marked: whether more than noise stands outside.
    """

    centre: tuple[float, float]
    radii: tuple[float, float]
    hull: Float64[np.ndarray, "n 2"]
    background: tuple[int, int, int] = (0, 0, 0)
    marked: bool = False

    def inside(self, width: int, height: int, margin: float = _MARGIN) -> Bool[np.ndarray, "h w"]:
        """What lies inside, for the image at this size; `margin` as part of the radius."""
        size = np.array([width, height], np.float64)
        centre, radii = np.array(self.centre) * size, np.array(self.radii) * size * (1 + margin)
        # Row by row from where to where, in whole columns: comparing small integers is what costs least.
        rows = ((np.arange(height) + 0.5 - centre[1]) / radii[1]) ** 2
        half = np.where(rows <= 1, radii[0] * np.sqrt(np.maximum(1 - rows, 0)), -1.0)
        whole = np.int16 if width < 2**15 - 1 else np.int32
        first = np.ceil(np.clip(centre[0] - half, -1, width + 1) - 0.5).astype(whole)[:, None]
        last = np.floor(np.clip(centre[0] + half, -1, width + 1) - 0.5).astype(whole)[:, None]
        columns = np.arange(width, dtype=whole)[None, :]
        round_part = (columns >= first) & (columns <= last)
        corners = (self.hull * size - centre) * (1 + margin) + centre
        # A field that the image's border cuts off goes on to the border.
        reach = np.array([width, height]) * 0.02
        corners = np.where(corners < reach, corners - 2 * reach, corners)
        corners = np.where(corners > size - reach, corners + 2 * reach, corners)
        drawn = cv2.fillConvexPoly(np.zeros((height, width), np.uint8), np.rint(corners - 0.5).astype(np.int32), 1)
        return round_part & (drawn > 0)


def find_field(seen: UInt8[np.ndarray, "h w 3"], *, oval: bool = False) -> Field | None:
    """Find the round field of view of a photograph.

    Args:
        seen: the photograph at about 512 pixels.
        oval: also accept an ellipse of up to 1.45 : 1, for what is known to be a fundus photograph; a head is oval.

    Returns:
        The field, or `None` where no rim with a plain background around it is seen.
    """
    height, width = seen.shape[:2]
    scale = _SIDE / min(height, width)
    if min(height, width) < 48 or max(height, width) > 4 * min(height, width):
        return None
    size = (round(width * scale), round(height * scale))
    # Halved first where there is enough: by a whole number the same average costs a tenth.
    half = cv2.resize(seen, (width // 2, height // 2), interpolation=cv2.INTER_AREA) if scale <= 0.45 else seen
    small = cv2.resize(half, size, interpolation=cv2.INTER_AREA) if scale < 1 else seen
    level = _brightest(small)
    corners = np.concatenate([level[y, x].ravel() for y in _ends(level.shape[0]) for x in _ends(level.shape[1])])
    if np.median(corners) > 200:  # a white surround
        level = _brightest(255 - small)
        corners = np.concatenate([level[y, x].ravel() for y in _ends(level.shape[0]) for x in _ends(level.shape[1])])
    dark, bright = float(np.percentile(corners, 25)), float(np.percentile(level, 90))
    if bright - dark < 24:
        return None
    region = _largest((level > dark + max(14, 0.15 * (bright - dark))).astype(np.uint8))
    found = None if region is None else _ellipse(region, _OVAL if oval else _NEARLY_ROUND)
    return None if found is None else _judged(seen, small, found)


def _ends(length: int) -> tuple[slice, slice]:
    side = max(2, length // 32)
    return slice(0, side), slice(length - side, length)


def _largest(bright: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"] | None:
    """The largest bright part without holes and without what hangs on its rim."""
    radius = max(2, round(_OPENING * min(bright.shape) / 2))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    # The border is repeated so that a field which it cuts is not eaten away from there.
    edge = 2 * radius
    padded = cv2.copyMakeBorder(bright, edge, edge, edge, edge, cv2.BORDER_REPLICATE)
    contours, _ = cv2.findContours(padded, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(np.zeros_like(padded), contours, -1, 1, cv2.FILLED)
    opened = cv2.morphologyEx(filled, cv2.MORPH_OPEN, disc)[edge:-edge, edge:-edge]
    count, labels, stats, _ = cv2.connectedComponentsWithStats(np.ascontiguousarray(opened))
    if count < 2:
        return None
    best = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    return (labels == best).astype(np.uint8)


def _ellipse(region: UInt8[np.ndarray, "h w"], oval: float) -> Field | None:
    """The rim's ellipse, by least squares and again without what is no rim: notches, a straight edge."""
    height, width = region.shape
    contours, _ = cv2.findContours(region, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    rim = max(contours, key=len)[:, 0, :].astype(np.float64) + 0.5
    free = rim[(rim[:, 0] > 2) & (rim[:, 0] < width - 2) & (rim[:, 1] > 2) & (rim[:, 1] < height - 2)]
    near, x, y, a, b = free, 0.0, 0.0, 1.0, 1.0
    for _ in range(5):
        if len(near) < 40:
            return None
        # x² + k y² + p x + q y + r = 0
        matrix = np.column_stack([near[:, 1] ** 2, near, np.ones(len(near))])
        (k, p, q, r), *_ = np.linalg.lstsq(matrix, -(near[:, 0] ** 2), rcond=None)
        if k <= 0:
            return None
        x, y = -p / 2, -q / (2 * k)
        square = x * x + k * y * y - r
        if square <= 0:
            return None
        a, b = float(np.sqrt(square)), float(np.sqrt(square / k))
        off = np.abs(np.hypot((free[:, 0] - x) / a, (free[:, 1] - y) / b) - 1)
        before, near = near, free[off <= max(_ROUND, 1.5 / a)]
        if len(near) == len(before) and np.array_equal(near, before):
            break
    angles = np.unique((np.arctan2((near[:, 1] - y) / b, (near[:, 0] - x) / a) * 180 / np.pi).astype(int))
    small, large = sorted((a, b))
    fits = large <= oval * small and len(near) >= 0.55 * len(free) and len(angles) >= _LEAST_ARC_DEGREES
    if not fits or min(a, b) < _LEAST_RADIUS * min(height, width) or not (0 < x < width and 0 < y < height):
        return None
    hull = cv2.convexHull(np.concatenate(contours))[:, 0, :].astype(np.float64) + 0.5
    return Field((x / width, y / height), (a / width, b / height), hull / np.array([width, height]))


def _judged(seen: UInt8[np.ndarray, "h w 3"], small: UInt8[np.ndarray, "r c 3"], found: Field) -> Field | None:
    """The field with what lies around it; `None` where nothing does."""
    height, width = seen.shape[:2]
    outside = ~found.inside(width, height, _BEYOND)
    if np.count_nonzero(outside) < 0.005 * outside.size:
        return Field(found.centre, found.radii, found.hull)
    mask = outside.astype(np.uint8)
    # The background's colour from the small image, its noise from the large one.
    around = (~found.inside(small.shape[1], small.shape[0], _BEYOND)).astype(np.uint8)
    plain = [_median(small, channel, around) for channel in range(3)]
    shade: Any = (plain[0], plain[1], plain[2], 0)  # OpenCV's scalar, which its stubs do not know here
    away = _brightest(np.asarray(cv2.absdiff(seen, shade)))
    spread = 1.4826 * _median(away[..., None], 0, mask)
    marks = cv2.countNonZero(cv2.bitwise_and((away > max(_NOISE_FLOOR, 6 * spread)).view(np.uint8), mask))
    background = (plain[0], plain[1], plain[2])
    return Field(found.centre, found.radii, found.hull, background, marks >= _LEAST_MARK)


def _brightest(image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w"]:
    """The largest of the three channels; much faster than numpy's over so short an axis."""
    red, green, blue = cv2.split(image)
    return np.asarray(cv2.max(cv2.max(red, green), blue))


def _median(image: UInt8[np.ndarray, "h w c"], channel: int, mask: UInt8[np.ndarray, "h w"]) -> int:
    """The median under a mask, from a histogram."""
    counts = cv2.calcHist([image], [channel], mask, [256], [0, 256]).ravel().cumsum()
    return int(np.searchsorted(counts, counts[-1] / 2))
