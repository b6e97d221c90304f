"""Sensor noise: normal, as coarse as one or two pixels."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from tapetum.bench.altered.photographed import as_the_phantom

__all__ = ["noise"]


def noise(
    image: UInt8[np.ndarray, "h w 3"], *, severity: float, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """Sensor noise: normal, as coarse as one or two pixels.

    Args:
        image: RGB.
        severity: 0..1.
        rng: the generator.

    Raises:
        UsageError: a severity out of range.

    Source: gaussian_noise of MedMNIST-C (arXiv 2406.17536). Differs: neighbouring pixels may share it, as in
    interpolated sensors.
    """
    return as_the_phantom(image, "noise", severity, rng)
