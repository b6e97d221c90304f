"""Light falls off towards the rim of the field, by up to 85 %."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, UInt8

from tapetum.bench.altered.photographed import check_severity, field_of, image_of, light_of

__all__ = ["vignetting"]


def vignetting(
    image: UInt8[np.ndarray, "h w 3"], *, severity: float, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """Light falls off towards the rim of the field, by up to 85 %.

    Args:
        image: RGB.
        severity: 0..1.
        rng: the generator; not asked.

    Raises:
        UsageError: a severity out of range.

    Source: own.
    """
    check_severity(severity)
    del rng
    if severity == 0:
        return image.copy()
    field, light = field_of(image), light_of(image)
    rows, columns = np.flatnonzero(field.any(axis=1)), np.flatnonzero(field.any(axis=0))
    y, x = (np.linspace(-1, 1, len(of), dtype=np.float32) for of in (rows, columns))
    away = np.zeros(field.shape, np.float32)
    away[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = _squares(y, x)
    fallen = light * (1 - np.float32(0.85 * severity) * np.minimum(away, 1.0))[..., None]
    return np.where(field[..., None], image_of(fallen), image)


def _squares(y: Float32[np.ndarray, "h"], x: Float32[np.ndarray, "w"]) -> Float32[np.ndarray, "h w"]:
    """Squared distance from the middle; 1 at the middles of the sides."""
    whole = np.zeros((len(y), len(x)), np.float32)
    whole += y[:, None] ** 2
    whole += x[None, :] ** 2
    return whole
