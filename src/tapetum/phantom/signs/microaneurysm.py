"""Microaneurysms: tiny round red dots, the first sign of diabetic retinopathy.

Source: ETDRS Research Group, Ophthalmology 1991 (standard photographs described in words). Differs: sizes are drawn a
little large so that they survive 256 pixels.
"""

from __future__ import annotations

import numpy as np

from tapetum.phantom.canvas import Canvas
from tapetum.phantom.placing import MOST, amount, by_quadrant

__all__ = ["microaneurysm"]


def microaneurysm(canvas: Canvas, *, severity: float, rng: np.random.Generator) -> None:
    """Red dots of 40 to 110 µm at the posterior pole."""
    count = amount(severity, 3, 40)
    places = by_quadrant(canvas, rng, MOST, reach=0.7)[:count]
    sizes = rng.uniform(0.0055, 0.0095, MOST)[:count]
    shape = canvas.ellipses(places, sizes)
    canvas.mark("microaneurysm", shape)
    canvas.paint(0.8 * canvas.soften(shape, 0.002), (0.47, 0.075, 0.055))
    canvas.counts["microaneurysm"] = count
