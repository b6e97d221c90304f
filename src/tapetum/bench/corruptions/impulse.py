"""Pixels that are white or black, up to a quarter of them."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from tapetum.bench.altered.photographed import check_severity

__all__ = ["impulse"]


def impulse(
    image: UInt8[np.ndarray, "h w 3"], *, severity: float, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """Pixels that are white or black, up to a quarter of them.

    Args:
        image: RGB.
        severity: 0..1.
        rng: the generator.

    Raises:
        UsageError: a severity out of range.

    Source: impulse_noise of MedMNIST-C (arXiv 2406.17536). Differs: continuous.
    """
    check_severity(severity)
    if severity == 0:
        return image.copy()
    place, spoilt = rng.random(image.shape[:2]), image.copy()
    spoilt[place < 0.125 * severity] = 0
    spoilt[place > 1 - 0.125 * severity] = 255
    return spoilt
