"""Swollen disc: blurred margin, hyperaemia, a raised grey-white rim that hides vessels.

Source: Frisén, Journal of Neurology, Neurosurgery and Psychiatry 1982 (stages of papilloedema). Differs: severity is
a continuous radius, not Frisén's stages.
"""

from __future__ import annotations

import numpy as np

from tapetum.phantom.canvas import Canvas, ramp

__all__ = ["optic_disc_swelling"]


def optic_disc_swelling(canvas: Canvas, *, severity: float, rng: np.random.Generator) -> None:
    """A soft halo over the edge of the disc, with streaks."""
    radius, distance = canvas.disc_radius, canvas.distance(canvas.anatomy.disc)
    reach = radius * (1.15 + 0.55 * severity)
    streaks = 1 + 0.14 * canvas.noise(rng, 60)
    alpha = ramp(distance * streaks, reach * 1.12, radius * 0.75)
    core = ramp(distance, radius * 1.0, radius * 0.3)
    canvas.mark("optic_disc_swelling", alpha > 0.5)
    canvas.paint(0.78 * alpha * (1 - 0.35 * core), (0.97, 0.66, 0.42))
    canvas.counts["optic_disc_swelling"] = 1
