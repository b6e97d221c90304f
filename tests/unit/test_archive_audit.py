"""Duplicates and audit: planted copies are found, different eyes are not, and what breaks a measurement is said."""

from __future__ import annotations

import dataclasses
import io
import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tapetum.archive import Archive, IngestConfig, audit, ingest, open_archive
from tapetum.archive.duplicates import Textures, describe, duplicate_pairs, pairs_of
from tapetum.archive.quality import ADVICE
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
    assert not list(archive.cache.glob("texture-*.npz"))  # what the ingest saw is enough
    assert len(report.groups) == 4
    assert report.fails == bool(report.across_splits)
    assert report.as_dict()["fails"] == report.fails
    (archive.path / "catalog.sqlite").rename(tmp_path / "away.sqlite")
    assert str(duplicate_pairs(archive)) == str(report.pairs)  # decoded; as text, since a missing cosine is NaN
    assert list(archive.cache.glob("texture-*.npz"))


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
    # of two images with equal pixels one is compared with the third
    assert sorted(p.kind for p in duplicate_pairs(archive)) == ["exact", "near"]


def test_small_images_are_compared_by_their_pixels_only(tmp_path: Path) -> None:
    small, buffer = eye(0).resize((28, 28)), io.BytesIO()
    small.save(buffer, "TIFF")
    files = {
        "a.png": ("p", png(small), "A"),
        "b.tif": ("q", buffer.getvalue(), "A"),
        "c.jpg": ("r", jpeg(small, 95), "A"),
    }
    assert [p.kind for p in duplicate_pairs(archive_of(tmp_path, files))] == ["exact"]


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
    copies = [jpeg(im.resize((180, 180)), 70) if i % 2 else jpeg(im, 50) for i, im in enumerate(images)]
    everything = [np.asarray(image) for image in images] + [np.asarray(Image.open(io.BytesIO(data))) for data in copies]
    names = tuple(f"{i:03d}" for i in range(len(everything)))
    found = pairs_of(Textures(names, np.stack([describe(i) for i in everything]).astype(np.float16), names))
    right = {(f"{i:03d}", f"{i + len(images):03d}") for i in range(len(images))}
    assert len({(p.first, p.second) for p in found} & right) >= 0.95 * len(images)
    assert all((p.first, p.second) in right for p in found)


def test_quality_and_copied_sentences_are_told(tmp_path: Path) -> None:
    archive = archive_of(tmp_path, {f"{i}.png": ("p1", png(eye(i)), "") for i in range(3)})
    old, new = "Soft drusen in both eyes. Clear media.", "Soft drusen in both eyes. Now a new bleeding in the macula."
    reports = [(old, "2020-01-01", 0.9, ""), (new, "2021-01-01", 0.1, "blurred"), (new, "2021-01-01", 0.2, "blurred")]
    records = tuple(
        dataclasses.replace(r, report=text, captured=day, gradable=gradable, quality=reason)
        for r, (text, day, gradable, reason) in zip(archive.records, reports, strict=True)
    )
    report = audit(dataclasses.replace(archive, records=records))
    assert (report.judged, report.ungradable, report.copied_sentences) == (3, {"blurred": 2}, 1)
    assert f"  blurred 2: {ADVICE['blurred']}" in report.text()
    assert "sentences copied from the visit before: 1" in report.text()
    plain = audit(archive)
    assert (plain.judged, plain.ungradable, plain.copied_sentences) == (0, {}, 0)
    assert "quality:" not in plain.text()


def test_patients_with_equal_pictures_come_into_one_part(tmp_path: Path) -> None:
    files: dict[str, tuple[str, bytes, str]] = {}
    for i in range(12):
        buffer = io.BytesIO()
        eye(i, 80).save(buffer, "TIFF")
        files |= {f"{i}.png": (f"p{i}", png(eye(i, 80)), ""), f"{i}.tif": (f"q{i}", buffer.getvalue(), "")}
    archive = archive_of(tmp_path, files)
    split_of = {r.patient_id: r.split for r in archive.records}
    assert len(split_of) == 24
    assert len(set(split_of.values())) == 3
    assert all(split_of[f"p{i}"] == split_of[f"q{i}"] for i in range(12))
    assert not audit(archive).fails


def test_pairs_are_kept_until_the_images_change(tmp_path: Path) -> None:
    archive = archive_of(tmp_path, {"a.png": ("p", png(eye(1)), ""), "b.jpg": ("q", jpeg(eye(1)), "")})
    found = duplicate_pairs(archive)
    kept = archive.cache / "pairs.json"
    told = json.loads(kept.read_text())
    assert [(p.first, p.second) for p in found] == [tuple(row[:2]) for row in told["pairs"]]
    kept.write_text(json.dumps({**told, "pairs": []}))
    assert duplicate_pairs(archive) == ()  # read, not found again
    kept.write_text("{")
    assert str(duplicate_pairs(archive)) == str(found)
    fewer = dataclasses.replace(archive, records=archive.records[:1])
    assert duplicate_pairs(fewer) == ()
