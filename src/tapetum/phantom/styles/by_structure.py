"""A report ordered by structure and not by eye: disc, macula, vessels, background, the eye behind the finding.

Source: our own wording. Differs: the eye follows the finding ("drusen BE", "epiretinal membrane (LE)", "R > L").
"""

from __future__ import annotations

import numpy as np

from tapetum.core.types import Laterality
from tapetum.phantom import phrases as say
from tapetum.phantom.claims import Visit, one_of
from tapetum.phantom.statement import Fact, Report, Sentence
from tapetum.phantom.words_english import POOR

__all__ = ["by_structure"]

_PLACES = {
    "Optic discs": (
        "optic_disc_cupping", "optic_disc_swelling", "optic_atrophy", "myopic_crescent", "myelinated_nerve_fibres",
        "glaucoma_suspect",
    ),
    "Maculae": ("drusen", "geographic_atrophy", "epiretinal_membrane", "macular_hole", "hard_exudate"),
    "Vessels": ("arteriolar_narrowing", "vessel_tortuosity", "neovascularisation", "branch_retinal_vein_occlusion"),
    "Background": (),
}  # fmt: skip
_MARKS = (("RE", "LE", "BE"), ("right eye", "left eye", "both eyes"), ("(R)", "(L)", "(R and L)"))
_NOTHING = {
    "Optic discs": ("pink with clear margins.", "well perfused, margins sharp."),
    "Maculae": ("flat.", "dry, reflex seen."),
    "Vessels": ("of regular calibre.", "regular course."),
    "Background": ("flat, no holes seen.", "attached in all quadrants."),
}
# Said under a structure, not under "Diagnosis".
_LOCAL = {name for names in _PLACES.values() for name in names}
_DIAGNOSES = frozenset(say.DIAGNOSES) - _LOCAL


def by_structure(visit: Visit, rng: np.random.Generator) -> Report:
    """Write the report."""
    marks = _MARKS[int(rng.integers(len(_MARKS)))]
    opening = [
        Sentence(
            one_of(
                rng,
                ("Colour photographs of both eyes, two fields each.", "Digital fundus photographs, dilated pupils."),
            )
        )
    ]
    for eye, mark in zip(visit.eyes, marks, strict=False):
        if eye.quality:
            opening.append(
                Sentence(f"{POOR[eye.quality].capitalize()} {mark}.", (eye.fact("low_image_quality"),), True)
            )
    merged = _merged(visit)
    lines: list[str] = [" ".join(s.text for s in opening)]
    sentences = list(opening)
    if visit.right.normal and visit.left.normal:
        lines.append("Normal fundus in each eye.")
        sentences.append(Sentence(lines[-1], (Fact(Laterality.BOTH, "normal_fundus", "present"),), True))
        return Report("by_structure", "\n".join(lines), tuple(sentences))
    diagnosis = {key: sides for key, sides in merged.items() if key[0] in _DIAGNOSES}
    for place, findings in _PLACES.items():
        here = {
            key: sides for key, sides in merged.items()
            if key not in diagnosis and (key[0] in findings if findings else key[0] not in _LOCAL)
        }  # fmt: skip
        sentence = _line(here, marks, rng) if here else Sentence(one_of(rng, _NOTHING[place]), (), True)
        lines.append(f"{place}: {sentence.text}")
        sentences.append(sentence)
    for eye, mark in zip(visit.eyes, marks, strict=False):
        if eye.normal:
            lines.append(f"Normal fundus {mark}.")
            sentences.append(Sentence(lines[-1], (eye.fact("normal_fundus"),), True))
    if diagnosis:
        sentence = _line(diagnosis, marks, rng)
        lines.append(f"Diagnosis: {sentence.text}")
        sentences.append(sentence)
    if rng.uniform() < 0.6:
        sentences.append(Sentence(f"Control in {int(rng.choice([6, 12]))} months."))
        lines.append(sentences[-1].text)
    return Report("by_structure", "\n".join(lines), tuple(sentences))


def _merged(visit: Visit) -> dict[tuple[str, str], list[Laterality]]:
    """(finding, status) → the eyes it is true of, in the order of the claims."""
    merged: dict[tuple[str, str], list[Laterality]] = {}
    for eye in visit.eyes:
        for claim in eye.claims:
            merged.setdefault((claim.finding, claim.status), []).append(eye.side)
    return dict(sorted(merged.items(), key=lambda item: ("present", "uncertain", "absent").index(item[0][1])))


def _line(
    claims: dict[tuple[str, str], list[Laterality]], marks: tuple[str, str, str], rng: np.random.Generator
) -> Sentence:
    """One structure's statements in one line."""
    parts: list[str] = []
    facts: list[Fact] = []
    for (finding, status), sides in claims.items():
        name = say.NAMES[finding][1]
        name = {"absent": f"no {name}", "uncertain": f"?{name}", "present": name}[status]
        eye = sides[0] if len(sides) == 1 else Laterality.BOTH
        mark = marks[2] if eye is Laterality.BOTH else marks[0] if eye is Laterality.RIGHT else marks[1]
        if eye is Laterality.BOTH and status == "present" and marks[0] == "RE" and rng.uniform() < 0.3:
            mark = "RE > LE"
        parts.append(f"{name} {mark}")
        facts.append(Fact(eye, finding, status))
    return Sentence(", ".join(parts) + ".", tuple(facts), True)
