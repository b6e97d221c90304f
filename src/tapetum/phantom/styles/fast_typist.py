"""Standard names in a hurry: many slips of the keyboard, and abbreviations that are explained once and then used.

Source: our own wording. Differs: an abbreviation in brackets stands for the words before it in the rest of the report.
"""

from __future__ import annotations

import numpy as np

from tapetum.phantom import phrases as say
from tapetum.phantom.claims import Claim, EyeClaims, Visit, one_of
from tapetum.phantom.statement import Fact, Report, Sentence, running
from tapetum.phantom.words_unseen import typed

__all__ = ["fast_typist"]

# Finding → an abbreviation of this author, in no pack.
SHORT = {
    "microaneurysm": "mcAs",
    "dot_blot_haemorrhage": "DaBH",
    "flame_haemorrhage": "FSH",
    "hard_exudate": "HEx",
    "cotton_wool_spot": "CtWS",
    "neovascularisation": "NeoV",
    "drusen": "Drn",
    "epiretinal_membrane": "EpiM",
    "macular_hole": "McH",
    "optic_disc_swelling": "ODSw",
    "arteriolar_narrowing": "ArN",
    "optic_disc_cupping": "OCup",
    "diabetic_retinopathy": "DiabR",
    "retinal_haemorrhage": "RHg",
    "geographic_atrophy": "GeoA",
    "myopic_crescent": "MyC",
}


def fast_typist(visit: Visit, rng: np.random.Generator) -> Report:
    """Type the report."""
    known: set[str] = set()
    sentences = [Sentence(one_of(rng, ("Screening photographs.", "Diabetic photo clinic.", "Annual photographs.")))]
    labels = one_of(rng, ("RE |LE ", "OD: |OS: ", "Right eye: |Left eye: ")).split("|")
    for eye, label in zip(visit.eyes, labels, strict=True):
        body = _eye(eye, rng, known)
        if body:
            first = Sentence(label + body[0].text, body[0].facts, True)
            sentences += [Sentence(typed(s.text, rng, 0.18), s.facts, s.visible) for s in (first, *body[1:])]
    sentences.append(Sentence(one_of(rng, ("Recall 12 months.", "Letter to GP.", "Refer."))))
    return Report("fast_typist", running(sentences), tuple(sentences))


def _eye(eye: EyeClaims, rng: np.random.Generator, known: set[str]) -> list[Sentence]:
    body: list[Sentence] = []
    if eye.quality:
        body.append(Sentence("poor image quality.", (eye.fact("low_image_quality"),), True))
    if eye.normal:
        body.append(Sentence("normal fundus.", (eye.fact("normal_fundus"),), True))
    for claims in (eye.stated, eye.doubted, eye.denied):
        if claims:
            words = [_name(claim, known) for claim in claims]
            start = {"absent": "no ", "uncertain": "possible ", "present": ""}[claims[0].status]
            text = f"{start}{f', {start}'.join(words)}."
            facts: tuple[Fact, ...] = tuple(claim.fact for claim in claims)
            body.append(Sentence(text, facts, True))
    return body


def _name(claim: Claim, known: set[str]) -> str:
    name = say.NAMES[claim.finding][0].removeprefix("an ").removeprefix("a ")
    short = SHORT.get(claim.finding)
    if short is None:
        return name
    if claim.finding in known:
        return short
    known.add(claim.finding)
    return f"{name} ({short})"
