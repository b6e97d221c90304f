"""Patients who share a picture go to one split; everybody else goes where he went before."""

from __future__ import annotations

from tapetum.archive.intake.split import assign_splits
from tapetum.core.types import Split

STRATA = {f"p{k}": "" for k in range(60)}
FRACTIONS = (0.6, 0.15, 0.25)


def test_patients_who_share_a_picture_share_a_split() -> None:
    sets = [{f"p{k}", f"p{k + 30}"} for k in range(10)] + [{"p0", "p59"}]
    found = assign_splits(STRATA, given={}, fractions=FRACTIONS, seed=0, together=sets)
    assert all(len({found[p] for p in patients}) == 1 for patients in sets)
    assert found["p30"] == found["p59"]  # joined through p0
    assert set(found.values()) == {Split.TRAIN, Split.VAL, Split.TEST}


def test_without_shared_pictures_nothing_moves() -> None:
    plain = assign_splits(STRATA, given={}, fractions=FRACTIONS, seed=3)
    assert plain == assign_splits(STRATA, given={}, fractions=FRACTIONS, seed=3, together=[{"p1"}])


def test_a_new_patient_follows_an_old_one_who_is_never_moved() -> None:
    given = {"p1": Split.TEST, "p2": Split.TRAIN}
    sets = [{"p1", "p40"}, {"p1", "p2", "p41"}]
    found = assign_splits(STRATA, given=given, fractions=FRACTIONS, seed=0, together=sets[:1])
    assert found["p40"] == Split.TEST
    torn = assign_splits(STRATA, given=given, fractions=FRACTIONS, seed=0, together=sets)
    assert (torn["p1"], torn["p2"]) == (Split.TEST, Split.TRAIN)
