"""New vessels: a tangle of fine red loops on the disc or beside an arcade.

Source: ETDRS Research Group, Ophthalmology 1991 (standard photographs described in words). Differs: loops are sine-
bent arcs; thin vessels count from 35 % coverage of a pixel.
"""

from __future__ import annotations

import numpy as np

from tapetum.phantom.anatomy import Vessel
from tapetum.phantom.canvas import Canvas

__all__ = ["neovascularisation"]


def neovascularisation(canvas: Canvas, *, severity: float, rng: np.random.Generator) -> None:
    """One tangle on the disc, from severity 0.5 a second one elsewhere."""
    tangles = [(canvas.anatomy.disc, 0.10 + 0.14 * severity)]
    elsewhere = canvas.anatomy.disc + np.array([-0.45, rng.choice([-1.0, 1.0]) * 0.5])
    if severity >= 0.5:
        tangles.append((elsewhere, 0.08 + 0.08 * severity))
    for centre, reach in tangles:
        loops: list[Vessel] = []
        for _ in range(16):
            start, bend = rng.uniform(0, 2 * np.pi), rng.uniform(0.8, 2.4) * rng.choice([-1.0, 1.0])
            t, tip = np.linspace(0, 1, 22), rng.uniform(0.45, 1.1)
            angle = start + bend * t + 0.35 * np.sin(rng.uniform(3, 7) * np.pi * t + rng.uniform(0, 6))
            radius = reach * tip * np.sin(np.pi * t * rng.uniform(0.55, 0.85)) * (1 + 0.12 * np.sin(17 * t))
            points = centre + np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius[:, None]
            loops.append(Vessel(points, np.full(22, rng.uniform(0.0055, 0.008)), 3))
        shape = canvas.strokes(loops)
        canvas.mark("neovascularisation", shape > 0.35)
        canvas.paint(0.85 * shape, (0.55, 0.09, 0.06))
    canvas.counts["neovascularisation"] = len(tangles)
