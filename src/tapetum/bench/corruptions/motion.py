"""The camera or the patient moved during the exposure: a blur along a line, up to 22 % of the half side."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from tapetum.bench.altered.photographed import as_the_phantom

__all__ = ["motion"]


def motion(
    image: UInt8[np.ndarray, "h w 3"], *, severity: float, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """The camera or the patient moved during the exposure: a blur along a line, up to 22 % of the half side.

    Args:
        image: RGB.
        severity: 0..1.
        rng: the generator.

    Raises:
        UsageError: a severity out of range.

    Source: motion_blur of MedMNIST-C (arXiv 2406.17536). Differs: any direction, an even path.
    """
    return as_the_phantom(image, "motion", severity, rng)
