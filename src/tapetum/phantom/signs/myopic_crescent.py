"""Myopic crescent: a pale sickle on the temporal side of the disc where sclera shines through.

Source: Ohno-Matsui et al., American Journal of Ophthalmology 2015 (META-PM). Differs: the crescent is an ellipse
behind the disc.
"""

from __future__ import annotations

import numpy as np

from tapetum.phantom.canvas import Canvas

__all__ = ["myopic_crescent"]


def myopic_crescent(canvas: Canvas, *, severity: float, rng: np.random.Generator) -> None:
    """A bright crescent beside the disc, a ring at full severity."""
    anatomy, radius = canvas.anatomy, canvas.disc_radius
    shift = np.array([-(0.22 + 0.25 * severity), rng.normal(0, 0.1)]) * radius
    axes = anatomy.disc_axes * (1.06 + 0.3 * severity)
    wobble = np.repeat(1 + 0.05 * rng.standard_normal((1, 8)), 2, axis=1)
    whole = canvas.ellipses((anatomy.disc + shift)[None], axes[None], wobble=wobble)
    disc = canvas.ellipse(anatomy.disc, anatomy.disc_axes)
    shape = np.clip(whole - disc, 0, 1)
    canvas.mark("myopic_crescent", shape)
    canvas.paint(0.8 * canvas.soften(whole, 0.006), (0.97, 0.83, 0.63), below=True)
    canvas.counts["myopic_crescent"] = 1
