"""The shape of one eye: disc, fovea and vessel trees, in units of the field's radius.

Coordinates are those of a right eye as an unflipped photograph shows it: x grows to the nasal side (the disc's side, to the
right), y downwards, the origin is the middle of the field. A left eye is the mirror image, made at the very end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from tapetum.phantom.spec import EyeSpec

DISC_RADIUS = 0.158  # 1.8 mm of about 11.4 mm seen by a 45° camera
MURRAY = 3.0  # the exponent of Murray's law: flow goes with the cube of the width
POINTS = 18  # points along a branch
TRUNK_POINTS = 64


@dataclass(frozen=True)
class Vessel:
    """One unbranched course of a vessel.

    Attributes:
        points: centreline. width: calibre at each point. Both in field radii.
        generation: 0 for a trunk that leaves the disc.
    """

    points: Float[np.ndarray, "n 2"]
    width: Float[np.ndarray, "n"]
    generation: int


@dataclass(frozen=True)
class Fork:
    """Widths where a branch leaves, in field radii: parent**3 = continuing**3 + branch**3."""

    parent: float
    continuing: float
    branch: float


@dataclass(frozen=True)
class Anatomy:
    """Everything normal about an eye that has a shape."""

    disc: Float[np.ndarray, "2"]
    disc_axes: Float[np.ndarray, "2"]
    cup: Float[np.ndarray, "2"]
    cup_axes: Float[np.ndarray, "2"]
    fovea: Float[np.ndarray, "2"]
    arteries: tuple[Vessel, ...]
    veins: tuple[Vessel, ...]
    forks: tuple[Fork, ...]


def grow_anatomy(eye: EyeSpec) -> Anatomy:
    """Grow the eye that `eye.identity` names; diseases of shape (cupping, narrowing, tortuosity) are included."""
    rng = np.random.default_rng([eye.identity, 1])
    disc = np.array([0.575, -0.03]) + rng.normal(0, [0.03, 0.025])
    fovea = disc + np.array([-0.815, 0.10]) + rng.normal(0, [0.03, 0.02])
    radius = DISC_RADIUS * rng.uniform(0.93, 1.07)
    axes = radius * np.array([rng.uniform(0.88, 0.97), 1.0])
    ratio = eye.cup_ratio
    cup_axes = axes * ratio * np.array([rng.uniform(0.9, 1.0), 1.0])
    # The cup leaves a thinner rim on the temporal side; it never leaves the disc.
    cup = disc + np.array([-0.35, 0.0]) * (axes - cup_axes)
    tortuosity = 1.0 + 2.2 * eye.signs.get("vessel_tortuosity", 0.0)
    arteries, forks_a = _tree(rng, disc, fovea, 0.031 * eye.artery_scale, tortuosity, 0.0)
    veins, forks_v = _tree(rng, disc, fovea, 0.042, tortuosity, 1.0)
    return Anatomy(disc, axes, cup, cup_axes, fovea, arteries, veins, (*forks_a, *forks_v))


def _bezier(control: Float[np.ndarray, "4 2"], count: int) -> Float[np.ndarray, "n 2"]:
    t = np.linspace(0, 1, count)[:, None]
    a, b, c, d = control
    return (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * b + 3 * (1 - t) * t**2 * c + t**3 * d


def _trunks(
    rng: np.random.Generator, disc: Float[np.ndarray, "2"], fovea: Float[np.ndarray, "2"], kind: float
) -> list[Float[np.ndarray, "n 2"]]:
    """Centrelines of the four main vessels of one kind (0 artery, 1 vein): two arcades and two nasal ones."""
    courses: list[Float[np.ndarray, "n 2"]] = []
    shift = 0.075 * (kind - 0.5) * rng.choice([-1.0, 1.0])
    for up in (-1.0, 1.0):
        start = disc + np.array([0.02 + 0.025 * kind, up * 0.012])
        jitter = rng.normal(0, 0.045, (3, 2))
        height = 0.80 + shift + rng.normal(0, 0.03)
        temporal = np.array(
            [
                start,
                disc + [0.04 + 0.06 * kind, up * (0.50 + shift)] + jitter[0] * 0.5,
                fovea + [0.22, up * height - 0.10] + jitter[1],
                fovea + [-0.80, up * (0.50 + shift * 1.5) - 0.05] + jitter[2] * 1.5,
            ]
        )
        courses.append(_bezier(temporal, TRUNK_POINTS))
        nasal = np.array(
            [
                start,
                disc + [0.06 + 0.05 * kind, up * (0.22 + shift)] + jitter[2] * 0.4,
                disc + [0.22 + 0.10 * kind, up * (0.42 - shift)] + jitter[0],
                disc + [0.42 + 0.1 * kind, up * (0.85 - 2 * shift)] + jitter[1],
            ]
        )
        courses.append(_bezier(nasal, TRUNK_POINTS))
    return courses


def _wiggle(rng: np.random.Generator, course: Float[np.ndarray, "n 2"], amount: float) -> Float[np.ndarray, "n 2"]:
    """Bend a course sideways by a few slow waves that vanish at its start."""
    t = np.linspace(0, 1, len(course))
    wave = np.zeros_like(t)
    for cycles, size in ((2.0, 0.014), (4.5, 0.008), (9.0, 0.0035)):
        wave += size * np.sin(2 * np.pi * (cycles * rng.uniform(0.8, 1.2) * t + rng.uniform()))
    along = np.gradient(course, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-9
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1)
    return course + normal * (wave * amount * np.minimum(1, t * 4))[:, None]


def _tree(
    rng: np.random.Generator,
    disc: Float[np.ndarray, "2"],
    fovea: Float[np.ndarray, "2"],
    width: float,
    tortuosity: float,
    kind: float,
) -> tuple[tuple[Vessel, ...], tuple[Fork, ...]]:
    """Grow trunks and three generations of branches; widths follow Murray's law at every fork."""
    vessels: list[Vessel] = []
    forks: list[Fork] = []
    parents: list[Vessel] = []
    for number, course in enumerate(_trunks(rng, disc, fovea, kind)):
        size = width * rng.uniform(0.92, 1.08) * (1.0 if number % 2 == 0 else 0.72)
        parents.append(Vessel(_wiggle(rng, course, tortuosity), np.full(len(course), size), 0))
    plan = ((9, 0.10, 0.5, (0.13, 0.34)), (4, 0.2, 0.42, (0.2, 0.42)), (2, 0.3, 0.25, (0.25, 0.45)))
    for generation, (count, first, length, share) in enumerate(plan, start=1):
        starts: list[tuple[Float[np.ndarray, "2"], float, float, float]] = []
        for parent in parents:
            thinned, found, made = _fork(rng, parent, count, first, share, length)
            vessels.append(thinned)
            starts += found
            forks += made
        parents = _grow(rng, starts, fovea, tortuosity, generation)
    vessels += parents
    vessels += _grow(rng, _short_vessels(rng, disc, width), fovea, tortuosity, 2)
    return tuple(vessels), tuple(forks)


def _fork(
    rng: np.random.Generator,
    parent: Vessel,
    count: int,
    first: float,
    share: tuple[float, float],
    length: float,
) -> tuple[Vessel, list[tuple[Float[np.ndarray, "2"], float, float, float]], list[Fork]]:
    """Let branches leave `parent` on alternating sides; returns it thinned, the branches' starts and the forks."""
    steps = len(parent.points)
    if steps < 6:
        return parent, [], []
    spread = (np.arange(count) + rng.uniform(0.2, 0.8, count)) / count
    places = np.unique(((first + (0.97 - first) * spread) * (steps - 1)).astype(int))
    width = parent.width.copy()
    starts: list[tuple[Float[np.ndarray, "2"], float, float, float]] = []
    forks: list[Fork] = []
    side = rng.choice([-1.0, 1.0])
    for place in places:
        flow = rng.uniform(*share)
        before = float(width[place])
        branch, after = before * flow ** (1 / MURRAY), before * (1 - flow) ** (1 / MURRAY)
        if branch < 0.0035:
            continue
        forks.append(Fork(before, after, branch))
        width[place + 1 :] = after
        step = parent.points[min(place + 1, steps - 1)] - parent.points[max(place - 1, 0)]
        angle = float(np.arctan2(step[1], step[0])) + side * rng.uniform(0.55, 1.05)
        starts.append((parent.points[place], angle, branch, length * rng.uniform(0.55, 1.15) * (branch / 0.02) ** 0.35))
        side = -side if rng.uniform() < 0.85 else side
    return Vessel(parent.points, width, parent.generation), starts, forks


def _short_vessels(
    rng: np.random.Generator, disc: Float[np.ndarray, "2"], width: float
) -> list[tuple[Float[np.ndarray, "2"], float, float, float]]:
    """The thin vessels that leave the disc on their own, mostly towards the macula and the nose."""
    angles = np.concatenate([np.pi + rng.normal(0, 0.55, 3), rng.normal(0, 0.6, 2)])
    return [(disc, float(a), width * rng.uniform(0.26, 0.38), rng.uniform(0.3, 0.55)) for a in angles]


def _grow(
    rng: np.random.Generator,
    starts: list[tuple[Float[np.ndarray, "2"], float, float, float]],
    fovea: Float[np.ndarray, "2"],
    tortuosity: float,
    generation: int,
) -> list[Vessel]:
    """Walk all branches at once: smooth random headings that swing round the fovea and stop at its rim."""
    if not starts:
        return []
    place = np.array([s[0] for s in starts])
    angle = np.array([s[1] for s in starts])
    width = np.array([s[2] for s in starts])
    step = np.array([s[3] for s in starts]) / (POINTS - 1)
    turn = rng.normal(0, 0.035, len(starts))
    noise = rng.normal(0, 0.085 * tortuosity, (POINTS, len(starts)))
    path = np.empty((POINTS, len(starts), 2))
    path[0] = place
    for k in range(1, POINTS):
        place = place + step[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        path[k] = place
        # Branches bend back to run along their parent, and round the fovea instead of through it.
        away = place - fovea
        distance = np.hypot(away[:, 0], away[:, 1]) + 1e-6
        radial = np.arctan2(away[:, 1], away[:, 0])
        inward = np.cos(angle - radial) < -0.2
        swing = np.sign(np.sin(angle - radial)) * -1.0
        bend = np.where(inward & (distance < 0.32), 0.5 * (0.32 - distance) / 0.32, 0.0)
        angle = angle + turn + noise[k] - swing * bend
    grown: list[Vessel] = []
    taper = np.linspace(1.0, 0.75, POINTS)
    for i in range(len(starts)):
        points = path[:, i]
        inside = np.hypot(*(points - fovea).T) < 0.085
        stop = int(np.argmax(inside)) if inside.any() else POINTS
        outside = np.hypot(points[:, 0], points[:, 1]) > 1.12
        stop = min(stop, int(np.argmax(outside)) if outside.any() else POINTS)
        if stop >= 3:
            grown.append(Vessel(points[:stop], width[i] * taper[:stop], generation))
    return grown
