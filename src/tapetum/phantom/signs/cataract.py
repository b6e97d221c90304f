"""Cataract: a clouded lens between camera and retina.

Source: Chylack et al., Archives of Ophthalmology 1993 (LOCS III). Differs: one uniform veil; its mask is the whole
picture.
"""

from __future__ import annotations

import numpy as np

from tapetum.phantom.canvas import Canvas

__all__ = ["cataract"]


def cataract(canvas: Canvas, *, severity: float, rng: np.random.Generator) -> None:
    """Makes the whole picture hazy, yellowish and low in contrast."""
    canvas.haze = max(canvas.haze, 0.25 + 0.55 * severity + float(rng.normal(0, 0.02)))
    canvas.mark("cataract", np.ones((canvas.size, canvas.size), np.bool_))
    canvas.counts["cataract"] = 1
