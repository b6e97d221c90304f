"""Spots on the lens, bright and dark, at the same distance from the sensor."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from tapetum.bench.altered.photographed import as_the_phantom

__all__ = ["dust"]


def dust(image: UInt8[np.ndarray, "h w 3"], *, severity: float, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Spots on the lens, bright and dark, at the same distance from the sensor.

    Args:
        image: RGB.
        severity: 0..1.
        rng: the generator.

    Raises:
        UsageError: a severity out of range.

    Source: own; see `phantom/corruptions.py`.
    """
    return as_the_phantom(image, "dust", severity, rng, inside=True)
