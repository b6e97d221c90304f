"""Everything moves towards the mean colour of the field, up to 93 %."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from tapetum.bench.altered.photographed import as_the_phantom

__all__ = ["low_contrast"]


def low_contrast(
    image: UInt8[np.ndarray, "h w 3"], *, severity: float, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """Everything moves towards the mean colour of the field, up to 93 %.

    Args:
        image: RGB.
        severity: 0..1.
        rng: the generator.

    Raises:
        UsageError: a severity out of range.

    Source: contrast_down of MedMNIST-C (arXiv 2406.17536). Differs: about the mean of what the camera saw, not
    of the frame.
    """
    return as_the_phantom(image, "low_contrast", severity, rng, inside=True)
