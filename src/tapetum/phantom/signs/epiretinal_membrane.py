"""Epiretinal membrane: a glistening film with wrinkles over the macula.

Source: Gass, Stereoscopic Atlas of Macular Diseases 1987 (grades 0 to 2). Differs: vessels under the film are veiled
but not pulled.
"""

from __future__ import annotations

import numpy as np

from tapetum.phantom.canvas import Canvas, ramp

__all__ = ["epiretinal_membrane"]


def epiretinal_membrane(canvas: Canvas, *, severity: float, rng: np.random.Generator) -> None:
    """A grey-white sheen with fine bright folds drawn together at a centre."""
    centre = canvas.anatomy.fovea + rng.normal(0, 0.05, 2)
    dx, dy = canvas.x - np.float32(centre[0]), canvas.y - np.float32(centre[1])
    distance = np.sqrt(dx * dx + dy * dy)
    reach = 0.20 + 0.16 * severity
    film = ramp(distance * (1 + 0.12 * canvas.noise(rng, 10)), reach, reach * 0.55)
    # Folds run one way and are pulled together towards the centre of contraction.
    way = np.float32(rng.uniform(0, np.pi))
    along, across = dx * np.cos(way) + dy * np.sin(way), dy * np.cos(way) - dx * np.sin(way)
    pulled = across / (0.35 + np.abs(along) / np.float32(reach))
    folds = np.sin(pulled * np.float32(95) + 2.4 * canvas.noise(rng, 16)) + 0.55 * canvas.noise(rng, 30)
    canvas.mark("epiretinal_membrane", film)
    canvas.paint((0.20 + 0.22 * severity) * film, (0.88, 0.80, 0.68))
    canvas.paint((0.18 + 0.34 * severity) * film * ramp(folds, 0.45, 1.2), (0.98, 0.93, 0.82))
    canvas.counts["epiretinal_membrane"] = 1
