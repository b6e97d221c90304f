"""Stored at low quality: 95 down to 3 on the scale of libjpeg."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from tapetum.bench.altered.photographed import as_the_phantom

__all__ = ["jpeg"]


def jpeg(image: UInt8[np.ndarray, "h w 3"], *, severity: float, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Stored at low quality: 95 down to 3 on the scale of libjpeg.

    Args:
        image: RGB.
        severity: 0..1.
        rng: the generator.

    Raises:
        UsageError: a severity out of range.

    Source: jpeg_compression of MedMNIST-C (arXiv 2406.17536). Differs: continuous.
    """
    return as_the_phantom(image, "jpeg", severity, rng)
