"""Patients with ages, illnesses, visits and two eyes that resemble each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np

from tapetum.core.types import Laterality
from tapetum.phantom.spec import EyeSpec

EYES = (Laterality.RIGHT, Laterality.LEFT)
# Degradations and their share of all pictures.
DEGRADED = (("blur", 0.025), ("dark", 0.02), ("haze", 0.02), ("off_centre", 0.025))


@dataclass(frozen=True)
class Patient:
    """One person of the phantom clinic; nobody real.

    Attributes:
        site: `site_1`, `site_2`, …, each with one camera. first_visit: day of the first picture.
        identities: what names the anatomy of the right and of the left eye.
        courses: per eye: sign → (severity at the first visit, growth per visit).
    """

    name: str
    age_years: int
    sex: str
    diabetes: bool
    hypertension: bool
    site: str
    camera: str
    first_visit: date
    identities: tuple[int, int]
    pigment: float
    cup_disc_ratios: tuple[float, float]
    courses: tuple[Mapping[str, tuple[float, float]], Mapping[str, tuple[float, float]]] = field(
        default_factory=lambda: ({}, {})
    )


def draw_patient(rng: np.random.Generator, number: int, cameras: tuple[str, ...]) -> Patient:
    """Draw one patient; `number` counts from 1 and becomes the id."""
    age = int(np.clip(rng.normal(57, 15), 18, 92))
    diabetes, hypertension = bool(rng.uniform() < 0.40), bool(rng.uniform() < 0.16 + 0.003 * age)
    place = int(rng.integers(len(cameras)))
    ratio = float(np.clip(rng.normal(0.36, 0.09), 0.15, 0.55))
    both = np.clip(ratio + rng.normal(0, 0.03, 2), 0.12, 0.58)
    courses = _illness(rng, age, diabetes, hypertension)
    return Patient(
        f"P{number:04d}",
        age,
        "F" if rng.uniform() < 0.52 else "M",
        diabetes,
        hypertension,
        f"site_{place + 1}",
        cameras[place],
        date(2021, 1, 4) + timedelta(days=int(rng.integers(0, 1400))),
        (int(rng.integers(2**40)), int(rng.integers(2**40))),
        float(np.clip(rng.beta(2.2, 2.2), 0, 1)),
        (float(both[0]), float(both[1])),
        courses,
    )


def eye_at(
    patient: Patient, side: int, visit: int, rng: np.random.Generator, marker: str = "none", degraded: float = 1.0
) -> EyeSpec:
    """The eye of a patient at a visit; disease only grows.

    Args:
        patient: whose eye.
        side: 0 right, 1 left.
        visit: counts from 0.
        rng: of this picture.
        marker: see `EyeSpec`.
        degraded: factor on the share of bad pictures.
    """
    signs = {
        name: float(min(1.0, start + growth * visit)) for name, (start, growth) in sorted(patient.courses[side].items())
    }
    quality, draw = "good", float(rng.uniform())
    for name, share in DEGRADED:
        if draw < share * degraded:
            quality = name
            break
        draw -= share * degraded
    return EyeSpec(
        EYES[side],
        patient.identities[side],
        signs,
        float(patient.age_years + visit),
        patient.pigment,
        patient.cup_disc_ratios[side],
        patient.camera,
        quality,
        marker,
    )


def _illness(
    rng: np.random.Generator, age: int, diabetes: bool, hypertension: bool
) -> tuple[dict[str, tuple[float, float]], dict[str, tuple[float, float]]]:
    """Draw the diseases of a person and how each eye shows them; the second eye follows the first in three of four."""
    eyes: tuple[dict[str, tuple[float, float]], dict[str, tuple[float, float]]] = ({}, {})
    old = float(np.clip((age - 45) / 30, 0, 1.4))
    chances = {
        "diabetic": 0.60 if diabetes else 0.0,
        "hypertensive": 0.0 if not hypertension else 0.22 if diabetes else 0.50,
        "amd": 0.06 + 0.21 * old,
        "glaucoma": 0.09 + 0.08 * old,
        "cataract": 0.05 + 0.20 * old,
        "myopia": 0.13,
        "epiretinal_membrane": 0.03 + 0.03 * old,
        "branch_retinal_vein_occlusion": 0.06 if hypertension else 0.02,
        "macular_hole": 0.03,
        "retinitis_pigmentosa": 0.025,
        "optic_disc_swelling": 0.02,
        "myelinated_nerve_fibres": 0.02,
        "choroidal_naevus": 0.025,
        "optic_atrophy": 0.02,
        "vessel_tortuosity": 0.02,
    }
    one_eyed = {"branch_retinal_vein_occlusion", "macular_hole", "choroidal_naevus", "myelinated_nerve_fibres"}
    for disease, chance in chances.items():
        ill, level, follow = rng.uniform() < chance, float(rng.beta(1.8, 1.8)), rng.uniform(size=2)
        leading = int(rng.integers(2))
        spread, own = rng.normal(0, 0.1, 2), np.random.default_rng(int(rng.integers(2**62)))
        if not ill:
            continue
        sides = [leading] if disease in one_eyed or follow[0] > 0.78 else [leading, 1 - leading]
        for side in sides:
            severity = float(np.clip(level + spread[side], 0.05, 1.0))
            signs = SIGNS_OF[disease](severity, own) if disease in SIGNS_OF else {disease: severity}
            for name, value in signs.items():
                start = max(eyes[side].get(name, (0.0, 0.0))[0], value)
                eyes[side][name] = (float(np.clip(start, 0.05, 1.0)), float(own.uniform(0, 0.08)))
    return eyes


def _diabetic(level: float, rng: np.random.Generator) -> dict[str, float]:
    signs = {"microaneurysm": 0.15 + 0.8 * level}
    if level > 0.28:
        signs["dot_blot_haemorrhage"] = 1.75 * (level - 0.2)
        if rng.uniform() < 0.7:
            signs["hard_exudate"] = 0.25 + 0.7 * level
        if rng.uniform() < 0.35:
            signs["cotton_wool_spot"] = level
    if level > 0.80:
        signs["neovascularisation"] = level
        if rng.uniform() < 0.5:
            signs["laser_scar"] = 0.4 + 0.6 * float(rng.uniform())
    return signs


def _hypertensive(level: float, rng: np.random.Generator) -> dict[str, float]:
    signs = {"arteriolar_narrowing": 0.4 + 0.6 * level, "flame_haemorrhage": 0.2 + 0.8 * level}
    if rng.uniform() < 0.6:
        signs["cotton_wool_spot"] = level
    return signs


def _amd(level: float, rng: np.random.Generator) -> dict[str, float]:
    signs = {"drusen": 0.2 + 0.8 * level}
    if level > 0.66:
        signs["geographic_atrophy"] = float(rng.uniform(0.2, 1))
    return signs


def _glaucoma(level: float, rng: np.random.Generator) -> dict[str, float]:
    return {"optic_disc_cupping": 0.05 + 0.95 * level}


def _myopia(level: float, rng: np.random.Generator) -> dict[str, float]:
    signs = {"myopic_crescent": 0.35 + 0.65 * level}
    if level > 0.6:
        signs["chorioretinal_atrophy"] = level
    return signs


def _rp(level: float, rng: np.random.Generator) -> dict[str, float]:
    return {"retinitis_pigmentosa": 0.3 + 0.7 * level, "arteriolar_narrowing": 0.3 + 0.6 * level}


SIGNS_OF = {
    "diabetic": _diabetic,
    "hypertensive": _hypertensive,
    "amd": _amd,
    "glaucoma": _glaucoma,
    "myopia": _myopia,
    "retinitis_pigmentosa": _rp,
}
