"""Where lesions appear: an order of places fixed for an eye, of which a severity takes the first ones.

More severe disease therefore shows everything that milder disease showed; a second visit finds the old lesions again.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from tapetum.phantom.canvas import Canvas

MOST = 240  # places drawn ahead, so that severity never changes the order of draws


def amount(severity: float, few: int, many: int) -> int:
    """Number of lesions at a severity: `few` at 0, `many` at 1."""
    return round(few + (many - few) * severity)


def by_quadrant(
    canvas: Canvas, rng: np.random.Generator, count: int, *, reach: float = 0.92
) -> Float64[np.ndarray, "n 2"]:
    """Places spread over the four quadrants of the field in turn, clear of disc and fovea."""
    number = np.arange(MOST)
    angle = (number % 4 + rng.uniform(0.04, 0.96, MOST)) * np.pi / 2
    radius = reach * np.sqrt(rng.uniform(0.05, 1, MOST))
    points = np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius[:, None]
    return clear_of(canvas, points, disc=1.35, fovea=0.06)[:count]


def round_fovea(
    canvas: Canvas, rng: np.random.Generator, count: int, *, inner: float, outer: float
) -> Float64[np.ndarray, "n 2"]:
    """Places in a ring round the fovea, radii in field radii, denser near the middle."""
    angle = rng.uniform(0, 2 * np.pi, MOST)
    radius = inner + (outer - inner) * rng.uniform(0, 1, MOST) ** 0.8
    points = canvas.anatomy.fovea + np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius[:, None]
    return clear_of(canvas, points, disc=1.3, fovea=inner)[:count]


def round_disc(canvas: Canvas, rng: np.random.Generator, count: int) -> Float64[np.ndarray, "n 2"]:
    """Places within three disc diameters of the disc, where the nerve fibre layer is thick."""
    angle = rng.uniform(0, 2 * np.pi, MOST)
    radius = canvas.disc_radius * (1.6 + 3.6 * rng.uniform(0, 1, MOST))
    points = canvas.anatomy.disc + np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius[:, None]
    outside = np.hypot(points[:, 0], points[:, 1]) > 0.92
    points[outside, 0] -= 2 * (points[outside, 0] - canvas.anatomy.disc[0])
    return clear_of(canvas, points, disc=1.4, fovea=0.12)[:count]


def clear_of(
    canvas: Canvas, points: Float64[np.ndarray, "n 2"], *, disc: float, fovea: float
) -> Float64[np.ndarray, "n 2"]:
    """Push points out of the disc (in disc radii) and of the fovea (in field radii)."""
    moved = points.copy()
    for centre, radius in ((canvas.anatomy.disc, disc * canvas.disc_radius), (canvas.anatomy.fovea, fovea)):
        away = moved - centre
        distance = np.hypot(away[:, 0], away[:, 1])
        near = distance < radius
        moved[near] = centre + away[near] / (distance[near, None] + 1e-9) * radius
    return moved


def near_quadrant_counts(points: Float64[np.ndarray, "n 2"]) -> tuple[int, ...]:
    """How many points lie in each quadrant of the field: upper nasal, lower nasal, upper temporal, lower temporal."""
    nasal, lower = points[:, 0] > 0, points[:, 1] > 0
    return (
        int((nasal & ~lower).sum()),
        int((nasal & lower).sum()),
        int((~nasal & ~lower).sum()),
        int((~nasal & lower).sum()),
    )
