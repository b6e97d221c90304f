"""Findings and frames in Spanish, for the Spanish authors in `styles`. All sentences are our own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from tapetum.phantom.claims import one_of
from tapetum.phantom.people import Patient

# Finding → (in full, further names of equal meaning, abbreviated).
NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "mild_npdr": ("retinopatía diabética no proliferativa leve", "RDNP leve"),
        "moderate_npdr": ("retinopatía diabética no proliferativa moderada", "RDNP moderada"),
        "severe_npdr": (
            "retinopatía diabética no proliferativa grave",
            "retinopatía diabética no proliferativa severa",
            "RDNP severa",
        ),
        "proliferative_dr": ("retinopatía diabética proliferativa", "RDP"),
        "diabetic_retinopathy": ("retinopatía diabética", "RD"),
        "microaneurysm": ("microaneurismas", "microaneurismas"),
        "dot_blot_haemorrhage": ("hemorragias puntiformes", "hemorragias en mancha"),
        "flame_haemorrhage": ("hemorragias en llama", "hemorragias en llama"),
        "retinal_haemorrhage": ("hemorragias retinianas", "hemorragias intrarretinianas", "hemorragias"),
        "hard_exudate": ("exudados duros", "exudados duros"),
        "cotton_wool_spot": ("manchas algodonosas", "exudados algodonosos", "exudados blandos"),
        "neovascularisation": ("neovascularización", "neovasos"),
        "laser_scar": ("cicatrices de láser", "impactos de láser", "cicatrices de fotocoagulación"),
        "drusen": ("drusas", "drusen"),
        "dry_amd": ("degeneración macular asociada a la edad seca", "DMAE seca"),
        "geographic_atrophy": ("atrofia geográfica", "atrofia geográfica"),
        "glaucoma": ("glaucoma", "glaucoma"),
        "glaucoma_suspect": ("sospecha de glaucoma", "papila sospechosa de glaucoma"),
        "optic_disc_cupping": ("excavación papilar aumentada", "aumento de la excavación papilar", "papila excavada"),
        "optic_disc_swelling": ("edema de papila", "edema papilar"),
        "optic_atrophy": ("atrofia óptica", "atrofia del nervio óptico"),
        "hypertensive_retinopathy": ("retinopatía hipertensiva", "retinopatía hipertensiva"),
        "arteriolar_narrowing": ("estrechamiento arteriolar", "atenuación arteriolar"),
        "pathological_myopia": ("miopía patológica", "miopía degenerativa"),
        "myopic_crescent": ("cono miópico", "creciente miópico"),
        "chorioretinal_atrophy": ("atrofia coriorretiniana", "placas de atrofia coriorretiniana"),
        "cataract": ("catarata", "opacidad del cristalino"),
        "branch_retinal_vein_occlusion": ("oclusión de rama venosa retiniana", "ORVR", "trombosis de rama venosa"),
        "epiretinal_membrane": ("membrana epirretiniana", "MER"),
        "macular_hole": ("agujero macular", "agujero macular"),
        "retinitis_pigmentosa": ("retinosis pigmentaria", "retinosis pigmentaria"),
        "myelinated_nerve_fibres": ("fibras de mielina", "fibras nerviosas mielinizadas"),
        "choroidal_naevus": ("nevus coroideo", "nevo coroideo"),
        "vessel_tortuosity": ("tortuosidad vascular", "vasos tortuosos"),
    }
)
POOR: Mapping[str, str] = MappingProxyType(
    {
        "blur": "imagen desenfocada",
        "dark": "imagen subexpuesta",
        "haze": "imagen borrosa",
        "off_centre": "imagen de mala calidad",
    }
)
ILLNESSES = {
    (True, True): "diabetes mellitus tipo 2 e hipertensión arterial",
    (True, False): "diabetes mellitus tipo 2",
    (False, True): "hipertensión arterial en tratamiento",
    (False, False): "sin enfermedades sistémicas",
}


def name_of(finding: str, rng: np.random.Generator, *, full: bool = True) -> str:
    """A finding in words; `full` prefers the first name."""
    return NAMES[finding][0] if full and rng.uniform() < 0.6 else one_of(rng, NAMES[finding])


def illnesses(patient: Patient) -> str:
    """The patient's general illnesses as part of a sentence."""
    return ILLNESSES[patient.diabetes, patient.hypertension]


def enumerated(items: Sequence[str], last: str = " y ") -> str:
    """A list as it is spoken; "y" becomes "e", "o" becomes "u", before the same sound.

    Example:
        >>> enumerated(["drusas", "impactos de láser"])
        'drusas e impactos de láser'
    """
    if len(items) < 2:
        return "".join(items)
    if last == " y " and items[-1].startswith(("i", "hi")):
        last = " e "
    if last == " o " and items[-1].startswith(("o", "ho")):
        last = " u "
    return ", ".join(items[:-1]) + last + items[-1]


def plural(items: Sequence[str]) -> bool:
    """Whether a verb before these is in the plural."""
    return len(items) > 1 or items[0].split()[0] in _PLURALS


_PLURALS = {
    "microaneurismas", "hemorragias", "exudados", "manchas", "neovasos", "cicatrices", "impactos", "drusas", "drusen",
    "placas", "fibras", "vasos",
}  # fmt: skip
