"""A surgeon's violet pen mark around a part of the middle, longer and broader."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import UInt8

from tapetum.bench.altered.photographed import check_severity, image_of, light_of

__all__ = ["ink"]


def ink(image: UInt8[np.ndarray, "h w 3"], *, severity: float, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """A surgeon's violet pen mark around a part of the middle, longer and broader.

    Args:
        image: RGB.
        severity: 0..1.
        rng: the generator.

    Raises:
        UsageError: a severity out of range.

    Source: own, after pen marks in dermatoscopy (Winkler et al., JAMA Dermatology 2019, on their effect).
    """
    check_severity(severity)
    if severity == 0:
        return image.copy()
    rows, columns = image.shape[:2]
    side, layer = min(rows, columns), np.zeros((rows, columns), np.float32)
    start, size = rng.uniform(0, 360), rng.uniform(0.32, 0.4) * side
    centre, axes = (round(columns / 2), round(rows / 2)), (round(size), round(0.9 * size))
    thick = max(1, round((0.02 + 0.08 * severity) * side))
    cv2.ellipse(layer, centre, axes, 0, start, start + 300 * severity, 1.0, thick, cv2.LINE_AA)
    layer *= np.float32(0.85 * min(1.0, 2 * severity))
    tone = np.array([0.36, 0.16, 0.55], np.float32)
    return image_of(light_of(image) * (1 - layer[..., None]) + tone * layer[..., None])
