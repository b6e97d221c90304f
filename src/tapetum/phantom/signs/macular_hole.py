"""Macular hole: a round red defect of the fovea with a grey cuff.

Source: Gass, American Journal of Ophthalmology 1995 (stages). Differs: full thickness only; severity is the diameter.
"""

from __future__ import annotations

import numpy as np

from tapetum.phantom.canvas import Canvas, ramp

__all__ = ["macular_hole"]


def macular_hole(canvas: Canvas, *, severity: float, rng: np.random.Generator) -> None:
    """A dark red disc at the fovea, a paler ring of fluid round it."""
    radius = 0.03 + 0.035 * severity
    distance = canvas.distance(canvas.anatomy.fovea)
    hole = canvas.ellipses(canvas.anatomy.fovea[None], np.array([radius]))
    canvas.mark("macular_hole", hole)
    canvas.paint(0.5 * ramp(distance, radius * 2.1, radius * 1.1), (0.86, 0.60, 0.42))
    canvas.paint(0.85 * canvas.soften(hole, 0.003), (0.50, 0.13, 0.07))
    canvas.counts["macular_hole"] = 1
