"""The normal retina: choroid, macula, disc and vessels, coloured and in the order in which light meets them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float32

from tapetum.phantom.anatomy import Vessel
from tapetum.phantom.canvas import Canvas, Paint, ramp
from tapetum.phantom.spec import EyeSpec

Picture = Float32[np.ndarray, "3 h w"]
FAIR, DARK = np.array([0.90, 0.50, 0.29], np.float32), np.array([0.66, 0.32, 0.155], np.float32)


def background(canvas: Canvas, eye: EyeSpec, rng: np.random.Generator) -> Picture:
    """Choroid and pigment epithelium: colour by pigment, mottling, choroidal vessels and a macula."""
    # All of it but the finest mottling is smooth: drawn small, then enlarged.
    small = canvas.at_size(min(canvas.size, 128))
    tone = FAIR + (DARK - FAIR) * np.float32(eye.pigment)
    shade = np.float32(1) + 0.04 * small.noise(rng, 7) + 0.022 * small.noise(rng, 26)
    # The posterior pole is brighter than the periphery, most of all round the disc where the fibre layer is thick.
    pole = small.distance(canvas.anatomy.disc * 0.5)
    shade *= np.float32(1.08) - np.float32(0.20) * ramp(pole, 0.1, 1.35)
    myopia = eye.signs.get("myopic_crescent", 0.0) + eye.signs.get("chorioretinal_atrophy", 0.0)
    tessellation = float(np.clip(0.30 - 0.5 * eye.pigment + rng.normal(0.06, 0.10) + 0.4 * myopia, 0, 0.8))
    middle = small.distance(canvas.anatomy.fovea)
    streaks = np.exp(-((small.noise(rng, 15) / 0.28) ** 2)) * ramp(middle, 0.2, 0.8)
    macula, pit = np.exp(-((middle / 0.24) ** 2)), np.exp(-((middle / 0.075) ** 2))
    depth = np.float32(rng.uniform(0.16, 0.28))
    near_disc = np.exp(-((small.distance(canvas.anatomy.disc) / 0.42) ** 2))
    fine = np.float32(1) + np.float32(0.016) * canvas.noise(rng, 80)
    image = np.empty((3, canvas.size, canvas.size), np.float32)
    for channel, (dark, spot, streak, halo) in enumerate(
        ((0.75, 0.5, 0.02, 0.05), (1.15, 0.85, -0.16, 0.12), (1.2, 0.7, -0.22, 0.14))
    ):
        plane = shade * tone[channel]
        plane *= 1 - depth * np.float32(dark) * macula - np.float32(0.17 * spot) * pit
        plane *= 1 + np.float32(halo) * near_disc
        plane *= 1 + np.float32(tessellation * streak) * (2 * streaks - 1)
        image[channel] = cv2.resize(plane, (canvas.size, canvas.size), interpolation=cv2.INTER_CUBIC)
        image[channel] *= fine
    if eye.age_years < 45:
        reflex = np.exp(-((canvas.distance(canvas.anatomy.fovea) / 0.017) ** 2))
        image += reflex * np.float32(0.22 * (1 - eye.age_years / 60))
    return image


def disc_paints(canvas: Canvas, eye: EyeSpec, rng: np.random.Generator) -> list[Paint]:
    """The optic disc with rim, cup and a thin scleral edge; marks disc and cup."""
    anatomy = canvas.anatomy
    disc = canvas.ellipse(anatomy.disc, anatomy.disc_axes)
    cup = canvas.ellipse(anatomy.cup, anatomy.cup_axes)
    canvas.mark("optic_disc", disc)
    canvas.mark("optic_cup", cup)
    if "optic_disc_cupping" in eye.signs:
        canvas.mark("optic_disc_cupping", cup)
    pallor = eye.signs.get("optic_atrophy", 0.0)
    if pallor:
        canvas.mark("optic_atrophy", disc)
    cupped = eye.signs.get("optic_disc_cupping", 0.0)
    rim = (0.96 + 0.02 * pallor - 0.02 * cupped, 0.71 + 0.16 * pallor - 0.05 * cupped, 0.43 + 0.31 * pallor)
    pale = (1.04, 0.93 + 0.04 * max(pallor, cupped), 0.69 + 0.14 * max(pallor, cupped))
    dx, dy = canvas.x - np.float32(anatomy.disc[0]), canvas.y - np.float32(anatomy.disc[1])
    distance = np.sqrt(dx * dx + dy * dy)
    radius = canvas.disc_radius
    sclera = canvas.soften(disc, 0.016) * ramp(distance, 0.75 * radius, 1.0 * radius) * np.float32(0.35)
    nasal = canvas.soften(disc, 0.006) * np.clip(dx / np.float32(radius), 0, 1) * np.float32(0.35)
    return [
        Paint(sclera, (0.99, 0.80, 0.52)),
        Paint(np.float32(0.93) * canvas.soften(disc, 0.007), rim),
        Paint(nasal, (0.92, 0.52, 0.30)),
        Paint(np.float32(0.85 + 0.08 * cupped) * canvas.soften(cup, 0.012 - 0.006 * cupped), pale),
    ]


def vessel_paints(canvas: Canvas, eye: EyeSpec) -> list[Paint]:
    """Veins under arteries, each darker in the middle, the wide ones with a central reflex; marks both."""
    anatomy = canvas.anatomy
    paints: list[Paint] = []
    for name, vessels, colour, depth, reflex in (
        ("veins", anatomy.veins, (0.43, 0.10, 0.075), 0.78, 0.10),
        ("arteries", anatomy.arteries, (0.60, 0.165, 0.095), 0.76, 0.38),
    ):
        shape = canvas.strokes(vessels)
        canvas.mark(name, shape)
        # Thin vessels hold little blood and absorb little light.
        wide = [v for v in vessels if v.generation <= 1 and float(v.width[0]) > 0.011]
        body = np.float32(0.54) * shape + np.float32(0.46) * canvas.strokes(wide)
        paints.append(Paint(np.float32(depth) * canvas.soften(body, 0.0022), colour))
        # The reflex begins where the vessel lies flat on the retina, outside the cup.
        flat = [Vessel(v.points[6:], v.width[6:], 0) for v in vessels if v.generation == 0]
        shine = canvas.soften(canvas.strokes(flat, share=0.3, thinnest_px=1.6), 0.002)
        paints.append(Paint(np.float32(reflex) * shine, (0.95, 0.55, 0.36)))
    canvas.mark("vessels", canvas.masks["veins"] | canvas.masks["arteries"])
    if "arteriolar_narrowing" in eye.signs:
        canvas.mark("arteriolar_narrowing", canvas.masks["arteries"])
    if "vessel_tortuosity" in eye.signs:
        canvas.mark("vessel_tortuosity", canvas.masks["vessels"])
    return paints


def lay(image: Picture, paints: Sequence[Paint]) -> None:
    """Lay paints over an image in place, each as much as its alpha says."""
    for paint in paints:
        rows = np.flatnonzero(paint.alpha.max(axis=1))
        if not len(rows):
            continue
        window = slice(int(rows[0]), int(rows[-1]) + 1)
        rest = 1 - paint.alpha[window]
        for plane, colour in zip(image, paint.colour, strict=True):
            part = plane[window]
            part -= np.float32(colour)
            part *= rest
            part += np.float32(colour)
