"""Too little light, with the noise that comes of it."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from tapetum.bench.altered.photographed import as_the_phantom

__all__ = ["dark"]


def dark(image: UInt8[np.ndarray, "h w 3"], *, severity: float, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Too little light, with the noise that comes of it.

    Args:
        image: RGB.
        severity: 0..1.
        rng: the generator.

    Raises:
        UsageError: a severity out of range.

    Source: brightness_down of MedMNIST-C (arXiv 2406.17536). Differs: light is multiplied; the surround stays
    as it is.
    """
    return as_the_phantom(image, "dark", severity, rng, inside=True)
