"""The eye moved while line after line was scanned: columns slip up and down along a random walk."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from tapetum.bench.altered.photographed import check_severity

__all__ = ["bands"]


def bands(
    image: UInt8[np.ndarray, "h w 3"], *, severity: float, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """The eye moved while line after line was scanned: columns slip up and down along a random walk.

    Args:
        image: RGB.
        severity: 0..1.
        rng: the generator.

    Raises:
        UsageError: a severity out of range.

    Source: own, after motion in OCT.
    """
    check_severity(severity)
    if severity == 0:
        return image.copy()
    rows, columns = image.shape[:2]
    steps = np.cumsum(rng.standard_normal(16))
    walk = steps - steps.mean()
    slip = np.repeat(walk / max(float(np.abs(walk).max()), 1e-9), -(-columns // 16))[:columns]
    moved = np.rint(0.15 * severity * rows * slip).astype(np.int64)
    source = np.clip(np.arange(rows)[:, None] - moved[None, :], 0, rows - 1)
    return np.take_along_axis(image, source[..., None], axis=0)
