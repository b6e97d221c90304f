"""Dark hairs lie over the skin, up to twenty-four."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import UInt8

from tapetum.bench.altered.photographed import check_severity, image_of, light_of

__all__ = ["hair"]


def hair(image: UInt8[np.ndarray, "h w 3"], *, severity: float, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Dark hairs lie over the skin, up to twenty-four.

    Args:
        image: RGB.
        severity: 0..1.
        rng: the generator.

    Raises:
        UsageError: a severity out of range.

    Source: own, after hair in dermatoscopy.
    """
    check_severity(severity)
    if severity == 0:
        return image.copy()
    rows, columns = image.shape[:2]
    side, layer = min(rows, columns), np.zeros((rows, columns), np.float32)
    hairs = rng.random((24, 4))
    t = np.linspace(0, 1, 16)
    for across, down, turn, bend in hairs[: round(24 * severity)]:
        angle, length = 2 * np.pi * turn, 0.7 * side
        bent = angle + (bend - 0.5) * 2 * t
        x = across * columns + np.cumsum(np.cos(bent)) * length / 16
        y = down * rows + np.cumsum(np.sin(bent)) * length / 16
        points = np.stack([x, y], axis=1).round().astype(np.int32)
        cv2.polylines(layer, [points], False, 1.0, max(1, round(0.012 * side)), cv2.LINE_AA)
    tone = np.array([0.14, 0.09, 0.07], np.float32)
    return image_of(light_of(image) * (1 - layer[..., None]) + tone * layer[..., None])
