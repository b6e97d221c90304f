"""The shape of one eye: disc, fovea and vessel trees, in units of the field's radius.

Coordinates are those of a right eye as an unflipped photograph shows it: x grows to the nasal side (the disc's side, to
the right), y downwards, the origin is the middle of the field. A left eye is the mirror image, made at the very end.
"""

from __future__ import annotations

import math
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
    tortuosity = 1.0 + 3.0 * eye.signs.get("vessel_tortuosity", 0.0)
    arteries, veins, forks = _trees(rng, disc, fovea, (0.0265 * eye.artery_scale, 0.035), tortuosity)
    return Anatomy(disc, axes, cup, cup_axes, fovea, arteries, veins, forks)


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
        start = disc + np.array([0.022 + 0.018 * kind, up * 0.004])
        jitter = rng.normal(0, 0.045, (3, 2))
        height = 0.80 + shift + rng.normal(0, 0.03)
        temporal = np.array(
            [
                start,
                disc + [0.03 + 0.06 * kind, up * (0.50 + shift)] + jitter[0] * 0.5,
                fovea + [0.22, up * height - 0.10] + jitter[1],
                fovea + [-0.80, up * (0.50 + shift * 1.5) - 0.05] + jitter[2] * 1.5,
            ]
        )
        courses.append(_bezier(temporal, TRUNK_POINTS))
        nasal = np.array(
            [
                start,
                disc + [0.03 + 0.03 * kind, up * (0.28 + shift)] + jitter[2] * 0.3,
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


@dataclass(frozen=True)
class _Bud:
    """Where a branch starts: place, heading (radians), calibre, length and which way it bends back."""

    x: float
    y: float
    heading: float
    width: float
    length: float
    bend: float


# Per generation: most branches per parent, where the first may leave, their length, the share of flow they take.
PLAN = ((6, 0.12, 0.66, (0.10, 0.34)), (3, 0.22, 0.42, (0.15, 0.42)), (2, 0.35, 0.24, (0.25, 0.45)))
THINNEST = 0.005  # no branch below this calibre: about 30 µm across, at the limit of a 45° photograph


def _trees(
    rng: np.random.Generator,
    disc: Float[np.ndarray, "2"],
    fovea: Float[np.ndarray, "2"],
    widths: tuple[float, float],
    tortuosity: float,
) -> tuple[tuple[Vessel, ...], tuple[Vessel, ...], tuple[Fork, ...]]:
    """Grow arteries and veins: trunks and three generations of branches, their widths by Murray's law at every fork."""
    done: tuple[list[Vessel], list[Vessel]] = ([], [])
    forks: list[Fork] = []
    parents: list[tuple[int, Vessel]] = []
    for kind, width in enumerate(widths):
        for number, course in enumerate(_trunks(rng, disc, fovea, float(kind))):
            size = width * rng.uniform(0.92, 1.08) * (1.0 if number % 2 == 0 else 0.74)
            parents.append((kind, Vessel(_wiggle(rng, course, tortuosity), np.full(len(course), size), 0)))
    for generation, (count, first, length, share) in enumerate(PLAN, start=1):
        buds: list[_Bud] = []
        kinds: list[int] = []
        for kind, parent in parents:
            thinned, found, made = _fork(rng, parent, count, first, share, length)
            done[kind].append(thinned)
            buds += found
            kinds += [kind] * len(found)
            forks += made
        if generation == 1:
            for kind, width in enumerate(widths):
                found = _short_vessels(rng, disc, width)
                buds += found
                kinds += [kind] * len(found)
        parents = [(kinds[i], vessel) for i, vessel in _grow(rng, buds, fovea, tortuosity, generation)]
    for kind, vessel in parents:
        done[kind].append(vessel)
    return tuple(done[0]), tuple(done[1]), tuple(forks)


def _fork(
    rng: np.random.Generator, parent: Vessel, count: int, first: float, share: tuple[float, float], length: float
) -> tuple[Vessel, list[_Bud], list[Fork]]:
    """Let branches leave `parent` on alternating sides; returns it thinned, the buds and the forks."""
    steps = len(parent.points)
    if steps < 8 or float(parent.width[0]) * 0.5 < THINNEST:
        return parent, [], []
    draws = rng.uniform(size=(count, 5)).tolist()
    side = 1.0 if draws[0][4] < 0.45 else -1.0
    width, points = parent.width.tolist(), parent.points.tolist()
    buds: list[_Bud] = []
    forks: list[Fork] = []
    last = 0
    for k, (where, flow, angle, long, turn) in enumerate(draws):
        place = int((first + (0.96 - first) * (k + 0.15 + 0.7 * where) / count) * (steps - 1))
        before, part = width[place], share[0] + (share[1] - share[0]) * flow
        branch, after = before * part ** (1 / MURRAY), before * (1 - part) ** (1 / MURRAY)
        if branch < THINNEST or place <= last or place + 1 >= steps:
            continue
        last = place
        forks.append(Fork(before, after, branch))
        width[place + 1 :] = [after] * (steps - place - 1)
        (ax, ay), (bx, by) = points[place - 1], points[place + 1]
        heading = math.atan2(by - ay, bx - ax) + side * (0.5 + 0.55 * angle)
        reach = length * (0.55 + 0.7 * long) * (branch / 0.016) ** 0.4
        x, y = points[place]
        buds.append(_Bud(x, y, heading, branch, reach, -side * 0.022))
        side = -side if turn < 0.85 else side
    return Vessel(parent.points, np.array(width), parent.generation), buds, forks


def _short_vessels(rng: np.random.Generator, disc: Float[np.ndarray, "2"], width: float) -> list[_Bud]:
    """The thin vessels that leave the disc on their own, mostly towards the macula and the nose."""
    headings = [*(np.pi + rng.normal(0, 0.6, 2)).tolist(), *rng.normal(0, 0.7, 1).tolist()]
    x, y = disc.tolist()
    return [
        _Bud(x, y, h, width * rng.uniform(0.26, 0.36), rng.uniform(0.35, 0.6), rng.normal(0, 0.02)) for h in headings
    ]


def _grow(
    rng: np.random.Generator, buds: list[_Bud], fovea: Float[np.ndarray, "2"], tortuosity: float, generation: int
) -> list[tuple[int, Vessel]]:
    """Walk all branches at once: smooth random headings that swing round the fovea and stop at its rim; by bud."""
    if not buds:
        return []
    table = np.array([(b.x, b.y, b.heading, b.width, b.length, b.bend) for b in buds])
    x, y, angle, width, step, turn = table.T
    step = step / (POINTS - 1)
    noise = rng.normal(0, 0.06 * tortuosity, (POINTS, len(buds)))
    noise[1:] = 0.5 * (noise[1:] + noise[:-1])
    turn = turn + rng.normal(0, 0.012, len(buds))
    path = np.empty((POINTS, 2, len(buds)))
    path[0] = x, y
    for k in range(1, POINTS):
        cos, sin = np.cos(angle), np.sin(angle)
        x, y = x + step * cos, y + step * sin
        path[k] = x, y
        # A vessel that runs at the fovea is turned to run round it.
        ax, ay = x - fovea[0], y - fovea[1]
        distance = np.sqrt(ax * ax + ay * ay) + 1e-6
        across = cos * ay - sin * ax
        inward = (cos * ax + sin * ay) < -0.2 * distance
        swing = np.where(inward & (distance < 0.3), (0.3 - distance) / 0.6, 0.0)
        angle = angle + turn + noise[k] - np.sign(across) * swing
    path = path.transpose(2, 0, 1)
    away = path - fovea
    gone = (np.hypot(away[..., 0], away[..., 1]) < 0.085) | (np.hypot(path[..., 0], path[..., 1]) > 1.12)
    stops = np.where(gone.any(axis=1), gone.argmax(axis=1), POINTS).tolist()
    taper = np.linspace(1.0, 0.72, POINTS)
    return [
        (i, Vessel(path[i, :stop], width[i] * taper[:stop], generation)) for i, stop in enumerate(stops) if stop >= 3
    ]
