"""What every data set promises: it runs on a tree built from its layout, splits by patient, knows its counts."""

from __future__ import annotations

import importlib
import io
import os
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tapetum.archive import IngestConfig, ingest, open_archive
from tapetum.archive.exports.card import Card
from tapetum.archive.rows import Refusal, Row
from tapetum.core.errors import DataError, UsageError
from tapetum.core.registry import Family
from tapetum.core.types import Split

DATASETS = Family("tapetum.archive.datasets")
DATA = Path(os.environ.get("TAPETUM_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))
CELL = {"eye": "OD", "age": "60", "sex": "Female"}
IMAGES = 10


def card_of(name: str) -> Card:
    return importlib.import_module(f"{DATASETS.package}.{name}").CARD


def jpeg(number: int) -> bytes:
    image = Image.fromarray(np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG")
    return buffer.getvalue()


def fake_tree(root: Path, card: Card) -> Path:
    """Files as the layout says: tables with a row per image and two images per patient, folders of images, arrays."""
    root.mkdir()
    texts = sorted(card.label_map) or ["1"]
    for place, holds in card.layout.items():
        if place.endswith("/"):
            (root / place).mkdir(parents=True)
            begin = 100 * list(card.layout).index(place)
            for i in range(IMAGES):
                (root / place / f"{i}.jpg").write_bytes(jpeg(begin + i))
        elif place.endswith(".csv"):
            lines = [",".join(holds)]
            for i in range(IMAGES):
                text = texts[i % len(texts)]
                named = {"file": f"{i}.jpg", "Name": f"{i}.jpg", "patient_id": f"p{i // 2}"}
                cells = {**named, "label": text, "DR": text, "DME": text, **CELL}
                cells |= {"image ID": str(i), "class label": text, "class": text}
                lines.append(",".join(cells.get(column, "text") for column in holds))
            (root / place).write_text("\n".join(lines) + "\n")
        elif place.endswith(".npz"):
            rng = np.random.default_rng(0)
            arrays = {
                n: rng.integers(0, 255, (IMAGES, 28, 28, 3) if "images" in n else (IMAGES, 1), dtype=np.uint8)
                for n in holds
            }
            np.savez(root / place.replace("*", "fake"), **arrays)
        else:
            raise AssertionError(f"the test does not know how to make {place}")
    return root


@pytest.mark.parametrize("name", DATASETS.names())
def test_card_is_complete(name: str) -> None:
    card = card_of(name)
    assert card.name
    assert card.licence
    assert card.source
    assert card.layout
    assert all(count > 0 for count in card.counts.values())
    if card.label_map:
        from tapetum.knowledge import load_pack

        assert set(card.label_map.values()) <= set(load_pack(card.pack).findings)


@pytest.mark.parametrize("name", DATASETS.names())
def test_fake_tree_is_taken_whole_and_split_by_patient(name: str, tmp_path: Path) -> None:
    root = fake_tree(tmp_path / "set", card_of(name))
    rows = [row for row in DATASETS.build(name)(root) if isinstance(row, Row)]
    assert len(rows) >= IMAGES
    assert all(row.labels for row in rows)
    summary = ingest([f"{name}:{root}"], tmp_path / "out.tap")
    assert (summary.images, summary.quarantined) == (len(rows), 0)
    archive = open_archive(tmp_path / "out.tap")
    splits: dict[str, set[Split]] = defaultdict(set)
    for record in archive.records:
        splits[record.patient_id].add(record.split)
    assert all(len(found) == 1 for found in splits.values())
    for row in rows:
        if row.split != Split.NONE:
            assert splits[row.patient_id] == {row.split}
    assert archive.pack == card_of(name).pack
    assert not archive.phantom


@pytest.mark.parametrize("name", DATASETS.names())
def test_another_folder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        list(DATASETS.build(name)(tmp_path))


def test_labels_of_odir_reach_findings_and_their_ancestors(tmp_path: Path) -> None:
    from tapetum.knowledge import load_pack

    ingest([f"odir:{fake_tree(tmp_path / 'set', card_of('odir'))}"], tmp_path / "out.tap")
    archive = open_archive(tmp_path / "out.tap")
    ids = [r.image_id for r in archive.records]
    parents = set(load_pack("fundus").closure(["glaucoma"])) - {"glaucoma"}
    matrix = archive.labels(["G", "glaucoma", *sorted(parents), "drusen"], image_ids=ids)
    named = np.array([r.labels == ("G",) for r in archive.records])
    assert named.any()
    assert np.array_equal(matrix[:, 0] == 1, named)
    assert np.array_equal(matrix[:, 1] == 1, named)
    assert (matrix[named][:, 2:-1] == 1).all()
    assert np.isnan(matrix[:, -1]).all()  # no letter speaks of drusen


def test_medmnist_says_that_patients_are_unknown_and_meets_a_picture_twice(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 255, (4, 28, 28), dtype=np.uint8)
    arrays = {
        "train_images": images,
        "val_images": images[:1],
        "train_labels": np.arange(4)[:, None] % 2,
        "val_labels": [[0]],
    }
    np.savez(tmp_path / "pneumoniamnist.npz", **arrays)
    summary = ingest([f"medmnist:{tmp_path / 'pneumoniamnist.npz'}"], tmp_path / "out.tap")
    assert summary.images == 4
    assert [str(r) for r in summary.reasons] == ["val/00000.png: duplicate of train/00000.png"]
    assert "patients are not published" in summary.notes[0]
    archive = open_archive(tmp_path / "out.tap")
    assert np.array_equal(archive.labels(["1"], image_ids=[r.image_id for r in archive.records]).sum(), 2)
    np.savez(tmp_path / "broken.npz", train_images=images)
    with pytest.raises(DataError, match="no array"):
        list(DATASETS.build("medmnist")(tmp_path / "broken.npz"))


@pytest.mark.real
@pytest.mark.skipif(not (DATA / "odir").is_dir(), reason="TAPETUM_DATA has no odir/")
def test_odir_has_its_known_counts(tmp_path: Path) -> None:
    rows = [row for row in DATASETS.build("odir")(DATA / "odir") if isinstance(row, Row)]
    assert {"images": len(rows), "patients": len({r.patient_id for r in rows})} == card_of("odir").counts
    assert all(row.report and row.labels and row.laterality in ("OD", "OS") for row in rows)


@pytest.mark.real
@pytest.mark.skipif(not (DATA / "retinamnist").is_dir(), reason="TAPETUM_DATA has no retinamnist/")
@pytest.mark.parametrize("part", ["retinamnist", "pneumoniamnist", "dermamnist"])
def test_medmnist_has_its_known_counts(part: str) -> None:
    rows = [row for row in DATASETS.build("medmnist")(DATA / part) if isinstance(row, Row)]
    assert len(rows) == card_of("medmnist").counts[f"{part}_train_val.npz"]
    if part == "retinamnist":
        assert sum(row.split == Split.TRAIN for row in rows) == 1080
        assert sum(row.split == Split.VAL for row in rows) == 120


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "folder", "rarest"),
    [
        ("busi", "busi", ("normal", 133)),
        ("wbc_tecom", "wbc", ("basophil", 1)),
        ("wbc_cellavision", "wbc", ("basophil", 3)),
    ],
)
def test_sets_without_patients_have_their_known_counts(name: str, folder: str, rarest: tuple[str, int]) -> None:
    if not (DATA / folder).is_dir():
        pytest.skip(f"TAPETUM_DATA has no {folder}/")
    rows = [row for row in DATASETS.build(name)(DATA / folder) if isinstance(row, Row)]
    assert {"images": len(rows)} == card_of(name).counts
    assert len({row.patient_id for row in rows}) == len(rows)
    assert sum(row.labels == (rarest[0],) for row in rows) == rarest[1]


@pytest.mark.real
@pytest.mark.skipif(not (DATA / "brain_tumor").is_dir(), reason="TAPETUM_DATA has no brain_tumor/")
def test_equal_files_of_brain_tumor_are_one_patient_and_stand_on_one_side() -> None:
    rows = [row for row in DATASETS.build("brain_tumor")(DATA / "brain_tumor") if isinstance(row, Row)]
    assert {"images": len(rows)} == card_of("brain_tumor").counts
    assert sum(row.labels == ("no_tumor",) for row in rows) == 500
    splits: dict[str, set[Split]] = defaultdict(set)
    for row in rows:
        splits[row.patient_id].add(row.split)
    assert len(splits) < len(rows)
    assert {len(found) for found in splits.values()} == {1}
    assert all(row.split != Split.TEST for row in rows if row.file.startswith("Training/"))


def test_parts_of_brain_tumor_can_be_mixed(tmp_path: Path) -> None:
    root = fake_tree(tmp_path / "set", card_of("brain_tumor"))
    splits = {
        parts: {row.file: row.split for row in DATASETS.build("brain_tumor")(root, parts=parts) if isinstance(row, Row)}
        for parts in ("own", "mixed")
    }
    assert {split for file, split in splits["own"].items() if file.startswith("Testing")} == {Split.TEST}
    assert {split for file, split in splits["mixed"].items() if file.startswith("Testing")} == set(Split) - {Split.NONE}
    with pytest.raises(UsageError):
        list(DATASETS.build("brain_tumor")(root, parts="official"))
    summary = ingest([root], tmp_path / "out.tap", IngestConfig(dataset="brain_tumor(parts='mixed')"))
    assert summary.images == len(splits["mixed"])
    archive = open_archive(tmp_path / "out.tap")
    assert {r.source: r.split for r in archive.records} == splits["mixed"]


def test_a_cell_without_image_or_class_is_refused(tmp_path: Path) -> None:
    root = fake_tree(tmp_path / "set", card_of("wbc_tecom"))
    with (root / "labels1.csv").open("a") as table:
        table.write("77,1\n3,9\n")
    found = list(DATASETS.build("wbc_tecom")(root))
    assert [(r.file, r.row) for r in found if isinstance(r, Refusal)] == [("77", 12), ("3", 13)]
    assert sum(isinstance(r, Row) for r in found) == IMAGES
    (root / "labels1.csv").write_text("image,class\n1,2\n")
    with pytest.raises(DataError, match="no column 'image ID'"):
        list(DATASETS.build("wbc_tecom")(root))


@pytest.mark.real
@pytest.mark.skipif(not (DATA / "tvhl").is_dir(), reason="TAPETUM_DATA has no tvhl/")
def test_a_patient_of_tvhl_stands_on_one_side_in_both_modalities() -> None:
    splits: dict[str, set[Split]] = defaultdict(set)
    for name in ("tvhl_fundus", "tvhl_oct"):
        rows = [row for row in DATASETS.build(name)(DATA / "tvhl") if isinstance(row, Row)]
        assert {"images": len(rows)} == card_of(name).counts
        assert {row.split for row in rows} == {Split.TRAIN, Split.VAL, Split.TEST}
        for row in rows:
            splits[row.patient_id].add(row.split)
    assert {len(found) for found in splits.values()} == {1}
