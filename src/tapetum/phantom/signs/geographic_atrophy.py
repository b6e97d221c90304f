"""Geographic atrophy: sharply bounded pale areas where choroidal vessels show.

Source: Ferris et al., Ophthalmology 2013. Differs: choroidal vessels are ridges of smooth noise.
"""

from __future__ import annotations

import numpy as np

from tapetum.phantom.canvas import Canvas
from tapetum.phantom.placing import amount, round_fovea

__all__ = ["geographic_atrophy"]


def geographic_atrophy(canvas: Canvas, *, severity: float, rng: np.random.Generator) -> None:
    """One to three pale patches at the macula with scalloped edges."""
    count = amount(severity, 1, 3)
    first = canvas.anatomy.fovea + rng.normal(0, 0.03, 2)
    places = np.concatenate([first[None], round_fovea(canvas, rng, 2, inner=0.16, outer=0.26)])[:count]
    sizes = (np.array([0.12, 0.08, 0.07]) * (0.6 + 0.9 * severity))[:count]
    wobble = np.repeat(1 + 0.16 * rng.standard_normal((3, 8)), 2, axis=1)[:count]
    shape = canvas.ellipses(places, sizes, rng.uniform(0, 180, 3)[:count], wobble=wobble)
    canvas.mark("geographic_atrophy", shape)
    streaks = canvas.noise(rng, 34)
    canvas.paint(0.78 * canvas.soften(shape, 0.004), (0.93, 0.70, 0.43), below=True)
    canvas.paint(0.45 * shape * np.exp(-((streaks / 0.25) ** 2)), (0.80, 0.33, 0.20), below=True)
    canvas.counts["geographic_atrophy"] = count
