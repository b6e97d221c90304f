"""Duplicates and audit: planted copies are found, different eyes are not, and what breaks a measurement is said."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tapetum.archive import Archive, IngestConfig, audit, ingest, open_archive
from tapetum.archive.duplicates import THRESHOLD, candidate_pairs, describe, duplicate_pairs
from tapetum.core.errors import DataError, UsageError
from tapetum.core.types import Embeddings

DATA = Path(os.environ.get("TAPETUM_DATA", Path(__file__).parents[2] / ".." / "shared" / "data"))


def eye(number: int, size: int = 160) -> Image.Image:
    """A bright disc on black with a texture of its own."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[0:size, 0:size] / size * 2 - 1
    image = (
        np.full((size, size, 3), 120.0) + cv2.GaussianBlur(rng.normal(0, 1, (size, size)), (0, 0), 4)[..., None] * 200
    )
    image[np.hypot(x, y) > 0.95] = 0
    return Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))


def jpeg(image: Image.Image, quality: int = 80) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def archive_of(root: Path, files: dict[str, tuple[str, bytes, str]], **config: object) -> Archive:
    """file → (patient, bytes, label)."""
    (root / "export").mkdir()
    lines = ["file,patient,label"]
    for name, (patient, data, label) in files.items():
        (root / "export" / name).write_bytes(data)
        lines.append(f"{name},{patient},{label}")
    (root / "export" / "t.csv").write_text("\n".join(lines))
    ingest([root / "export"], root / "out.tap", IngestConfig(**config))  # type: ignore[arg-type]
    return open_archive(root / "out.tap")


def test_planted_copies_are_found_and_only_they(tmp_path: Path) -> None:
    files = {f"{i}.png": (f"p{i}", png(eye(i)), "A") for i in range(8)}
    buffer = io.BytesIO()
    eye(0).save(buffer, "TIFF")
    files["same.tif"] = ("q0", buffer.getvalue(), "A")
    files["again.jpg"] = ("q1", jpeg(eye(1), 60), "A")
    files["small.jpg"] = ("q2", jpeg(eye(2).resize((110, 110))), "A")
    files["mirror.jpg"] = ("q3", jpeg(eye(3).transpose(Image.Transpose.FLIP_LEFT_RIGHT)), "A")
    archive = archive_of(tmp_path, files)
    source = {r.image_id: r.source for r in archive.records}
    found = {frozenset((source[p.first], source[p.second])): p.kind for p in duplicate_pairs(archive)}
    assert found == {
        frozenset(("0.png", "same.tif")): "exact",
        frozenset(("1.png", "again.jpg")): "near",
        frozenset(("2.png", "small.jpg")): "near",
        frozenset(("3.png", "mirror.jpg")): "mirrored",
    }
    report = audit(archive)
    assert report.method == "hash only"
    assert len(report.across_patients) == 4
    assert any("equal pixels belong to two patients" in p for p in report.problems)
    assert any("3 pairs of near duplicates belong to two patients" in p for p in report.problems)
    assert list(archive.cache.glob("texture-*.npz"))
    assert str(duplicate_pairs(archive)) == str(report.pairs)  # from the cache; as text, since a missing cosine is NaN


def test_embeddings_that_disagree_drop_a_near_duplicate_but_no_equal_one(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    eye(0).save(buffer, "TIFF")
    archive = archive_of(
        tmp_path,
        {"a.png": ("p", png(eye(0)), "A"), "b.tif": ("q", buffer.getvalue(), "A"), "c.jpg": ("r", jpeg(eye(0)), "A")},
    )
    ids = tuple(r.image_id for r in archive.records)
    patients = tuple(r.patient_id for r in archive.records)
    apart = Embeddings(ids, patients, np.eye(3, dtype=np.float32), "tiny()")
    report = audit(archive, apart)
    assert [p.kind for p in report.pairs] == ["exact"]
    assert report.method == "hash and embeddings of tiny()"
    assert len(duplicate_pairs(archive)) == 3


def test_small_images_are_compared_by_their_pixels_only(tmp_path: Path) -> None:
    small, buffer = eye(0).resize((28, 28)), io.BytesIO()
    small.save(buffer, "TIFF")
    files = {
        "a.png": ("p", png(small), "A"),
        "b.tif": ("q", buffer.getvalue(), "A"),
        "c.jpg": ("r", jpeg(small, 95), "A"),
    }
    assert [p.kind for p in duplicate_pairs(archive_of(tmp_path, files))] == ["exact"]


def test_flat_images_match_nothing() -> None:
    values = np.stack([describe(np.full((80, 80, 3), v, np.uint8)) for v in (10, 10, 200)])
    assert not values.any()
    assert list(candidate_pairs(values, 0.5)) == []


def test_blocks_agree_with_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    import tapetum.archive.duplicates as module

    values = np.random.default_rng(0).normal(size=(23, 1024)).astype(np.float32)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    values[20] = values[3]
    whole = [(i, j) for i, j, _, _ in candidate_pairs(values, 0.02)]
    monkeypatch.setattr(module, "_BLOCK", 5)
    assert sorted((i, j) for i, j, _, _ in candidate_pairs(values, 0.02)) == sorted(whole)
    assert (3, 20) in whole


def test_audit_counts_labels_and_names_what_cannot_be_measured(tmp_path: Path) -> None:
    files = {f"{i}.png": (f"p{i // 2}", png(eye(i)), "A" if i else "A;B") for i in range(12)}
    archive = archive_of(tmp_path, files, label_map="A=first thing")
    report = audit(archive)
    counts = {row.finding: (row.images, row.patients) for row in report.labels}
    assert counts == {"B": (1, 1), "first thing": (12, 6)}
    assert sum(report.split_images.values()) == 12
    assert sum(report.split_patients.values()) == 6
    assert report.split_breakers == ()
    assert any(p.startswith("B never occurs in") for p in report.problems)
    assert "12 of 12 images do not say which eye" in report.problems
    assert report.lateralities == {"unknown": 12}
    assert json.loads(json.dumps(report.as_dict(), allow_nan=False))["images"] == 12
    assert "not a cleared device" in report.text()


def test_label_matrix_is_nan_where_nothing_is_known(tmp_path: Path) -> None:
    files = {
        "a.png": ("p", png(eye(0)), "1"),
        "b.png": ("q", png(eye(1)), "0"),
        "c.png": ("r", png(eye(2)), "-"),
        "d.png": ("s", png(eye(3)), ""),
    }
    archive = archive_of(tmp_path, files, label_map="1=glaucoma,-=")
    by_source = {r.source: r.image_id for r in archive.records}
    ids = [by_source[name] for name in files]
    matrix = archive.labels(["glaucoma", "0"], image_ids=ids)
    assert np.array_equal(matrix, [[1, 0], [0, 1], [np.nan, np.nan], [np.nan, np.nan]], equal_nan=True)
    assert archive.label_names == ("0", "glaucoma")
    with pytest.raises(UsageError, match="'glaucom' is no label"):
        archive.labels(["glaucom"], image_ids=ids)
    with pytest.raises(DataError, match="not in the archive"):
        archive.labels(["glaucoma"], image_ids=["0" * 64])


@pytest.mark.real
@pytest.mark.skipif(not (DATA / "odir").is_dir(), reason="TAPETUM_DATA has no odir/")
def test_copies_of_real_photographs_are_found_and_their_neighbours_are_not() -> None:
    places = sorted((DATA / "odir" / "images").glob("*.jpg"))[::67][:60]
    images = [Image.open(place).convert("RGB") for place in places]
    first = np.stack([describe(np.asarray(image)) for image in images])
    copies = [jpeg(im.resize((180, 180)), 70) if i % 2 else jpeg(im, 50) for i, im in enumerate(images)]
    second = np.stack([describe(np.asarray(Image.open(io.BytesIO(data)))) for data in copies])
    likeness = first @ second.T
    assert (np.diag(likeness) >= THRESHOLD).mean() >= 0.95
    assert (likeness[~np.eye(len(images), dtype=bool)] >= THRESHOLD).mean() < 0.001
