"""Quick notes of a junior doctor: clipped words, abbreviations of their own and slips of the keyboard.

Source: our own wording. Differs: no finding is called by a name that a pack lists (`words_unseen`).
"""

from __future__ import annotations

import numpy as np

from tapetum.phantom.claims import Claim, EyeClaims, Visit, one_of
from tapetum.phantom.statement import Report, Sentence, running
from tapetum.phantom.words_unseen import UNSEEN, typed

__all__ = ["registrar"]

_EYES = (("R:", "L:"), ("RE:", "LE:"), ("OD", "OS"))
_OPENING = ("Fundus photos today.", "DM clinic, photos both eyes.", "Seen in casualty clinic.")
_END = ("RV 3/12.", "Disch to GP.", "RV 6/12 with photos.")


def registrar(visit: Visit, rng: np.random.Generator) -> Report:
    """Write the notes."""
    marks = _EYES[int(rng.integers(3))]
    sentences = [Sentence(one_of(rng, _OPENING))]
    for eye, mark in zip(visit.eyes, marks, strict=True):
        body = _eye(eye, mark, rng)
        sentences += [body] if body else []
    sentences.append(Sentence(one_of(rng, _END)))
    return Report("registrar", running(sentences, "\n"), tuple(sentences))


def _eye(eye: EyeClaims, mark: str, rng: np.random.Generator) -> Sentence | None:
    parts = [one_of(rng, UNSEEN["normal_fundus"][0])] if eye.normal else []
    facts = [eye.fact("normal_fundus")] if eye.normal else []
    for claim in eye.claims:
        parts.append(_note(claim, rng))
        facts.append(claim.fact)
    if eye.quality:
        parts.append(one_of(rng, UNSEEN["low_image_quality"][0]))
        facts.append(eye.fact("low_image_quality"))
    if not parts:
        return None
    return Sentence(typed(f"{mark} {', '.join(parts)}.", rng, 0.06), tuple(facts), True)


def _note(claim: Claim, rng: np.random.Generator) -> str:
    name, more = one_of(rng, UNSEEN[claim.finding][0]), float(rng.uniform())
    if claim.status == "absent":
        return f"no {name}"
    if claim.status == "uncertain":
        return f"?{name}"
    return f"{name} ++" if claim.severity > 0.6 and more < 0.3 else name
