"""Hard exudates: yellow waxy deposits with sharp edges, in clusters and arcs.

Source: ETDRS Research Group, Ophthalmology 1991 (standard photographs described in words). Differs: clusters are
rings of specks, without the leaking vessel.
"""

from __future__ import annotations

import numpy as np

from tapetum.phantom.canvas import Canvas
from tapetum.phantom.placing import MOST, amount, clear_of, round_fovea

__all__ = ["hard_exudate"]


def hard_exudate(canvas: Canvas, *, severity: float, rng: np.random.Generator) -> None:
    """Bright yellow specks in clusters round leaking points."""
    count = amount(severity, 8, 120)
    clusters = round_fovea(canvas, rng, 7, inner=0.12, outer=0.46)
    turn, radius = rng.uniform(0, 2 * np.pi, MOST), rng.normal(0.07, 0.03, MOST)
    ring = np.stack([np.cos(turn), np.sin(turn)], axis=1) * radius[:, None]
    # New clusters open only as the disease goes on; every cluster is a partial ring.
    opened = np.minimum(7, 2 + np.arange(MOST) // 20)
    places = clear_of(canvas, clusters[rng.integers(0, opened)] + ring, disc=1.2, fovea=0.05)[:count]
    sizes = (0.0055 + 0.013 * rng.beta(1.3, 3, MOST))[:count]
    wobble = 1 + 0.22 * rng.standard_normal((MOST, 16))
    shape = canvas.ellipses(places, sizes, wobble=wobble[:count])
    canvas.mark("hard_exudate", shape)
    canvas.paint(0.95 * canvas.soften(shape, 0.0018), (1.0, 0.87, 0.45))
    canvas.counts["hard_exudate"] = count
