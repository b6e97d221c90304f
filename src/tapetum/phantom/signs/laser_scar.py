"""Scars of panretinal laser: round pale burns with dark centres, outside the arcades.

Source: Diabetic Retinopathy Study Research Group, Ophthalmology 1981 (pattern of burns). Differs: burns lie on a
sunflower spiral.
"""

from __future__ import annotations

import numpy as np

from tapetum.phantom.canvas import Canvas
from tapetum.phantom.placing import MOST, amount, clear_of

__all__ = ["laser_scar"]


def laser_scar(canvas: Canvas, *, severity: float, rng: np.random.Generator) -> None:
    """Rows of pigmented round scars in the periphery."""
    count = amount(severity, 30, 150)
    angle = np.arange(MOST) * 2.399963 + rng.uniform(0, 0.5, MOST)
    radius = rng.uniform(0.68, 0.96, MOST)
    points = np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius[:, None]
    places = clear_of(canvas, points, disc=2.2, fovea=0.55)[:count]
    sizes = rng.uniform(0.017, 0.028, MOST)[:count]
    shape = canvas.ellipses(places, sizes)
    pigment = canvas.ellipses(places + 0.003, sizes * rng.uniform(0.35, 0.7, MOST)[:count])
    canvas.mark("laser_scar", shape)
    canvas.paint(0.75 * canvas.soften(shape, 0.004), (0.93, 0.76, 0.47), below=True)
    canvas.paint(0.75 * canvas.soften(pigment, 0.003), (0.24, 0.13, 0.09), below=True)
    canvas.counts["laser_scar"] = count
