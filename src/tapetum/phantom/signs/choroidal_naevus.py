"""Choroidal naevus: a flat slate-grey spot under the retina.

Source: Shields et al., Ophthalmology 2009 (features of naevi). Differs: no drusen on top.
"""

from __future__ import annotations

import numpy as np

from tapetum.phantom.canvas import Canvas
from tapetum.phantom.placing import clear_of

__all__ = ["choroidal_naevus"]


def choroidal_naevus(canvas: Canvas, *, severity: float, rng: np.random.Generator) -> None:
    """One grey-brown oval with soft edges."""
    angle = rng.uniform(0, 2 * np.pi)
    place = clear_of(canvas, np.array([[np.cos(angle), np.sin(angle)]]) * rng.uniform(0.35, 0.7), disc=2.0, fovea=0.25)
    radius = 0.07 + 0.09 * severity
    shape = canvas.ellipses(place, np.array([[radius, radius * rng.uniform(0.75, 1)]]), np.array([rng.uniform(0, 180)]))
    canvas.mark("choroidal_naevus", shape)
    canvas.paint(0.62 * canvas.soften(shape, 0.012), (0.30, 0.23, 0.19), below=True)
    canvas.counts["choroidal_naevus"] = 1
