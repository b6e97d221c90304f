"""From signs to diagnoses by the clinic's rules, so that the truth of a phantom eye is consistent by construction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from tapetum.core.errors import UsageError

DR_GRADES = ("", "mild_npdr", "moderate_npdr", "severe_npdr", "proliferative_dr")
# What is true of an eye because something more particular is true of it.
PARENTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "mild_npdr": ("diabetic_retinopathy",),
        "moderate_npdr": ("diabetic_retinopathy",),
        "severe_npdr": ("diabetic_retinopathy",),
        "proliferative_dr": ("diabetic_retinopathy",),
        "dot_blot_haemorrhage": ("retinal_haemorrhage",),
        "flame_haemorrhage": ("retinal_haemorrhage",),
        "branch_retinal_vein_occlusion": ("flame_haemorrhage", "dot_blot_haemorrhage", "retinal_haemorrhage"),
        "dry_amd": ("age_related_macular_degeneration",),
    }
)


def diabetic_grade(
    counts: Mapping[str, int], quadrants: Sequence[int] = (0, 0, 0, 0), *, other_cause: bool = False
) -> int:
    """Grade diabetic retinopathy by the International Clinical scale.

    Args:
        counts: lesions per sign id.
        quadrants: dot and blot haemorrhages in each of the four quadrants.
        other_cause: haemorrhages, exudates and cotton-wool spots without microaneurysms are due to another disease.

    Returns:
        0 none · 1 mild: microaneurysms only · 2 moderate: more than that · 3 severe: more than 20 haemorrhages in each
        quadrant · 4 proliferative: new vessels. Venous beading and IRMA, the other two ways to grade 3, are not drawn.

    Raises:
        UsageError: not four quadrants, or a negative count.

    Example:
        >>> diabetic_grade({"microaneurysm": 4}), diabetic_grade({"microaneurysm": 4, "hard_exudate": 9})
        (1, 2)
    """
    if len(quadrants) != 4 or min((*quadrants, *counts.values(), 0)) < 0:
        raise UsageError(f"counts {dict(counts)}, quadrants {tuple(quadrants)}", "four quadrants, no negative number")
    if counts.get("neovascularisation", 0):
        return 4
    if min(quadrants) > 20:
        return 3
    more = ("dot_blot_haemorrhage", "flame_haemorrhage", "hard_exudate", "cotton_wool_spot")
    if other_cause and not counts.get("microaneurysm", 0):
        return 0
    if any(counts.get(name, 0) for name in more):
        return 2
    return 1 if counts.get("microaneurysm", 0) else 0


def diagnose(
    signs: Mapping[str, float], counts: Mapping[str, int], quadrants: Sequence[int], cup_ratio: float
) -> dict[str, float]:
    """All findings of an eye, signs, diseases and their parents, with severities.

    Besides diabetic retinopathy: hypertensive retinopathy = narrow arteries with flame haemorrhages or cotton-wool
    spots; dry AMD = drusen of severity 0.3 and more, or geographic atrophy; glaucoma from a vertical cup to disc ratio
    of 0.7, suspicion from 0.6; pathological myopia = patches of atrophy, or a crescent of severity 0.6 and more.

    Args:
        signs: sign id → severity in (0, 1].
        counts: lesions drawn per sign id.
        quadrants: dot and blot haemorrhages drawn in each quadrant.
        cup_ratio: vertical cup to disc ratio, 0..1.

    Returns:
        Finding id → severity in (0, 1]; `{"normal_fundus": 1.0}` where nothing was found.
    """
    found = dict(signs)
    hypertensive = "arteriolar_narrowing" in signs and bool({"flame_haemorrhage", "cotton_wool_spot"} & set(signs))
    if hypertensive:
        found["hypertensive_retinopathy"] = max(signs.get("flame_haemorrhage", 0), signs.get("cotton_wool_spot", 0))
    grade = diabetic_grade(counts, quadrants, other_cause=hypertensive)
    if grade:
        found[DR_GRADES[grade]] = grade / 4
    if signs.get("drusen", 0) >= 0.3 or "geographic_atrophy" in signs:
        found["dry_amd"] = max(signs.get("drusen", 0), signs.get("geographic_atrophy", 0))
    if cup_ratio >= 0.7:
        found["glaucoma"] = min(1.0, (cup_ratio - 0.6) / 0.32)
    elif cup_ratio >= 0.6:
        found["glaucoma_suspect"] = (cup_ratio - 0.55) / 0.32
    if "chorioretinal_atrophy" in signs or signs.get("myopic_crescent", 0) >= 0.6:
        found["pathological_myopia"] = max(signs.get("chorioretinal_atrophy", 0), signs.get("myopic_crescent", 0))
    for name in list(found):
        for parent in PARENTS.get(name, ()):
            found[parent] = max(found.get(parent, 0.0), found[name])
    return dict(sorted(found.items())) if found else {"normal_fundus": 1.0}


def grade_of(findings: Mapping[str, float]) -> int:
    """The diabetic grade 0 to 4 among findings made by `diagnose`."""
    return next((g for g in range(4, 0, -1) if DR_GRADES[g] in findings), 0)
