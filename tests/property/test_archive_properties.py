"""Properties of split, labels, paths and decoding on generated input."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tapetum.archive import decode, fields
from tapetum.archive.intake.split import assign_splits
from tapetum.archive.places import Places
from tapetum.core.errors import DataError
from tapetum.core.types import Split

PATIENTS = st.dictionaries(st.text(min_size=1, max_size=6), st.sampled_from(["", "A", "B"]), max_size=60)
FRACTIONS = st.sampled_from([(0.6, 0.15, 0.25), (0.8, 0.1, 0.1), (1.0, 0.0, 0.0), (0.34, 0.33, 0.33)])


@given(PATIENTS, PATIENTS, FRACTIONS, st.integers(0, 5))
def test_split_is_complete_stable_and_in_proportion(
    old: dict[str, str], new: dict[str, str], fractions: tuple[float, ...], seed: int
) -> None:
    first = assign_splits(old, given={}, fractions=fractions, seed=seed)
    both = assign_splits(new | old, given=first, fractions=fractions, seed=seed)
    assert set(both) == set(old) | set(new)
    assert {p: both[p] for p in first} == first
    for stratum in set(old.values()):
        members = [p for p, s in old.items() if s == stratum]
        for split, fraction in zip((Split.TRAIN, Split.VAL, Split.TEST), fractions, strict=True):
            assert abs(sum(first[p] == split for p in members) - fraction * len(members)) <= 1.5


@given(st.lists(st.text(st.characters(exclude_characters=",;|，；、", exclude_categories=["C", "Z"]), min_size=1)))
@example(["D", "O"])
def test_labels_survive_being_joined(labels: list[str]) -> None:
    wanted = [label for label in labels if label.casefold() != "nan" and not label.endswith("0")]
    assert fields.labels("; ".join(wanted)) == tuple(sorted(set(wanted)))


@given(st.text(max_size=40) | st.lists(st.sampled_from(["..", "a.png", "in", "/", "\\", "C:", "."])).map("/".join))
def test_no_cell_leads_out_of_the_folder(cell: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "export"
        (root / "in").mkdir(parents=True)
        (root / "a.png").touch()
        (Path(folder) / "secret").touch()
        try:
            found = Places(root).find(cell)
        except DataError:
            return
        assert (root / found).resolve().is_relative_to(root.resolve())


@settings(deadline=None)
@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"II*\0", bytes(128) + b"DICM"]),
)
def test_any_bytes_are_an_image_or_a_data_error(data: bytes, head: bytes) -> None:
    try:
        image = decode(head + data, min_side=16)
    except DataError:
        return
    assert image.ndim == 3
    assert image.shape[2] == 3
