"""A consultant's letter to the family doctor: long sentences in the first person, findings before or after their eye.

Source: our own wording. Differs: both eyes are taken together where they agree, and denials come as "I could find no".
"""

from __future__ import annotations

import numpy as np

from tapetum.core.types import Laterality
from tapetum.phantom.claims import Claim, EyeClaims, Visit, one_of
from tapetum.phantom.statement import Fact, Report, Sentence, enumerated, running
from tapetum.phantom.words_english import POOR, course, illnesses, name_of, salutation

__all__ = ["letter"]

_SIDE = {Laterality.RIGHT: "right", Laterality.LEFT: "left"}
_STATED = (
    "Dilated fundus examination of the {side} eye demonstrated {what}.",
    "In the {side} fundus I found {what}.",
    "The {side} eye shows {what}.",
    "Examination of the {side} retina disclosed {what}.",
)
_DENIED = (
    "I could find no {what} in the {side} eye.",
    "I found no {what} on the {side} side.",
    "I saw no evidence of {what} in the {side} eye.",
)
_DOUBTED = (
    "I wondered about {what} in the {side} eye.",
    "The appearances raise the possibility of {what} in the {side} eye.",
    "There may be {what} on the {side}.",
)
_NORMAL = (
    "The {side} fundus looked entirely normal.",
    "The {side} fundus was normal.",
    "The {side} eye has a healthy retina.",
)


def letter(visit: Visit, rng: np.random.Generator) -> Report:
    """Write the letter."""
    patient, years = visit.patient, int(rng.integers(2, 20))
    opening = [
        Sentence(
            f"Thank you for referring this {patient.age_years}-year-old {salutation(patient)}, "
            f"who has {illnesses(patient)}."
        ),
        Sentence(
            one_of(
                rng,
                (
                    f"{'She' if patient.sex == 'F' else 'He'} was first seen here {years} years ago.",
                    "The vision has been stable with the present glasses.",
                ),
            )
        ),
        Sentence("Visual acuity was 6/{} on the right and 6/{} on the left.".format(*rng.choice([6, 9, 12, 18], 2))),
    ]
    body = _both(visit, rng)
    said = {(fact.finding, fact.status) for sentence in body for fact in sentence.facts}
    for eye in visit.eyes:
        body += _eye(eye, said, rng)
    closing = course(
        visit,
        "Compared with the last visit there has been progression.",
        "I see no change compared with the last visit.",
    )
    closing.append(
        Sentence(
            f"I have arranged to see {'her' if patient.sex == 'F' else 'him'} again "
            f"in {int(rng.choice([3, 6, 12]))} months."
        )
    )
    if (patient.diabetes or patient.hypertension) and rng.uniform() < 0.5:
        closing.append(Sentence("Good control of blood pressure and blood sugar remains important."))
    text = "\n\n".join(("Dear Doctor,", running(opening), running(body), running(closing), "With kind regards"))
    return Report("letter", text, (*opening, *body, *closing))


def _both(visit: Visit, rng: np.random.Generator) -> list[Sentence]:
    """What holds for both eyes, said once."""
    if visit.right.normal and visit.left.normal:
        words = ("Both fundi were entirely normal.", "The fundi were normal in both eyes.")
        return [Sentence(one_of(rng, words), (Fact(Laterality.BOTH, "normal_fundus", "present"),), True)]
    left = {claim.finding for claim in visit.left.stated}
    shared = [claim for claim in visit.right.stated if claim.finding in left]
    if not shared or rng.uniform() < 0.4:
        return []
    what = enumerated(name_of(claim, rng) for claim in shared)
    words = ("Both eyes show {}.", "On fundoscopy there were {} in both eyes.", "In both fundi I found {}.")
    facts = tuple(Fact(Laterality.BOTH, claim.finding, "present") for claim in shared)
    return [Sentence(one_of(rng, words).format(what), facts, True)]


def _eye(eye: EyeClaims, said: set[tuple[str, str]], rng: np.random.Generator) -> list[Sentence]:
    side = _SIDE[eye.side]
    body: list[Sentence] = []
    if eye.quality:
        body.append(
            Sentence(f"The {side} photograph is limited: {POOR[eye.quality]}.", (eye.fact("low_image_quality"),), True)
        )
    if eye.normal and ("normal_fundus", "present") not in said:
        body.append(Sentence(one_of(rng, _NORMAL).format(side=side), (eye.fact("normal_fundus"),), True))
    stated = [claim for claim in eye.stated if (claim.finding, "present") not in said]
    body += _framed(_STATED, side, stated, rng)
    for claim in eye.doubted:
        body += _framed(_DOUBTED, side, [claim], rng)
    body += _framed(_DENIED, side, eye.denied, rng, last=" or ", article=False)
    return body


def _framed(
    frames: tuple[str, ...],
    side: str,
    claims: tuple[Claim, ...] | list[Claim],
    rng: np.random.Generator,
    *,
    last: str = " and ",
    article: bool = True,
) -> list[Sentence]:
    if not claims:
        return []
    what = enumerated((name_of(claim, rng, article=article) for claim in claims), last)
    text = one_of(rng, frames).format(side=side, what=what)
    return [Sentence(text, tuple(claim.fact for claim in claims), True)]
