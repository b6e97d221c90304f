"""The field of view of a fundus photograph, found and brought to one size, so that features do not know the image's."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

SIDE = 256  # of the normal view; the field's circle touches it
_SEARCHED = 144  # longer side of the copy in which the field is searched, pixels
_LEAST_STEP = 2.5  # grey levels between surround and field

Plane = Float32[np.ndarray, "h w"]


@dataclass(frozen=True)
class Field:
    """A field of view.

    Attributes:
        x, y: its centre in pixels of the image; the whole image's where no field was found.
        radius_x, radius_y: half axes in pixels; they differ where an image was squeezed, as in many public sets.
        found: whether there is a surround and a round border. misfit: spread of the border about the ellipse, in radii.
        step: grey levels between surround and field. surround: brightness of the surround.
    """

    x: float
    y: float
    radius_x: float
    radius_y: float
    found: bool
    misfit: float
    step: float
    surround: float


def find_field(image: UInt8[np.ndarray, "h w 3"]) -> Field:
    """The circle (squeezed: ellipse) that the camera exposed.

    Where fog has lit the surround the search goes by colour: a surround is grey, a retina is red.

    Example:
        >>> y, x = np.mgrid[:200, :200]
        >>> disc = ((x - 90) ** 2 + (y - 100) ** 2 <= 80**2)[..., None] * np.array([150, 80, 40])
        >>> found = find_field(disc.astype(np.uint8))
        >>> found.found, round(found.x), round(found.y), round(found.radius_x)
        (True, 90, 100, 80)
    """
    rows, columns = image.shape[:2]
    scale = min(1.0, _SEARCHED / max(rows, columns))
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR) if scale < 1 else image
    bright = small.max(axis=2).astype(np.float32)
    best = _circle(bright)
    if not best.found:
        red = np.maximum(small[..., 0].astype(np.float32) - small[..., 2], 0)
        by_colour = _circle(cv2.GaussianBlur(red, (0, 0), 2.0))
        best = by_colour if by_colour.found else best
    ratio_x, ratio_y = columns / small.shape[1], rows / small.shape[0]
    x, y = (best.x + 0.5) * ratio_x - 0.5, (best.y + 0.5) * ratio_y - 0.5
    radii = best.radius_x * ratio_x, best.radius_y * ratio_y
    return Field(x, y, *radii, best.found, best.misfit, best.step, best.surround)


def normal_view(
    image: UInt8[np.ndarray, "h w 3"], field: Field
) -> tuple[UInt8[np.ndarray, "s s 3"], Bool[np.ndarray, "s s"]]:
    """The field at `SIDE` × `SIDE` pixels, and which of them the image holds (inside the circle, inside the frame)."""
    rows, columns = image.shape[:2]
    wide, high = max(8, round(2 * field.radius_x)), max(8, round(2 * field.radius_y))
    left, top = round(field.x - wide / 2 + 0.5), round(field.y - high / 2 + 0.5)
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + wide, columns), min(top + high, rows)
    part = image[y0:y1, x0:x1]
    missing = (y0 - top, top + high - y1, x0 - left, left + wide - x1)
    if any(missing):
        part = cv2.copyMakeBorder(part, *missing, cv2.BORDER_REPLICATE)
    view = cv2.resize(part, (SIDE, SIDE), interpolation=cv2.INTER_AREA if min(wide, high) > SIDE else cv2.INTER_CUBIC)
    inside = _disc().copy()
    above, below, before, after = (
        int(np.ceil(n * SIDE / side)) for n, side in zip(missing, (high, high, wide, wide), strict=True)
    )
    inside[:above] = inside[SIDE - below :] = False
    inside[:, :before] = inside[:, SIDE - after :] = False
    return np.asarray(view), inside


@functools.cache
def _disc() -> Bool[np.ndarray, "s s"]:
    axis = (np.arange(SIDE) + 0.5) / SIDE * 2 - 1
    return np.hypot(axis[:, None], axis[None, :]) <= 1.0


def _circle(plane: Plane) -> Field:
    """Field in a plane that is brighter inside it than in the corners."""
    rows, columns = plane.shape
    size = max(2, round(0.05 * min(rows, columns)))
    corners = [plane[a, b] for a in (np.s_[:size], np.s_[-size:]) for b in (np.s_[:size], np.s_[-size:])]
    levels = np.array([np.median(c) for c in corners])
    surround = float(np.sort(levels)[:2].mean())
    step = float(np.sort(plane[::2, ::2], axis=None)[int(0.85 * plane[::2, ::2].size)]) - surround
    whole = Field((columns - 1) / 2, (rows - 1) / 2, columns / 2, rows / 2, False, 1.0, step, surround)
    if step < _LEAST_STEP:
        return whole
    # The second, lower level is for fields that fade into the dark, and for two photographs joined into one.
    for level, spread in ((max(0.22 * step, 1.5), 0.035), (max(0.08 * step, 1.5), 0.08)):
        lit = plane > surround + level
        points = _border(lit)
        if len(points) < 24:
            continue
        x, y, radius_x, radius_y, misfit = _fit(points)
        short, long = min(radius_x, radius_y), max(radius_x, radius_y)
        fits = misfit < spread and 0.25 * min(rows, columns) < short and long < 0.9 * max(rows, columns)
        if fits and _area_share(lit, x, y, radius_x, radius_y) > 0.35:
            return Field(x, y, radius_x, radius_y, True, misfit, step, surround)
    return whole


def _border(lit: Bool[np.ndarray, "h w"]) -> Float64[np.ndarray, "n 2"]:
    """First and last lit pixel of each row and column, those on the frame left out."""
    found: list[Float64[np.ndarray, "n 2"]] = []
    for plane, flip in ((lit, False), (lit.T, True)):
        length = plane.shape[1]
        lines = np.flatnonzero(plane.sum(axis=1) > 0.04 * length)
        first, last = plane[lines].argmax(axis=1), length - 1 - plane[lines][:, ::-1].argmax(axis=1)
        for ends, half in ((first, -0.5), (last, 0.5)):
            inner = (ends > 1) & (ends < length - 2)
            pair = np.stack([ends[inner] + half, lines[inner].astype(np.float64)], axis=1)
            found.append(pair[:, ::-1] if flip else pair)
    return np.concatenate(found)


def _fit(points: Float64[np.ndarray, "n 2"]) -> tuple[float, float, float, float, float]:
    """Centre, half axes and misfit: a circle, or an ellipse along the axes where that fits twice as well."""
    circle, ellipse = _rounds(points, squeezed=False), _rounds(points, squeezed=True)
    oblong = 0.6 < ellipse[2] / max(ellipse[3], 1e-6) < 1.67
    return ellipse if oblong and ellipse[4] < 0.5 * circle[4] and circle[4] > 0.008 else circle


def _rounds(points: Float64[np.ndarray, "n 2"], *, squeezed: bool) -> tuple[float, float, float, float, float]:
    """Least squares with the worst points left out in three rounds; the misfit is a high percentile over all points."""
    kept = points
    x = y = radius_x = radius_y = 1.0
    away = np.zeros(len(points))
    for _ in range(4):
        columns = [2 * kept[:, 0], 2 * kept[:, 1], np.ones(len(kept))]
        if squeezed:
            design = np.column_stack([*columns, -(kept[:, 1] ** 2)])
            a, b, c, k = np.linalg.lstsq(design, kept[:, 0] ** 2, rcond=None)[0]
            k = max(float(k), 1e-3)
        else:
            a, b, c = np.linalg.lstsq(np.column_stack(columns), (kept**2).sum(axis=1), rcond=None)[0]
            k = 1.0
        x, y = float(a), float(b) / k
        radius_x = float(np.sqrt(max(float(c) + x * x + k * y * y, 1e-6)))
        radius_y = radius_x / float(np.sqrt(k))
        away = np.abs(np.hypot((points[:, 0] - x) / radius_x, (points[:, 1] - y) / radius_y) - 1)
        kept = points[away <= max(2.5 * float(np.median(away)), 0.008)]
    return x, y, radius_x, radius_y, float(np.percentile(away, 70))


def _area_share(lit: Bool[np.ndarray, "h w"], x: float, y: float, radius_x: float, radius_y: float) -> float:
    """Share of the field, as far as it lies in the frame, that is lit; 0 where much is lit outside it."""
    rows, columns = lit.shape
    across, down = (np.arange(columns) - x) / radius_x, (np.arange(rows) - y) / radius_y
    away = across[None, :] ** 2 + down[:, None] ** 2
    outside = away > 1.06**2
    if outside.sum() < 0.01 * lit.size or lit[outside].mean() > 0.25:
        return 0.0
    return float(lit[away < 0.97**2].mean())
