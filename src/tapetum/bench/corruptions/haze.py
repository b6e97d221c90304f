"""A cloudy lens or vitreous: its scattered light lies unevenly over the retina."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from tapetum.bench.altered.photographed import as_the_phantom

__all__ = ["haze"]


def haze(image: UInt8[np.ndarray, "h w 3"], *, severity: float, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """A cloudy lens or vitreous: its scattered light lies unevenly over the retina.

    Args:
        image: RGB.
        severity: 0..1.
        rng: the generator.

    Raises:
        UsageError: a severity out of range.

    Source: own, after the physics of a cataract; see `phantom/corruptions.py`.
    """
    return as_the_phantom(image, "haze", severity, rng, inside=True)
