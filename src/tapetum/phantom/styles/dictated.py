"""A dictation typed as spoken: small letters, the eye behind the findings or only at a turn of phrase.

Source: our own wording. Differs: one run-on sentence per eye, eyes in words, places within the retina in between.
"""

from __future__ import annotations

import numpy as np

from tapetum.core.types import Laterality
from tapetum.phantom.claims import Claim, EyeClaims, Visit, one_of
from tapetum.phantom.statement import Report, Sentence, running
from tapetum.phantom.words_english import POOR, name_of

__all__ = ["dictated"]

_PLACED = ("along the temporal arcades", "at the posterior pole", "temporal to the macula", "in the inferior periphery")
_PLACES = ("hard_exudate", "drusen", "dot_blot_haemorrhage", "microaneurysm", "cotton_wool_spot", "laser_scar")


def dictated(visit: Visit, rng: np.random.Generator) -> Report:
    """Type the dictation."""
    left_first = rng.uniform() < 0.4
    opening = Sentence(
        one_of(rng, ("fundus photographs of both eyes today.", "dictating this morning's fundus photographs."))
    )
    sentences = [opening]
    eyes = visit.eyes[::-1] if left_first else visit.eyes
    trailing = rng.uniform() < 0.5
    for eye in eyes:
        sentences += _trailing(eye, rng) if trailing else _leading(eye, rng)
    end = one_of(
        rng,
        (
            "patient happy with the explanation.",
            "usual letter please.",
            f"recall in {int(rng.choice([6, 12]))} months.",
        ),
    )
    if visit.change:
        sentences.append(
            Sentence("definitely worse than last time." if visit.change == "worse" else "much the same as last time.")
        )
    sentences.append(Sentence(end))
    return Report("dictated", running(sentences), tuple(sentences))


def _side(eye: EyeClaims) -> str:
    return "right" if eye.side is Laterality.RIGHT else "left"


def _spoken(claim: Claim, rng: np.random.Generator) -> str:
    name = name_of(claim, rng, article=claim.status != "absent")
    if claim.status == "present" and claim.finding in _PLACES and rng.uniform() < 0.4:
        name = f"{name} {one_of(rng, _PLACED)}"
    if claim.status == "uncertain":
        name = one_of(rng, ("possibly {}", "could be {}", "query {}")).format(name)
    return f"no {name}" if claim.status == "absent" else name


def _leading(eye: EyeClaims, rng: np.random.Generator) -> list[Sentence]:
    """One sentence that starts with the eye: "on the right side we have … and … but no …"."""
    start = one_of(rng, ("on the {} side", "in the {} eye we see", "moving on to the {} eye", "now the {} eye")).format(
        _side(eye)
    )
    parts = ["normal fundus"] if eye.normal else []
    facts = [eye.fact("normal_fundus")] if eye.normal else []
    for claim in (*eye.stated, *eye.doubted, *eye.denied):
        parts.append(_spoken(claim, rng))
        facts.append(claim.fact)
    if eye.quality:
        parts.append(POOR[eye.quality])
        facts.append(eye.fact("low_image_quality"))
    if not parts:
        return []
    return [
        Sentence(
            f"{start} {' and '.join([', '.join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)}.",
            tuple(facts),
            True,
        )
    ]


def _trailing(eye: EyeClaims, rng: np.random.Generator) -> list[Sentence]:
    """Short sentences that end with the eye."""
    side = f"{_side(eye)} eye"
    body: list[Sentence] = []
    if eye.normal:
        body.append(Sentence(f"normal retina {side}.", (eye.fact("normal_fundus"),), True))
    groups = (eye.stated[:2], eye.stated[2:], eye.doubted, eye.denied)
    for claims in filter(None, groups):
        link = one_of(rng, (" in the ", ", ", " "))
        what = " and ".join(_spoken(claim, rng) for claim in claims)
        body.append(Sentence(f"{what}{link}{side}.", tuple(claim.fact for claim in claims), True))
    if eye.quality:
        body.append(Sentence(f"{POOR[eye.quality]} {side}.", (eye.fact("low_image_quality"),), True))
    return body
