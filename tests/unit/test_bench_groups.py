"""Groups of images by what the archive says of them."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from tapetum.bench.groups import age_band, groups_of
from tapetum.core.errors import UsageError
from tapetum.core.types import ImageRecord, Laterality, Split

PLAIN = ImageRecord(
    "i", "p", "unknown", Laterality.RIGHT, "fundus", 100, 80, 3, 8, math.nan, math.nan, "unknown", "unknown", "a.jpg",
    "", (), Split.TEST,
)  # fmt: skip


def records(**fields):
    count = len(next(iter(fields.values())))
    return [dataclasses.replace(PLAIN, **{k: v[i] for k, v in fields.items()}) for i in range(count)]


def as_lists(groups):
    return {a: {g: mask.tolist() for g, mask in of.items()} for a, of in groups.items()}


def test_sex_with_its_unknown_as_a_group_of_its_own_and_last():
    groups = groups_of(records(sex=["M", "unknown", "F", "F"]))
    assert as_lists(groups) == {
        "sex": {
            "F": [False, False, True, True],
            "M": [True, False, False, False],
            "unknown": [False, True, False, False],
        }
    }
    assert list(groups["sex"]) == ["F", "M", "unknown"]


def test_bands_of_age_stand_in_the_order_of_age():
    groups = groups_of(records(age_years=[60.0, 39.9, math.nan, 40.0, 59.9, 101.0]))
    assert list(groups["age"]) == ["<40", "40-59", "60+", "unknown"]
    assert np.array([groups["age"][g] for g in groups["age"]]).argmax(axis=0).tolist() == [2, 0, 3, 1, 1, 2]


def test_bands_can_be_cut_elsewhere():
    groups = groups_of(records(age_years=[5.0, 17.0, 18.0, 100.0]), ages=(9, 18, 100))
    assert list(groups["age"]) == ["<9", "9-17", "18-99", "100+"]
    assert age_band(9.0, (9, 18, 100)) == "9-17"


def test_an_attribute_with_one_known_group_is_left_out_even_beside_unknown_ones():
    assert not groups_of(records(sex=["F", "unknown"], device=["A", "A"], age_years=[math.nan, 70.0]))


def test_every_other_attribute():
    found = as_lists(
        groups_of(
            records(
                device=["A", "B"],
                laterality=[Laterality.LEFT, Laterality.RIGHT],
                modality=["oct", "fundus"],
                gradable=[0.9, 0.9],
                quality=["", "blur"],
                width=[100, 200],
            )
        )
    )
    assert found == {
        "device": {"A": [True, False], "B": [False, True]},
        "laterality": {"OD": [False, True], "OS": [True, False]},
        "modality": {"fundus": [False, True], "oct": [True, False]},
        "gradable": {"no": [False, True], "yes": [True, False]},
        "size": {"100x80": [True, False], "200x80": [False, True]},
    }


def test_an_unjudged_image_is_neither_gradable_nor_not():
    groups = groups_of(records(gradable=[math.nan, 0.9, 0.1], quality=["", "", "dark"]))
    assert list(groups["gradable"]) == ["no", "yes", "unknown"]


def test_rare_sizes_stand_together():
    groups = groups_of(records(width=[100] * 60 + [200] * 58 + [1, 2]))
    assert {name: int(mask.sum()) for name, mask in groups["size"].items()} == {
        "100x80": 60, "200x80": 58, "other sizes": 2,
    }  # fmt: skip


def test_groups_of_an_attribute_cover_every_image_once():
    rng = np.random.default_rng(0)
    sexes, ages = rng.choice(["F", "M", "unknown"], 50).tolist(), rng.uniform(0, 99, 50).tolist()
    for of in groups_of(records(sex=sexes, age_years=ages)).values():
        assert (np.sum(list(of.values()), axis=0) == 1).all()


@pytest.mark.parametrize("ages", [(), (40, 40), (60, 40), (0, 40), (-1,)])
def test_bands_that_cannot_be_are_refused(ages):
    with pytest.raises(UsageError, match="ages"):
        groups_of([PLAIN], ages=ages)
