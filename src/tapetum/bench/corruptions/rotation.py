"""The patient was not straight: turned by up to 30 degrees to either side."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import UInt8

from tapetum.bench.altered.photographed import border_colour, check_severity

__all__ = ["rotation"]


def rotation(
    image: UInt8[np.ndarray, "h w 3"], *, severity: float, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """The patient was not straight: turned by up to 30 degrees to either side.

    Args:
        image: RGB.
        severity: 0..1.
        rng: the generator.

    Raises:
        UsageError: a severity out of range.

    Source: own; corners that come into view have the colour of the border.
    """
    check_severity(severity)
    if severity == 0:
        return image.copy()
    angle = 30 * severity * (1 if rng.random() < 0.5 else -1)
    middle = (image.shape[1] / 2 - 0.5, image.shape[0] / 2 - 0.5)
    return np.asarray(
        cv2.warpAffine(
            image, cv2.getRotationMatrix2D(middle, angle, 1.0), image.shape[1::-1], flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT, borderValue=border_colour(image),
        )
    )  # fmt: skip
