"""Three dark columns from top to bottom: a vessel, a rib or a bubble holds back the beam."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from tapetum.bench.altered.photographed import check_severity, image_of, light_of

__all__ = ["shadow"]


def shadow(
    image: UInt8[np.ndarray, "h w 3"], *, severity: float, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """Three dark columns from top to bottom: a vessel, a rib or a bubble holds back the beam.

    Args:
        image: RGB.
        severity: 0..1.
        rng: the generator.

    Raises:
        UsageError: a severity out of range.

    Source: own, after shadows in OCT and ultrasound.
    """
    check_severity(severity)
    if severity == 0:
        return image.copy()
    columns = image.shape[1]
    places, sizes = rng.uniform(0.1, 0.9, 3) * columns, rng.uniform(0.5, 1.0, 3)
    kept = np.ones(columns, np.float32)
    for place, size in zip(places, sizes, strict=True):
        wide = (0.02 + 0.10 * severity) * size * columns
        apart = (np.arange(columns) - place) / wide
        kept *= (1 - 0.95 * min(1.0, 2 * severity) * np.exp(-(apart**2) / 2)).astype(np.float32)
    return image_of(light_of(image) * kept[None, :, None])
