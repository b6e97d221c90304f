"""Bleeding along the nerve fibres, shared by flame haemorrhages and vein occlusion."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from tapetum.phantom.canvas import Canvas
from tapetum.phantom.placing import MOST


def flames(canvas: Canvas, places: Float64[np.ndarray, "n 2"], rng: np.random.Generator, *, name: str) -> None:
    """Paint feathered red streaks at `places`, pointing to the disc, and mark them as `name`.

    Args:
        canvas: the retina.
        places: at most `MOST` points of the retina, in field radii.
        rng: its draws do not depend on how many places there are.
        name: the finding's id.
    """
    count = len(places)
    lengths = rng.uniform(0.035, 0.085, MOST)[:count]
    radii = np.stack([lengths, lengths * rng.uniform(0.16, 0.3, MOST)[:count]], axis=1)
    away = places - canvas.anatomy.disc
    angles = np.rad2deg(np.arctan2(away[:, 1], away[:, 0])) + rng.normal(0, 12, MOST)[:count]
    wobble = 1 + 0.28 * rng.standard_normal((MOST, 16))
    shape = canvas.ellipses(places, radii, angles, wobble=wobble[:count])
    canvas.mark(name, shape)
    canvas.paint(0.84 * canvas.soften(shape, 0.004), (0.45, 0.06, 0.04))
    canvas.counts[name] = count
