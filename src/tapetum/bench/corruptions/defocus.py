"""The lens was not focused: a disc-shaped blur, up to 7.5 % of the half side."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from tapetum.bench.altered.photographed import as_the_phantom

__all__ = ["defocus"]


def defocus(
    image: UInt8[np.ndarray, "h w 3"], *, severity: float, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """The lens was not focused: a disc-shaped blur, up to 7.5 % of the half side.

    Args:
        image: RGB.
        severity: 0..1.
        rng: the generator.

    Raises:
        UsageError: a severity out of range.

    Source: defocus_blur of MedMNIST-C (arXiv 2406.17536). Differs: a sharp disc whose size follows the image's.
    """
    return as_the_phantom(image, "defocus", severity, rng)
