"""Cotton-wool spots: white, fluffy infarcts of the nerve fibre layer.

Source: Keith, Wagener and Barker, American Journal of the Medical Sciences 1939; ETDRS Research Group, Ophthalmology
1991 (standard photographs described in words). Differs: the mask ends where the fluff is half as bright.
"""

from __future__ import annotations

import numpy as np

from tapetum.phantom.canvas import Canvas
from tapetum.phantom.placing import MOST, amount, round_disc

__all__ = ["cotton_wool_spot"]


def cotton_wool_spot(canvas: Canvas, *, severity: float, rng: np.random.Generator) -> None:
    """White patches with soft edges near the arcades."""
    count = amount(severity, 1, 11)
    places = round_disc(canvas, rng, count)
    sizes = rng.uniform(0.03, 0.055, MOST)
    radii = np.stack([sizes, sizes * rng.uniform(0.55, 0.85, MOST)], axis=1)[:count]
    away = places - canvas.anatomy.disc
    angles = np.rad2deg(np.arctan2(away[:, 1], away[:, 0])) + 90
    wobble = 1 + 0.12 * rng.standard_normal((MOST, 16))
    shape = canvas.ellipses(places, radii, angles, wobble=wobble[:count])
    canvas.mark("cotton_wool_spot", shape)
    canvas.paint(0.88 * canvas.soften(shape, 0.013), (0.97, 0.90, 0.74))
    canvas.counts["cotton_wool_spot"] = count
