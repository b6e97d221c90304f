"""From statements to records: duplicates, contradictions, splits."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tapetum.archive.intake.resolve import contradiction, resolve
from tapetum.archive.intake.split import assign_splits
from tapetum.archive.store.catalog import Statement
from tapetum.core.errors import UsageError
from tapetum.core.types import Laterality, Split


def says(source: str, image: str, patient: str, *, reason: str = "", ordinal: int = 0, **fields: Any) -> Statement:
    said = {
        "patient_id": patient, "laterality": "OD", "sex": "unknown", "age_years": None, "captured": "unknown",
        "split": "unassigned", "modality": "fundus", "report": "", **fields,
    }  # fmt: skip
    return Statement("export", source, image, ordinal, 2, reason, said)


def test_same_bytes_of_one_patient_stay_once() -> None:
    found = resolve([says("a.png", "1", "p"), says("b.png", "1", "p")])
    assert [s.source for s in found.kept] == ["a.png"]
    assert [(r.file, r.reason) for r in found.quarantine] == [("b.png", "duplicate of a.png, row 2")]


@pytest.mark.parametrize("other", [{"patient": "q"}, {"patient": "p", "laterality": "OS"}])
def test_same_bytes_claimed_twice_are_refused_both(other: dict[str, str]) -> None:
    found = resolve([says("a.png", "1", "p"), says("b.png", "1", **other), says("c.png", "2", "p")])  # type: ignore[arg-type]
    assert [s.source for s in found.kept] == ["c.png"]
    assert [r.file for r in found.quarantine] == ["a.png", "b.png"]
    assert "b.png" in found.quarantine[0].reason


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ({"sex": "F"}, {"sex": "M"}, "sex F and M"),
        ({"age_years": 40.0}, {"age_years": 43.0}, "ages 40 and 43"),
        (
            {"age_years": 40.0, "captured": "2010-01-01"},
            {"age_years": 41.0, "captured": "2020-01-01"},
            "age 40 on 2010-01-01 and age 41 on 2020",
        ),
        ({"split": "train"}, {"split": "val"}, "assigned to train and val"),
        ({"sex": "F"}, {"sex": "unknown"}, ""),
        ({"age_years": 40.0}, {"age_years": 42.0}, ""),
        ({"age_years": 40.0, "captured": "2010-01-01"}, {"age_years": 50.0, "captured": "2020-06-01"}, ""),
    ],
)
def test_two_patients_with_one_id(first: dict[str, Any], second: dict[str, Any], reason: str) -> None:
    statements = [says("a.png", "1", "p", **first), says("b.png", "2", "p", **second), says("c.png", "3", "q")]
    assert contradiction([s.said for s in statements[:2]]).startswith(reason)
    found = resolve(statements)
    assert [s.source for s in found.kept] == (["c.png"] if reason else ["a.png", "b.png", "c.png"])
    assert all("'p' contradicts itself" in r.reason for r in found.quarantine)
    assert len(found.quarantine) == (2 if reason else 0)


def test_order_of_statements_does_not_matter_to_the_records() -> None:
    statements = [says(f"{i}.png", str(i), "p") for i in range(5)] + [says("x.png", "", "", reason="no file")]
    assert resolve(statements) == resolve(statements[::-1])


def test_splits_keep_proportions_in_every_stratum_and_do_not_move_old_patients() -> None:
    strata = {f"p{i}": "rare" if i % 10 == 0 else "common" for i in range(200)}
    first = assign_splits(strata, given={}, fractions=(0.6, 0.15, 0.25), seed=0)
    rare = Counter(first[p] for p, s in strata.items() if s == "rare")
    assert rare == {Split.TRAIN: 12, Split.VAL: 3, Split.TEST: 5}
    assert first == assign_splits(dict(reversed(strata.items())), given={}, fractions=(0.6, 0.15, 0.25), seed=0)
    more = assign_splits(
        strata | {f"n{i}": "common" for i in range(50)}, given=first, fractions=(0.6, 0.15, 0.25), seed=0
    )
    assert {p: more[p] for p in first} == first
    other = assign_splits(strata, given={}, fractions=(0.6, 0.15, 0.25), seed=1)
    assert other != first
    assert set(assign_splits(strata, given={}, fractions=(0.0, 0.0, 1.0), seed=0).values()) == {Split.TEST}


@pytest.mark.parametrize("fractions", [(0.5, 0.5), (0.9, 0.2, -0.1), (0.5, 0.2, 0.2)])
def test_fractions_that_are_none(fractions: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match="split fractions"):
        assign_splits({"p": ""}, given={}, fractions=fractions, seed=0)


def test_an_eye_that_disc_or_report_contradicts_is_refused() -> None:
    right, left = Laterality.RIGHT, Laterality.LEFT
    said = [says("a.png", "1", "p"), says("b.png", "2", "q"), says("c.png", "3", "r", report="OS: drusen.")]
    found = resolve(said, {"1": left, "2": right})
    assert [s.source for s in found.kept] == ["b.png"]
    assert [r.file for r in found.quarantine] == ["a.png", "c.png"]
    assert "side of the disc says OS" in found.quarantine[0].reason
    assert "report says OS" in found.quarantine[1].reason


def test_a_report_of_both_eyes_images_speaks_of_neither() -> None:
    report = {"report": "OS: drusen.", "captured": "2020-01-01"}
    said = [says("a.png", "1", "p", **report), says("b.png", "2", "p", laterality="OS", **report)]
    assert len(resolve(said).kept) == 2


def test_the_file_name_tells_an_eye_that_nothing_else_tells() -> None:
    said = [says("a.png", "1", "p", laterality="unknown", file_eye="OS", provenance={"sex": "column s"})]
    (kept,) = resolve(said, {"1": Laterality.UNKNOWN}).kept
    assert kept.said["laterality"] == "OS"
    assert kept.said["provenance"] == {"sex": "column s", "laterality": "file name"}
    against = resolve([says("a.png", "1", "p", file_eye="OS")])
    assert "the file name says OS" in against.quarantine[0].reason
    lung = resolve([says("a.png", "1", "p", file_eye="OS", modality="cxr", report="Left lung clear.")])
    assert len(lung.kept) == 1


def test_the_disc_speaks_of_fundus_photographs_only() -> None:
    assert resolve([says("a.png", "1", "p", modality="oct")], {"1": Laterality.LEFT}).kept
