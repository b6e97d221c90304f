"""Branch vein occlusion: flames, blots and a swollen vein in one sector.

Source: Branch Vein Occlusion Study Group, American Journal of Ophthalmology 1984 (definition of the sector). Differs:
no venous dilation; only the superior or inferior temporal branch.
"""

from __future__ import annotations

import numpy as np

from tapetum.phantom.canvas import Canvas
from tapetum.phantom.placing import MOST, amount
from tapetum.phantom.streaks import flames

__all__ = ["branch_retinal_vein_occlusion"]


def branch_retinal_vein_occlusion(canvas: Canvas, *, severity: float, rng: np.random.Generator) -> None:
    """Haemorrhages that fill one temporal sector beyond a crossing."""
    up = rng.choice([-1.0, 1.0])
    angle = np.deg2rad(rng.uniform(20, 90, MOST))
    radius = 0.18 + 0.62 * rng.uniform(0, 1, MOST) ** 0.7
    origin = canvas.anatomy.disc
    places = origin + np.stack([-np.cos(angle), up * np.sin(angle)], axis=1) * radius[:, None]
    flames(canvas, places[: amount(severity, 14, 60)], rng, name="branch_retinal_vein_occlusion")
    count = amount(severity, 12, 70)
    blots = canvas.ellipses(places[::-1][:count], rng.uniform(0.01, 0.026, MOST)[:count])
    canvas.mark("branch_retinal_vein_occlusion", blots)
    canvas.paint(0.86 * canvas.soften(blots, 0.004), (0.38, 0.05, 0.035))
    canvas.counts["branch_retinal_vein_occlusion"] = 1
