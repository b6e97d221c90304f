"""The texture of a picture: its field of view cut out, vessels and lesions kept, light and camera taken out.

A round disc on black looks like every other round disc on black. So the border goes first (dark, or white as of a
scanned slide), then everything coarser than a vessel, then the local contrast. What is left is kept on 32 × 32 cells,
inside a circle: some 750 numbers.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from tapetum.archive.pixels import shrink

SIDE = 32
SMALLEST_SIDE = 64  # pixels: smaller images have no texture, only their pixels are compared
_DECODED_SIDE = 128
_FINE, _COARSE, _CONTRAST = 0.7, 3.0, 8.0  # standard deviations at 64 × 64: noise, background, neighbourhood
_WHITE = 245
_AXIS = (np.arange(SIDE) + 0.5) / SIDE * 2 - 1
RADIUS = np.hypot(_AXIS[:, None], _AXIS[None, :])
KEPT: Bool[np.ndarray, "32 32"] = RADIUS < 0.97
DIMENSIONS = int(KEPT.sum())


def describe(image: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "d"]:
    """The texture of an image as a unit vector; all zero for an image under 64 pixels or without any texture.

    Args:
        image: RGB, the border of the field included or not.

    Example:
        >>> flat = np.full((64, 64, 3), 90, np.uint8)
        >>> float(np.abs(describe(flat)).max())
        0.0
    """
    if min(image.shape[:2]) < SMALLEST_SIDE:
        return np.zeros(DIMENSIONS, np.float32)
    green = field_of_view(shrink(image, _DECODED_SIDE))[..., 1].astype(np.float32)
    larger = green.shape[0] > 2 * SIDE
    green = cv2.resize(green, (2 * SIDE, 2 * SIDE), interpolation=cv2.INTER_AREA if larger else cv2.INTER_LINEAR)
    band = cv2.GaussianBlur(green, (0, 0), _FINE) - cv2.GaussianBlur(green, (0, 0), _COARSE)
    contrast = np.sqrt(cv2.GaussianBlur(band * band, (0, 0), _CONTRAST))
    # Clipped, so that disc and fovea, which lie alike in most photographs, do not outweigh the vessels.
    even = cv2.resize(np.clip(band / (contrast + 1.0), -1, 1), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    inside = (even[KEPT] - even[KEPT].mean()).astype(np.float32)
    length = float(np.linalg.norm(inside))
    return inside / np.float32(length) if length > 1e-3 else np.zeros_like(inside)


def field_of_view(image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "r c 3"]:
    """The part of the image inside its dark or white border; the whole image where there is none."""
    bright: Bool[np.ndarray, "h w"] = image.max(axis=2) > 0.12 * np.percentile(image, 97)
    bright &= image.min(axis=2) < _WHITE
    rows = np.flatnonzero(bright.mean(axis=1) > 0.03)
    columns = np.flatnonzero(bright.mean(axis=0) > 0.03)
    if rows.size < 8 or columns.size < 8:
        return image
    return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def as_maps(values: Float[np.ndarray, "n d"]) -> Float32[np.ndarray, "n 32 32"]:
    """Textures laid out as squares, zero outside the circle."""
    maps = np.zeros((len(values), SIDE, SIDE), np.float32)
    maps[:, KEPT] = values
    return maps
