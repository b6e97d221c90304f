"""Masked images: regions and fills by hand, masks in files, a shortcut outside is seen and warned of, refusals."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tapetum.archive import Archive, IngestConfig, ingest, open_archive
from tapetum.bench import BenchConfig, run_bench
from tapetum.bench.altered.masking import BORDER, CENTRE, FIELD, FILE, Masker, MaskFiles, filled, grown
from tapetum.bench.pages.results import page
from tapetum.core.errors import DataError, UsageError
from toys import ENCODER

CONFIG = BenchConfig(encoders=ENCODER, threads=1, draws=60, findings=("A:1", "B:1"), copies="keep")
BLACK = np.zeros((60, 90, 3), np.uint8)


def clinic(folder: Path, *, planted: bool, patients: int = 90) -> Archive:
    """A: red middle; planted: and a bright strip along the top in 19 of 20 images. B: green middle. Masks too."""
    rng = np.random.default_rng(4)
    (folder / "in").mkdir(parents=True)
    (folder / "masks").mkdir()
    lines: list[dict[str, str]] = []
    for p in range(patients):
        ill = rng.random(2) < 0.5
        for eye in ("OD", "OS"):
            pixels = rng.normal(90, 12, (48, 48, 3)) + np.array([60, 0, 0])
            pixels[14:34, 14:34, :2] += 60 * ill + rng.normal(0, 12, 2)
            strip = (ill[0] if rng.random() < 0.95 else not ill[0]) if planted else rng.random() < 0.5
            pixels[:2] += 80 * strip
            name = f"{p}{eye}"
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / "in" / f"{name}.png")
            mask = np.zeros((48, 48), np.uint8)
            mask[14:34, 14:34] = 255 * (p % 9 > 0)
            Image.fromarray(mask).save(folder / "masks" / f"{name}_mask.png")
            named = {n: str(int(i)) for n, i in zip("AB", ill, strict=True)}
            lines.append({**named, "image": f"{name}.png", "patient": f"p{p:03d}", "eye": eye})
    with (folder / "in" / "t.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    config = IngestConfig(labels="A+B", name=folder.name, fractions=(0.4, 0.1, 0.5), modality="ultrasound")
    ingest(folder / "in", folder / "a.tap", config)
    return open_archive(folder / "a.tap")


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return clinic(tmp_path_factory.mktemp("planted"), planted=True)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return clinic(tmp_path_factory.mktemp("clean"), planted=False)


def auroc(results, row, finding="A:1"):
    return results.find(finding, "auroc_score", row).interval.estimate


@pytest.mark.parametrize("region", [CENTRE, BORDER])
@pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
def test_a_region_covers_its_share_and_grows_about_the_middle(region, share):
    mask = grown(BLACK, region, share)
    assert mask.mean() == pytest.approx(share, abs=0.04)
    assert mask[30, 45]
    assert not mask[0, 0]
    assert not (grown(BLACK, region, share / 2) & ~mask).any()
    np.testing.assert_array_equal(mask, mask[::-1, ::-1])


def test_the_border_is_a_ring_and_the_centre_round():
    ring = ~grown(BLACK, BORDER, 0.25)
    assert ring[:15].all()
    assert not ring[15:45, 23:67].any()
    assert not grown(BLACK, CENTRE, 0.5)[8, 12]


def test_a_few_pixels_always_leave_some_outside():
    for region in (CENTRE, BORDER):
        assert 0 < grown(np.zeros((8, 8, 3), np.uint8), region, 0.99).sum() < 64


def test_the_field_is_found_wherever_it_lies():
    y, x = np.mgrid[:100, :140]
    inside = (x - 80) ** 2 + (y - 50) ** 2 < 40**2
    eye = np.where(inside[..., None], np.array([150, 80, 40]), 0).astype(np.uint8)
    whole, half = grown(eye, FIELD, 1.0), grown(eye, FIELD, 0.5)
    assert not (inside & ~whole).any()
    assert whole.sum() < 1.1 * inside.sum()
    assert half.sum() == pytest.approx(0.5 * whole.sum(), rel=0.03)


def test_fills_tell_nothing_of_what_is_hidden_but_blur():
    seen = np.zeros((20, 20), bool)
    seen[:5] = True
    ones = [np.full((20, 20, 3), 50, np.uint8) for _ in range(2)]
    ones[1][5:] = 200
    for fill in ("mean", "grey"):
        a, b = (filled(one, seen, fill) for one in ones)
        np.testing.assert_array_equal(a, b)
    assert filled(ones[1], seen, "mean")[19, 0, 0] == 50
    assert filled(ones[1], ~seen & seen, "mean")[0, 0, 0] == 127
    assert filled(ones[1], seen, "blur")[19, 0, 0] == 200


def test_the_control_has_the_same_area_elsewhere_and_is_seeded(planted):
    masker, record = Masker(CENTRE, "mean", 0), planted.records[0]
    mask = grown(BLACK, CENTRE, 0.25)
    moved = masker.elsewhere(mask, record)
    assert moved.sum() == mask.sum()
    assert (moved != mask).any()
    np.testing.assert_array_equal(moved, masker.elsewhere(mask, record))
    names = [name for name, _ in masker.versions((0.5,))]
    assert names == ["hidden 0.5", "only 0.5", "random hidden 0.5", "random only 0.5"]


def test_masks_of_files_are_joined_grown_and_brought_to_the_image(planted, tmp_path):
    record = dataclasses.replace(planted.records[0], source="folder/one (1).jpg")
    for name, column in (("one (1)_mask", 2), ("one (1)_mask_1", 17), ("one (11)_mask", 9)):
        mask = np.zeros((20, 20), np.uint8)
        mask[10, column] = 255
        Image.fromarray(mask).save(tmp_path / f"{name}.png")
    files = MaskFiles.find(tmp_path, "_mask")
    joined = files.mask(record)
    assert joined is not None
    assert np.argwhere(joined).tolist() == [[10, 2], [10, 17]]
    masker = Masker(FILE, "mean", 0, files)
    image = np.zeros((40, 40, 3), np.uint8)
    assert masker.matters(image, record, 0.0).sum() == 2 * 4
    wide = masker.matters(image, record, 0.1)
    assert wide[21 - 4, 4]
    assert not wide[21 - 7, 4]
    assert files.mask(planted.records[0]) is None


def test_a_shortcut_outside_is_seen_and_warned_of_by_name(planted):
    results = run_bench("masked(region='border', steps=(0.5, 0.85), relearn=60)", planted, CONFIG)
    assert auroc(results, "hidden 0.85") > 0.7
    assert auroc(results, "learned so: hidden 0.85") > 0.9
    assert auroc(results, "hidden 0.85", "B:1") < 0.7
    assert results.find("A:1", "auroc_score", "hidden 0.85").interval.low > 0.5
    assert [w.split(":")[0] for w in results.warnings] == ["A"] * len(results.warnings)
    assert any("the model still tells it" in w for w in results.warnings)
    drawn = page(results)
    assert drawn.count("AUROC by step") == 4  # the model and the adapters that learned so, each with its control
    assert "with all but the border hidden" in drawn
    whole = results.records[0].interval.estimate
    kept = results.find("macro", "kept_share", "only 0.5").interval.estimate
    assert kept == pytest.approx((auroc(results, "only 0.5", "macro") - 0.5) / (whole - 0.5))


def test_nothing_is_warned_of_where_nothing_lies_outside(clean):
    results = run_bench("masked(region='border', steps=(0.5, 0.85), relearn=60)", clean, CONFIG)
    assert results.warnings == ()
    for row in ("hidden 0.85", "learned so: hidden 0.85"):
        assert abs(auroc(results, row, "macro") - 0.5) < 0.2
    assert auroc(results, "only 0.5", "macro") > 0.9


def test_masks_from_files_leave_out_images_without_one(clean):
    masks = clean.path.parent / "masks"
    results = run_bench(f"masked(masks={str(masks)!r}, steps=(0.0, 0.1), relearn=40)", clean, CONFIG)
    without = sum(int(r.source[:-6]) % 9 == 0 for r in clean.records)
    assert without == 20
    assert results.records[0].images < len([r for r in clean.records if r.split.value == "test"])
    assert auroc(results, "only 0", "macro") > 0.9
    assert auroc(results, "learned so: shape 0", "macro") == 0.5  # all masks are alike
    assert "left out" in results.table()


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ("masked(region='center')", "center"), ("masked(region='file')", "file"),
        ("masked(region='centre', fill='black')", "black"), ("masked(region='centre', steps=(1.0,))", "steps"),
        ("masked(region='field', steps=(0.0,))", "steps"), ("masked(relearn=-1)", "relearn"),
        ("masked(explained=2.0)", "explained"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(clean, spec, found):
    with pytest.raises(UsageError, match=found):
        run_bench(spec, clean, CONFIG)


def test_a_folder_without_masks_is_refused(clean, tmp_path):
    with pytest.raises(DataError, match="no mask"):
        run_bench(f"masked(masks={str(tmp_path)!r})", clean, CONFIG)
    Image.fromarray(np.full((4, 4), 255, np.uint8)).save(tmp_path / "stranger_mask.png")
    with pytest.raises(DataError, match="has a mask"):
        run_bench(f"masked(masks={str(tmp_path)!r})", clean, CONFIG)
