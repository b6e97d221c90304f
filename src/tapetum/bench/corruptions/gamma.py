"""Another tone curve: an exponent of up to 3, or down to 1/3."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from tapetum.bench.altered.photographed import check_severity, image_of, light_of

__all__ = ["gamma"]


def gamma(
    image: UInt8[np.ndarray, "h w 3"], *, severity: float, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """Another tone curve: an exponent of up to 3, or down to 1/3.

    Args:
        image: RGB.
        severity: 0..1.
        rng: the generator.

    Raises:
        UsageError: a severity out of range.

    Source: gamma_corr of MedMNIST-C (arXiv 2406.17536). Differs: up or down by the generator, and stronger.
    """
    check_severity(severity)
    if severity == 0:
        return image.copy()
    exponent = np.float32(3.0 ** (severity if rng.random() < 0.5 else -severity))
    return image_of(light_of(image) ** exponent)
