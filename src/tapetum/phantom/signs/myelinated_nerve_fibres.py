"""Myelinated nerve fibres: white feathery streaks that leave the disc.

Source: Straatsma et al., American Journal of Ophthalmology 1981. Differs: always touches the disc.
"""

from __future__ import annotations

import numpy as np

from tapetum.phantom.canvas import Canvas, ramp

__all__ = ["myelinated_nerve_fibres"]


def myelinated_nerve_fibres(canvas: Canvas, *, severity: float, rng: np.random.Generator) -> None:
    """A white fan with frayed edges above or below the disc."""
    up = rng.choice([-1.0, 1.0])
    origin, radius = canvas.anatomy.disc, canvas.disc_radius
    middle = up * (np.pi / 2 + rng.uniform(-0.3, 0.5))
    dx, dy = canvas.x - np.float32(origin[0]), canvas.y - np.float32(origin[1])
    distance = np.sqrt(dx * dx + dy * dy)
    angle = np.arctan2(dy, dx) - np.float32(middle)
    angle = np.abs(np.arctan2(np.sin(angle), np.cos(angle)))
    rough = canvas.noise(rng, 70)
    reach = radius * (1.5 + 1.8 * severity) * (1 + 0.22 * rough)
    fan = ramp(angle + 0.10 * rough, 0.55 + 0.35 * severity, 0.25) * ramp(distance, 0.85 * radius, 1.05 * radius)
    fan *= ramp(distance / reach, 1.05, 0.7)
    canvas.mark("myelinated_nerve_fibres", fan)
    canvas.paint(0.92 * fan, (0.97, 0.93, 0.82))
    canvas.counts["myelinated_nerve_fibres"] = 1
