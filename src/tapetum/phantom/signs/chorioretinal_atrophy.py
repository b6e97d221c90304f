"""Patches of chorioretinal atrophy, as in pathological myopia.

Source: Ohno-Matsui et al., American Journal of Ophthalmology 2015 (META-PM). Differs: patchy form only.
"""

from __future__ import annotations

import numpy as np

from tapetum.phantom.canvas import Canvas
from tapetum.phantom.placing import MOST, amount, round_fovea

__all__ = ["chorioretinal_atrophy"]


def chorioretinal_atrophy(canvas: Canvas, *, severity: float, rng: np.random.Generator) -> None:
    """White-yellow patches with pigment at their edges, at the posterior pole."""
    count = amount(severity, 2, 8)
    places = round_fovea(canvas, rng, count, inner=0.12, outer=0.75)
    sizes = rng.uniform(0.05, 0.12, MOST)[:count] * (0.7 + 0.6 * severity)
    wobble = np.repeat(1 + 0.22 * rng.standard_normal((MOST, 8)), 2, axis=1)[:count]
    shape = canvas.ellipses(places, sizes, wobble=wobble)
    canvas.mark("chorioretinal_atrophy", shape)
    canvas.paint(0.5 * canvas.soften(shape, 0.016), (0.40, 0.20, 0.12), below=True)
    canvas.paint(0.86 * canvas.soften(shape, 0.005), (0.97, 0.82, 0.56), below=True)
    canvas.counts["chorioretinal_atrophy"] = count
