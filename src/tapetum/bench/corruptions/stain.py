"""Another laboratory's stain: haematoxylin, eosin and the rest each grow or shrink by up to 70 %."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from tapetum.bench.altered.photographed import check_severity, image_of, light_of

__all__ = ["stain"]

_COLOURS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])  # optical density, red green blue
_STAINS = _COLOURS / np.linalg.norm(_COLOURS, axis=1, keepdims=True)


def stain(
    image: UInt8[np.ndarray, "h w 3"], *, severity: float, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """Another laboratory's stain: haematoxylin, eosin and the rest each grow or shrink by up to 70 %.

    Args:
        image: RGB.
        severity: 0..1.
        rng: the generator.

    Raises:
        UsageError: a severity out of range.

    Source: Tellez et al., IEEE TMI 2018, in the stain space of Ruifrok and Johnston 2001. Differs: no offset, and
    the share is uniform.
    """
    check_severity(severity)
    if severity == 0:
        return image.copy()
    change = 1 + severity * rng.uniform(-0.7, 0.7, 3)
    density = -np.log10(np.maximum(light_of(image), np.float32(1 / 255)))
    amounts = density.reshape(-1, 3) @ np.linalg.inv(_STAINS)
    changed = (amounts * change) @ _STAINS
    return image_of((10**-changed).reshape(image.shape).astype(np.float32))
