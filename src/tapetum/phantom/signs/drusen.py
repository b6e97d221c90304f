"""Drusen: yellow-white deposits under the retina, round the fovea.

Source: Ferris et al., Ophthalmology 2013 (clinical classification of AMD; sizes against 63 and 125 µm). Differs:
sizes grow with severity for all drusen at once.
"""

from __future__ import annotations

import numpy as np

from tapetum.phantom.canvas import Canvas
from tapetum.phantom.placing import MOST, amount, round_fovea

__all__ = ["drusen"]


def drusen(canvas: Canvas, *, severity: float, rng: np.random.Generator) -> None:
    """Round pale spots, larger and more confluent as severity grows."""
    count = amount(severity, 10, 150)
    places = round_fovea(canvas, rng, count, inner=0.02, outer=0.42)
    sizes = (0.007 + 0.022 * severity * rng.beta(1.4, 2.5, MOST))[:count]
    shape = canvas.ellipses(places, sizes)
    canvas.mark("drusen", shape)
    canvas.paint(0.66 * canvas.soften(shape, 0.0045), (1.0, 0.83, 0.47), below=True)
    canvas.counts["drusen"] = count
