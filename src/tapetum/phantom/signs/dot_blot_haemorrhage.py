"""Dot and blot haemorrhages: dark red, round to ragged, deep in the retina.

Source: ETDRS Research Group, Ophthalmology 1991 (standard photographs described in words). Differs: outlines are
random polygons.
"""

from __future__ import annotations

import numpy as np

from tapetum.phantom.canvas import Canvas
from tapetum.phantom.placing import MOST, amount, by_quadrant, near_quadrant_counts

__all__ = ["dot_blot_haemorrhage"]


def dot_blot_haemorrhage(canvas: Canvas, *, severity: float, rng: np.random.Generator) -> None:
    """Dark red blots in all four quadrants; above severity 0.75 more than 20 in each."""
    count = amount(severity, 2, 116)
    places = by_quadrant(canvas, rng, count, reach=0.88)
    sizes = 0.011 + 0.02 * rng.beta(1.2, 3.5, MOST)
    flat = rng.uniform(0.65, 1.0, MOST)
    wobble = 1 + 0.2 * rng.standard_normal((MOST, 16))
    radii = np.stack([sizes, sizes * flat], axis=1)[:count]
    shape = canvas.ellipses(places, radii, rng.uniform(0, 180, MOST)[:count], wobble=wobble[:count])
    canvas.mark("dot_blot_haemorrhage", shape)
    canvas.paint(0.86 * canvas.soften(shape, 0.004), (0.36, 0.05, 0.035))
    canvas.counts["dot_blot_haemorrhage"] = count
    canvas.quadrants["dot_blot_haemorrhage"] = near_quadrant_counts(places)
