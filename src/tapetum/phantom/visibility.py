"""What "gradable" means here, openly: how much of what a good photograph shows can still be seen in a spoilt one.

Both photographs are brought to a field of 256 pixels and filtered to the scales of vessels and lesions, once fine
and once coarse. In every tile of the field the spoilt one is compared with the good one: the part that follows the
good one is signal, the rest is noise, and an eye's own limit is added to the noise. A tile is visible to a reader
where the signal exceeds the noise by the reader's ratio at both scales. A reader calls a photograph gradable where
at least 80 % of the detail lies in visible tiles, and disc and macula are inside the field. Readers differ: a panel
of six, from lenient to strict, votes, and the share of its votes is the truth that a quality model has to predict.
The limits were chosen by looking at phantom pictures; no clinician set them.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from tapetum.core.errors import UsageError
from tapetum.phantom.corruptions import Shot

SIDE = 256
TILES = 8
SHARE = 0.80  # of the detail must stay visible
# Below this a step is lost to a reader at a screen: grey levels, and share of the brightness around it.
LEAST_STEP, LEAST_CONTRAST = 0.6, 0.008
READERS = (0.5, 0.7, 0.9, 1.2, 1.6, 2.1)  # least ratio of signal to noise
SCALES = ((0.8, 3.0), (2.0, 8.0))  # inner and outer Gaussian in pixels of 256
MARGIN = 0.95  # of the field's radius; disc and macula must lie within

Plane = Float32[np.ndarray, "256 256"]
Tiles = Float64[np.ndarray, "8 8"]


def visible_shares(good: Shot, spoilt: Shot) -> tuple[float, ...]:
    """Share of the good photograph's detail that each of `READERS` still sees, 0..1; what the frame cuts off is lost.

    Raises:
        UsageError: the photographs are not of the same size.
    """
    if good.image.shape != spoilt.image.shape:
        raise UsageError(f"photographs of {good.image.shape} and {spoilt.image.shape}", "the same framing")
    inside = cv2.resize(good.field.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    inside = cv2.erode(inside, np.ones((9, 9))) > 0.99
    count = np.maximum(_tiles(inside.astype(np.float32)), 1e-6)
    first, second = _green(good.image), _green(spoilt.image)
    ratio, there = np.full((TILES, TILES), np.inf), np.full((TILES, TILES), np.inf)
    weight = np.zeros((TILES, TILES))
    for inner, outer in SCALES:
        truth, shown = (_band(plane, inner, outer) * inside for plane in (first, second))
        power, mixed, total = _tiles(truth * truth), _tiles(truth * shown), _tiles(shown * shown)
        gain = np.maximum(mixed / np.maximum(power, 1e-9), 0)
        rest = np.maximum(total - 2 * gain * mixed + gain**2 * power, 0) / count
        signal = np.sqrt(power / count)
        ratio = np.minimum(ratio, gain * signal / np.sqrt(rest + _limit(second, inside, count)))
        there = np.minimum(there, signal / np.sqrt(_limit(first, inside, count)))
        weight += signal * count / max(float((signal * count).sum()), 1e-9)
    # What a good photograph does not show to a reader cannot be lost.
    seen = [
        (float((weight * (there >= r)).sum()), float((weight * (np.minimum(ratio, there) >= r)).sum())) for r in READERS
    ]
    return tuple(part / max(whole, 1e-9) * spoilt.kept for whole, part in seen)


def gradable_share(good: Shot, spoilt: Shot) -> float:
    """Share of the readers who call the spoilt photograph gradable, 0..1."""
    if not _well_framed(spoilt):
        return 0.0
    return float(np.mean([share >= SHARE for share in visible_shares(good, spoilt)]))


def _well_framed(shot: Shot) -> bool:
    cx, cy, radius = shot.circle
    rows, columns = shot.field.shape
    return all(
        np.hypot(x - cx, y - cy) <= MARGIN * radius and 0 <= x < columns and 0 <= y < rows
        for x, y in (shot.disc, shot.fovea)
    )


def _limit(plane: Plane, inside: Bool[np.ndarray, "256 256"], count: Tiles) -> Tiles:
    """Square of the least contrast that an eye sees, per tile."""
    return LEAST_STEP**2 + (LEAST_CONTRAST * _tiles(plane * inside) / count) ** 2


def _green(image: UInt8[np.ndarray, "h w 3"]) -> Plane:
    larger = min(image.shape[:2]) > SIDE
    way = cv2.INTER_AREA if larger else cv2.INTER_LINEAR
    return cv2.resize(image[..., 1], (SIDE, SIDE), interpolation=way).astype(np.float32)


def _band(plane: Plane, inner: float, outer: float) -> Plane:
    return cv2.GaussianBlur(plane, (0, 0), inner) - cv2.GaussianBlur(plane, (0, 0), outer)


def _tiles(plane: Plane) -> Tiles:
    step = SIDE // TILES
    return plane.reshape(TILES, step, TILES, step).sum(axis=(1, 3), dtype=np.float64)
