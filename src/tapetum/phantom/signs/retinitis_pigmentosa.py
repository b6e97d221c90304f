"""Retinitis pigmentosa: bone-spicule pigment in a greyish mid-periphery.

Source: Hartong, Berson and Dryja, Lancet 2006 (signs). Differs: attenuated arteries are the separate sign
`arteriolar_narrowing`.
"""

from __future__ import annotations

import numpy as np

from tapetum.phantom.anatomy import Vessel
from tapetum.phantom.canvas import Canvas, ramp
from tapetum.phantom.placing import MOST, amount, clear_of

__all__ = ["retinitis_pigmentosa"]

TIPS = np.array([0.004, 0.016, 0.003])  # width of a spicule along its leg, field radii


def retinitis_pigmentosa(canvas: Canvas, *, severity: float, rng: np.random.Generator) -> None:
    """Dark branching spicules beyond the arcades over a mottled ring."""
    ring = ramp(canvas.distance(canvas.anatomy.fovea * 0.5 + canvas.anatomy.disc * 0.25), 0.45, 0.7)
    mottle = np.clip(0.6 + 0.35 * canvas.noise(rng, 40), 0, 1)
    canvas.paint((0.25 + 0.35 * severity) * ring * mottle, (0.46, 0.36, 0.27), below=True)
    count = amount(severity, 14, 64)
    angle, radius = rng.uniform(0, 2 * np.pi, MOST), rng.uniform(0.58, 0.97, MOST)
    points = np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius[:, None]
    places = clear_of(canvas, points, disc=1.6, fovea=0.5)[:count]
    legs: list[Vessel] = []
    turns, lengths = rng.uniform(0, np.pi, (MOST, 4)), rng.uniform(0.02, 0.055, (MOST, 4))
    for i in range(count):
        for k in range(4):
            way = np.array([np.cos(turns[i, k]), np.sin(turns[i, k])]) * lengths[i, k]
            legs.append(Vessel(np.stack([places[i] - way * 0.4, places[i], places[i] + way]), TIPS, 3))
    shape = canvas.strokes(legs)
    canvas.mark("retinitis_pigmentosa", shape)
    canvas.paint(0.9 * shape, (0.10, 0.06, 0.05))
    canvas.counts["retinitis_pigmentosa"] = count
