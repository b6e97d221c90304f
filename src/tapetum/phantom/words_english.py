"""More English for the authors in `styles`: other names of the findings, and the parts of letters and forms."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from tapetum.phantom import phrases as say
from tapetum.phantom.claims import Claim, Visit, one_of
from tapetum.phantom.people import Patient
from tapetum.phantom.statement import Sentence

# Finding → further names of equal meaning, for running text.
ALSO: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "dot_blot_haemorrhage": ("dot and blot hemorrhages", "blot haemorrhages"),
        "flame_haemorrhage": ("splinter haemorrhages", "nerve fibre layer haemorrhages"),
        "retinal_haemorrhage": ("intraretinal haemorrhages", "retinal hemorrhages"),
        "cotton_wool_spot": ("cotton-wool spots", "soft exudates"),
        "neovascularisation": ("new vessels", "retinal neovascularization"),
        "laser_scar": ("panretinal photocoagulation scars", "laser photocoagulation scars"),
        "optic_disc_cupping": ("an increased cup-disc ratio", "optic disc cupping"),
        "optic_disc_swelling": ("optic disc oedema", "disc swelling"),
        "optic_atrophy": ("optic nerve atrophy", "optic atrophy"),
        "arteriolar_narrowing": ("attenuated arterioles", "arteriolar attenuation"),
        "pathological_myopia": ("degenerative myopia", "pathologic myopia"),
        "cataract": ("lens opacities", "a cataract"),
        "epiretinal_membrane": ("macular pucker", "an epiretinal membrane"),
        "retinitis_pigmentosa": ("rod-cone dystrophy", "retinitis pigmentosa"),
        "choroidal_naevus": ("a choroidal nevus", "a choroidal naevus"),
        "vessel_tortuosity": ("vascular tortuosity", "tortuous retinal vessels"),
        "branch_retinal_vein_occlusion": ("a branch retinal vein occlusion", "branch vein occlusion"),
        "low_image_quality": ("poor image quality",),
    }
)
DEGREES = ("scattered", "multiple", "extensive")


def name_of(claim: Claim, rng: np.random.Generator, *, article: bool = True) -> str:
    """A finding in words, now and then by another name; counted lesions with a word for how many.

    Args:
        claim: the finding.
        rng: of the report.
        article: keep "a" and "an".
    """
    draws = rng.uniform(size=2)
    name = say.NAMES[claim.finding][0] if claim.finding in say.NAMES else claim.finding.replace("_", " ")
    if claim.finding in ALSO and draws[0] < 0.4:
        name = one_of(rng, ALSO[claim.finding])
    if not article:
        name = name.removeprefix("an ").removeprefix("a ")
    if article and claim.status == "present" and claim.finding in say.GRADED and draws[1] < 0.5:
        name = f"{DEGREES[min(2, int(claim.severity * 3))]} {name}"
    return name


def illnesses(patient: Patient) -> str:
    """The patient's general illnesses as part of a sentence."""
    return {
        (True, True): "diabetes and hypertension",
        (True, False): "type 2 diabetes",
        (False, True): "hypertension",
        (False, False): "no general illness",
    }[patient.diabetes, patient.hypertension]


def salutation(patient: Patient) -> str:
    """How a letter names the patient."""
    return "lady" if patient.sex == "F" else "gentleman"


def course(visit: Visit, worse: str, same: str) -> list[Sentence]:
    """A sentence on the change since the last visit, or none."""
    return [Sentence(worse if visit.change == "worse" else same)] if visit.change else []


POOR: Mapping[str, str] = MappingProxyType(
    {
        "blur": "image out of focus",
        "dark": "underexposed image",
        "haze": "hazy image",
        "off_centre": "image not well centred",
    }
)
