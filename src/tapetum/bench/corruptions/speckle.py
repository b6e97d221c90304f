"""Noise that grows with the signal, as interference makes it in OCT and ultrasound."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from tapetum.bench.altered.photographed import as_the_phantom

__all__ = ["speckle"]


def speckle(
    image: UInt8[np.ndarray, "h w 3"], *, severity: float, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """Noise that grows with the signal, as interference makes it in OCT and ultrasound.

    Args:
        image: RGB.
        severity: 0..1.
        rng: the generator.

    Raises:
        UsageError: a severity out of range.

    Source: speckle_noise of MedMNIST-C (arXiv 2406.17536). Differs: continuous.
    """
    return as_the_phantom(image, "speckle", severity, rng)
