"""A table with a column for each eye, or a list of boxes. A style of development.

Source: our own. Differs: cells and boxes instead of sentences; the report parser's rules for tables were written with
this style at hand, so its numbers are no blind test.
"""

from __future__ import annotations

import numpy as np

from tapetum.phantom.claims import Claim, Visit, one_of
from tapetum.phantom.statement import Report, Sentence
from tapetum.phantom.words_english import name_of

__all__ = ["eye_columns"]

_HEADS = (("Finding", "Right", "Left"), ("Sign", "OD", "OS"), ("Lesion", "RE", "LE"))
_BETWEEN = (" | ", "\t", "    ")
_CELLS = {
    "present": ("yes", "+", "present"),
    "absent": ("no", "-", "none"),
    "uncertain": ("?", "suspected", "doubtful"),
}


def eye_columns(visit: Visit, rng: np.random.Generator) -> Report:
    """Write the report of a visit."""
    lines = _boxes(visit, rng) if rng.uniform() < 0.3 else _table(visit, rng)
    return Report("eye_columns", "\n".join(line.text for line in lines), tuple(lines))


def _table(visit: Visit, rng: np.random.Generator) -> list[Sentence]:
    between = one_of(rng, _BETWEEN)
    lines = [Sentence(between.join(_HEADS[int(rng.integers(len(_HEADS)))]))]
    claims = [{claim.finding: claim for claim in eye.claims} for eye in visit.eyes]
    for finding in dict.fromkeys(name for one in claims for name in one):
        pair = [one.get(finding) for one in claims]
        said = [claim for claim in pair if claim]
        cells = [one_of(rng, _CELLS[claim.status]) if claim else "n/a" for claim in pair]
        text = between.join((_title(said[0], rng), *cells))
        lines.append(Sentence(text, tuple(claim.fact for claim in said), True))
    normal = [eye for eye in visit.eyes if eye.normal]
    if normal:
        cells = ["yes" if eye.normal else "no" for eye in visit.eyes]
        facts = [
            eye.fact("normal_fundus") if eye.normal else Claim(eye.side, "normal_fundus", "absent").fact
            for eye in visit.eyes
        ]
        lines.append(Sentence(between.join(("Normal fundus", *cells)), tuple(facts), True))
    return lines


def _boxes(visit: Visit, rng: np.random.Generator) -> list[Sentence]:
    """A list of boxes for each eye; a doubt is written beside its box."""
    lines: list[Sentence] = []
    for eye, name in zip(visit.eyes, ("Right eye", "Left eye"), strict=True):
        lines.append(Sentence(f"{name}:"))
        for claim in eye.claims:
            box = "[ ]" if claim.status == "absent" else "[x]"
            doubt = "possible " if claim.status == "uncertain" else ""
            words = _title(claim, rng)
            lines.append(Sentence(f"{box} {doubt}{words[0].lower() + words[1:]}", (claim.fact,), True))
        if eye.normal:
            lines.append(Sentence("[x] normal fundus", (eye.fact("normal_fundus"),), True))
    return lines


def _title(claim: Claim, rng: np.random.Generator) -> str:
    name = name_of(claim, rng, article=False)
    for word in ("scattered ", "multiple ", "extensive "):
        name = name.removeprefix(word)
    return name[0].upper() + name[1:]
