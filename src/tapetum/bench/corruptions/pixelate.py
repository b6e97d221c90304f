"""Stored with too few pixels, shown in blocks."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from tapetum.bench.altered.photographed import as_the_phantom

__all__ = ["pixelate"]


def pixelate(
    image: UInt8[np.ndarray, "h w 3"], *, severity: float, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """Stored with too few pixels, shown in blocks.

    Args:
        image: RGB.
        severity: 0..1.
        rng: the generator.

    Raises:
        UsageError: a severity out of range.

    Source: pixelate of MedMNIST-C (arXiv 2406.17536). Differs: pixels per half side, 64 down to 4.
    """
    return as_the_phantom(image, "pixelate", severity, rng)
