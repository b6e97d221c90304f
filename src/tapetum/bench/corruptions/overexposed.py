"""Too much light around one place."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from tapetum.bench.altered.photographed import as_the_phantom

__all__ = ["overexposed"]


def overexposed(
    image: UInt8[np.ndarray, "h w 3"], *, severity: float, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """Too much light around one place.

    Args:
        image: RGB.
        severity: 0..1.
        rng: the generator.

    Raises:
        UsageError: a severity out of range.

    Source: own; brightness_up of MedMNIST-C (arXiv 2406.17536) is even.
    """
    return as_the_phantom(image, "overexposed", severity, rng, inside=True)
