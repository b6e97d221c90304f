"""A form for both eyes, filled in by hand: one finding a line, an answer for each eye. A style of development.

Source: our own. Differs: answers instead of sentences; the report parser's rules for forms were written with this style
at hand, so its numbers are no blind test.
"""

from __future__ import annotations

import numpy as np

from tapetum.phantom.claims import Claim, EyeClaims, Visit, one_of
from tapetum.phantom.statement import Report, Sentence
from tapetum.phantom.words_english import name_of

__all__ = ["eye_answers"]

_EYES = (("OD", "OS"), ("R", "L"), ("RE", "LE"), ("right", "left"))
_SHAPES = (
    "{name}: {a} {x}; {b} {y}",
    "{name} - {a}: {x}, {b}: {y}",
    "{name}  {a} {x}  {b} {y}",
    "{name}: {x} {a}, {y} {b}",
)
_BOTH = ("{name} OU: {x}", "{name}: {x} OU", "{name} - both eyes: {x}")
_YES, _NO, _UNSURE = (
    ("yes", "present", "+", "seen"),
    ("no", "absent", "nil", "none", "not seen", "-"),
    ("suspected", "?", "possible"),
)
_HEADS = ("EYE FORM", "Fundus proforma", "Examination of the fundi")


def eye_answers(visit: Visit, rng: np.random.Generator) -> Report:
    """Write the report of a visit."""
    lines = [Sentence(one_of(rng, _HEADS))]
    names = _EYES[int(rng.integers(len(_EYES)))]
    claims = {eye.side: {claim.finding: claim for claim in eye.claims} for eye in visit.eyes}
    for finding in dict.fromkeys(name for eye in visit.eyes for name in claims[eye.side]):
        pair = [claims[eye.side].get(finding) or _gap(eye, finding) for eye in visit.eyes]
        lines.append(_line(pair, names, rng))
    for eye, name in zip(visit.eyes, names, strict=True):
        if eye.normal:
            lines.append(Sentence(f"Normal fundus: {name} yes", (eye.fact("normal_fundus"),), True))
    return Report("eye_answers", "\n".join(line.text for line in lines), tuple(lines))


def _gap(eye: EyeClaims, finding: str) -> Claim | None:
    """What the form says of an eye that nothing was claimed of: absent where that is known, else nothing."""
    return Claim(eye.side, finding, "absent") if finding in eye.clear else None


def _line(pair: list[Claim | None], names: tuple[str, str], rng: np.random.Generator) -> Sentence:
    said = [claim for claim in pair if claim]
    name = name_of(said[0], rng, article=False).removeprefix("scattered ").removeprefix("multiple ")
    name = name[0].upper() + name[1:]
    facts = tuple(claim.fact for claim in said)
    answers = [_answer(claim, rng) if claim else "n/a" for claim in pair]
    if len(said) == 2 and said[0].status == said[1].status and rng.uniform() < 0.4:
        return Sentence(one_of(rng, _BOTH).format(name=name, x=answers[0]), facts, True)
    shape = one_of(rng, _SHAPES)
    return Sentence(shape.format(name=name, a=names[0], b=names[1], x=answers[0], y=answers[1]), facts, True)


def _answer(claim: Claim, rng: np.random.Generator) -> str:
    return one_of(rng, {"present": _YES, "absent": _NO}.get(claim.status, _UNSURE))
