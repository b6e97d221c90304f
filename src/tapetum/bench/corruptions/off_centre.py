"""The camera looked the wrong way: everything is moved by up to 35 % of the shorter side, and lost where it leaves."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import UInt8

from tapetum.bench.altered.photographed import border_colour, check_severity

__all__ = ["off_centre"]


def off_centre(
    image: UInt8[np.ndarray, "h w 3"], *, severity: float, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """The camera looked the wrong way: everything is moved by up to 35 % of the shorter side, and lost where it leaves.

    Args:
        image: RGB.
        severity: 0..1.
        rng: the generator.

    Raises:
        UsageError: a severity out of range.

    Source: own; the place that comes into view has the colour of the border.
    """
    check_severity(severity)
    if severity == 0:
        return image.copy()
    angle, away = rng.uniform(0, 2 * np.pi), 0.35 * severity * min(image.shape[:2])
    move = np.array([[1, 0, away * np.cos(angle)], [0, 1, away * np.sin(angle)]], np.float32)
    return np.asarray(
        cv2.warpAffine(
            image, move, image.shape[1::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT,
            borderValue=border_colour(image),
        )
    )  # fmt: skip
