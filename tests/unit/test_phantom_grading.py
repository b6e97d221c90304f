"""Diagnoses follow from signs by the rules written down."""

from __future__ import annotations

import pytest

from tapetum.core.errors import UsageError
from tapetum.phantom import diabetic_grade, diagnose

NONE = (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("counts", "quadrants", "grade"),
    [
        ({}, NONE, 0),
        ({"drusen": 80}, NONE, 0),
        ({"microaneurysm": 1}, NONE, 1),
        ({"microaneurysm": 40}, NONE, 1),
        ({"microaneurysm": 3, "hard_exudate": 2}, NONE, 2),
        ({"microaneurysm": 3, "cotton_wool_spot": 1}, NONE, 2),
        ({"dot_blot_haemorrhage": 12}, (3, 3, 3, 3), 2),
        ({"dot_blot_haemorrhage": 80}, (20, 20, 20, 20), 2),
        ({"dot_blot_haemorrhage": 84}, (21, 21, 21, 21), 3),
        ({"dot_blot_haemorrhage": 163}, (60, 60, 23, 20), 2),
        ({"neovascularisation": 1}, NONE, 4),
        ({"neovascularisation": 1, "dot_blot_haemorrhage": 90}, (22, 22, 22, 24), 4),
    ],
)
def test_international_clinical_scale(counts: dict[str, int], quadrants: tuple[int, ...], grade: int):
    assert diabetic_grade(counts, quadrants) == grade


def test_haemorrhages_of_another_cause_are_not_graded_without_microaneurysms():
    assert diabetic_grade({"flame_haemorrhage": 8}, other_cause=True) == 0
    assert diabetic_grade({"flame_haemorrhage": 8, "microaneurysm": 1}, other_cause=True) == 2


@pytest.mark.parametrize(("counts", "quadrants"), [({}, (1, 2, 3)), ({"microaneurysm": -1}, NONE)])
def test_impossible_counts_are_refused(counts: dict[str, int], quadrants: tuple[int, ...]):
    with pytest.raises(UsageError):
        diabetic_grade(counts, quadrants)


@pytest.mark.parametrize(
    ("signs", "cup", "expected"),
    [
        ({}, 0.3, {"normal_fundus"}),
        ({}, 0.65, {"glaucoma_suspect"}),
        ({"optic_disc_cupping": 0.5}, 0.76, {"optic_disc_cupping", "glaucoma"}),
        ({"drusen": 0.2}, 0.3, {"drusen"}),
        ({"drusen": 0.3}, 0.3, {"drusen", "dry_amd", "age_related_macular_degeneration"}),
        (
            {"arteriolar_narrowing": 0.5, "flame_haemorrhage": 0.5},
            0.3,
            {"arteriolar_narrowing", "flame_haemorrhage", "retinal_haemorrhage", "hypertensive_retinopathy"},
        ),
        ({"myopic_crescent": 0.59}, 0.3, {"myopic_crescent"}),
        ({"myopic_crescent": 0.6}, 0.3, {"myopic_crescent", "pathological_myopia"}),
        ({"arteriolar_narrowing": 0.5}, 0.3, {"arteriolar_narrowing"}),
    ],
)
def test_diagnoses(signs: dict[str, float], cup: float, expected: set[str]):
    counts = dict.fromkeys(signs, 3)
    assert set(diagnose(signs, counts, NONE, cup)) == expected


def test_severe_npdr_brings_its_parents():
    found = diagnose({"dot_blot_haemorrhage": 0.9}, {"dot_blot_haemorrhage": 100}, (25, 25, 25, 25), 0.3)
    assert set(found) == {"dot_blot_haemorrhage", "retinal_haemorrhage", "severe_npdr", "diabetic_retinopathy"}
    assert found["severe_npdr"] == found["diabetic_retinopathy"] == 0.75
