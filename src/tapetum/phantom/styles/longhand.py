"""Prose with words of the author's own: older names, other word orders, adjectives where others use nouns.

Source: our own wording. Differs: no finding is called by a name that a pack lists (`words_unseen`).
"""

from __future__ import annotations

import numpy as np

from tapetum.core.types import Laterality
from tapetum.phantom.claims import Claim, EyeClaims, Visit, one_of
from tapetum.phantom.statement import Report, Sentence, enumerated, running
from tapetum.phantom.words_english import course
from tapetum.phantom.words_unseen import UNSEEN, typed

__all__ = ["longhand"]

_STATED = ("{side} eye: the fundus presents with {what}.", "The {side} eye displays {what}.", "On the {side}, {what}.")
_DENIED = (
    "I cannot see any {what} on the {side}.",
    "The {side} eye is free of {what}.",
    "I could not make out any {what} in the {side} eye.",
)
_DOUBTED = ("Perhaps {what} in the {side} eye.", "The {side} eye may have {what}.")
_NORMAL = ("The {side} eye has a {what}.", "{side} eye: {what}.")


def longhand(visit: Visit, rng: np.random.Generator) -> Report:
    """Write the report."""
    sentences = [Sentence("Photographic examination of both fundi.")]
    for eye in visit.eyes:
        sentences += [Sentence(typed(s.text, rng, 0.04), s.facts, s.visible) for s in _eye(eye, rng)]
    sentences += course(visit, "The condition has deteriorated.", "The condition is stable.")
    sentences.append(Sentence(one_of(rng, ("A further appointment was made.", "The patient was informed."))))
    return Report("longhand", running(sentences), tuple(sentences))


def _eye(eye: EyeClaims, rng: np.random.Generator) -> list[Sentence]:
    side = "right" if eye.side is Laterality.RIGHT else "left"
    body: list[Sentence] = []
    if eye.quality:
        what = one_of(rng, UNSEEN["low_image_quality"][1])
        body.append(Sentence(f"{side} eye: {what}.".capitalize(), (eye.fact("low_image_quality"),), True))
    if eye.normal:
        what = one_of(rng, UNSEEN["normal_fundus"][1])
        frame = _NORMAL[0 if what.startswith("healthy") else 1]
        text = frame.format(side=side, what=what)
        body.append(Sentence(text[0].upper() + text[1:], (eye.fact("normal_fundus"),), True))
    if eye.stated:
        body.append(_framed(_STATED, side, eye.stated, rng))
    body += [_framed(_DOUBTED, side, (claim,), rng) for claim in eye.doubted]
    if eye.denied:
        body.append(_framed(_DENIED, side, eye.denied, rng))
    return body


def _framed(frames: tuple[str, ...], side: str, claims: tuple[Claim, ...], rng: np.random.Generator) -> Sentence:
    names = [one_of(rng, UNSEEN[claim.finding][1]) for claim in claims]
    denied = claims[0].status == "absent"
    if denied:
        names = [name.removeprefix("an ").removeprefix("a ") for name in names]
    text = one_of(rng, frames).format(side=side, what=enumerated(names, " or " if denied else " and "))
    return Sentence(text[0].upper() + text[1:], tuple(claim.fact for claim in claims), True)
