"""Another white balance: each colour is multiplied by 0.5 to 1.5 at most."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from tapetum.bench.altered.photographed import as_the_phantom

__all__ = ["cast"]


def cast(image: UInt8[np.ndarray, "h w 3"], *, severity: float, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Another white balance: each colour is multiplied by 0.5 to 1.5 at most.

    Args:
        image: RGB.
        severity: 0..1.
        rng: the generator.

    Raises:
        UsageError: a severity out of range.

    Source: own; see `phantom/corruptions.py`.
    """
    return as_the_phantom(image, "cast", severity, rng, inside=True)
