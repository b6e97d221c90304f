"""The table of a smaller model beside its teacher: counts, pairing, turns, and who saw whom."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest

from tapetum.bench.models import smaller as smaller_module
from tapetum.bench.models.smaller import Contender, judged, of_folder, of_model, smaller
from tapetum.core.errors import DataError, UsageError
from tapetum.core.types import Split
from tapetum.learn import AdaptConfig, adapt, zero_shot
from tapetum.learn.exporting.folder import ExportConfig, export_model
from toys import COLOURS, ENCODER, clinic

FINDINGS = tuple(COLOURS)


@pytest.fixture(scope="module")
def model(toy_archive, toy_embeddings):
    config = AdaptConfig("logistic", ENCODER, findings=FINDINGS, threads=1, cross_fit=False)
    return adapt(toy_archive, config, embeddings=toy_embeddings)


def _slow(seconds):
    def score(images):
        time.sleep(seconds * len(images))
        return np.stack([[image[..., j % 3].mean() for j in range(4)] for image in images])

    return score


def test_parameters_and_megabytes_are_counted(model):
    """Three convolutions 3→12→24→8 of 3 × 3 with offsets, and a head of 16 × 4 with offsets."""
    towers = 12 * 27 + 12 + 24 * 108 + 24 + 8 * 216 + 8
    found = of_model("m", model, FINDINGS)
    assert found.parameters == towers + 16 * 4 + 4
    assert found.megabytes == pytest.approx(4e-6 * found.parameters)


def test_the_table_pairs_patients_and_rounds(toy_archive, toy_embeddings, model):
    first = of_model("teacher", model, FINDINGS)
    score = _slow(0.002)
    second = Contender("colours", score, score, 7, 0.5, 512)
    found = smaller(toy_archive, [first, second], FINDINGS, draws=50)
    assert [row.name for row in found.rows] == ["teacher", "colours"]
    a, b = found.rows
    assert a.apart is None
    assert b.apart is not None
    assert b.apart.interval.estimate == pytest.approx(b.auroc.estimate - a.auroc.estimate)
    assert a.speed == 1.0
    assert b.image_ms >= 2
    assert b.speed < 1
    table = found.table()
    assert "| colours | 7 | 0.50 |" in table
    assert "too high" not in table
    assert not table.startswith("PHANTOM")
    ids = [r.image_id for r in toy_archive.in_split(Split.VAL)]
    assert (found.images, found.patients) == (len(ids), len({r.patient_id for r in toy_archive.in_split(Split.VAL)}))
    expected = zero_shot(model, toy_embeddings.rows(ids), FINDINGS).logits
    images = [toy_archive.pixels(i, min_side=512) for i in ids]
    np.testing.assert_allclose(first.score(images), expected, atol=1e-4)


def test_who_learned_from_the_patients_is_told(toy_archive, toy_embeddings, model):
    config = AdaptConfig("logistic", ENCODER, findings=FINDINGS, threads=1)
    both = of_model("both", adapt(toy_archive, config, embeddings=toy_embeddings), FINDINGS)
    assert both.saw == ("train", "val")
    plain = of_model("plain", model, FINDINGS)
    assert plain.saw == ("train",)
    val = smaller(toy_archive, [both, plain], FINDINGS, draws=20)
    assert "both learned from these patients" in val.table()
    assert "learned from" not in smaller(toy_archive, [both, plain], FINDINGS, split="test", draws=20).table()
    phantom = dataclasses.replace(toy_archive, phantom=True)
    assert smaller(phantom, [plain], FINDINGS, draws=20).table().startswith("PHANTOM, ")


def test_rounds_go_both_ways(monkeypatch):
    monkeypatch.setattr(smaller_module, "_ROUNDS", 2)
    order: list[str] = []

    def named(name):
        def through(images):
            order.append(name)
            return images

        return Contender(name, through, through, 0, 0.0, 512)

    found = smaller_module._seconds([named("a"), named("b")], [np.zeros((4, 4, 3), np.uint8)])
    assert order == ["a", "b", "a", "b", "b", "a"]
    assert {name: len(times) for name, times in found.items()} == {"a": 2, "b": 2}


def test_an_exported_folder_is_judged_beside_its_model(toy_archive, model, tmp_path):
    config = ExportConfig(int8=True, calibration_images=8, threads=1)
    done = export_model(model, tmp_path / "x", config, archive=toy_archive, judge=judged(toy_archive, model, FINDINGS))
    rows = done.measured["rows"]
    assert [row["name"] for row in rows] == ["checkpoint", "model.onnx", "model_int8.onnx"]
    assert rows[1]["auroc"]["estimate"] == pytest.approx(rows[0]["auroc"]["estimate"], abs=1e-6)
    assert rows[2]["megabytes"] == pytest.approx((tmp_path / "x" / "model_int8.onnx").stat().st_size / 1e6)
    readme = (tmp_path / "x" / "README.md").read_text()
    assert "| model_int8.onnx |" in readme
    assert "minus the first" in readme
    some = of_folder("x", tmp_path / "x", "model.onnx", FINDINGS[:2])
    assert some.score([np.zeros((32, 32, 3), np.uint8)]).shape == (1, 2)


def test_copies_of_learned_images_are_left_out_and_readings_are_counted(tmp_path, monkeypatch):
    archive = clinic(tmp_path / "own", labels={name: name for name in COLOURS})
    plain = Contender("colours", _slow(0), _slow(0), 0, 0.0, 512)
    tested = [r.image_id for r in archive.in_split(Split.TEST)]
    asked_with = []

    def found(learned, ids, other):
        asked_with.append(set(ids))
        assert learned is other
        return frozenset(tested[:3])

    monkeypatch.setattr(smaller_module, "copies", found)
    first = smaller(archive, [plain], FINDINGS, split="test", draws=20)
    assert (first.images, first.left_out, first.reads) == (len(tested) - 3, 3, 1)
    assert "3 images left out: they look like images learned on. The test set was read 1 time." in first.table()
    assert smaller(archive, [plain], FINDINGS, split="test", draws=20).reads == 2
    assert smaller(archive, [plain], FINDINGS, draws=20).reads == 1
    train, val = ({r.image_id for r in archive.in_split(s)} for s in (Split.TRAIN, Split.VAL))
    assert asked_with == [train | val, train | val, train]
    monkeypatch.setattr(smaller_module, "copies", lambda *_: frozenset(tested))
    with pytest.raises(DataError, match="look like images that are learned on"):
        smaller(archive, [plain], FINDINGS, split="test")


def test_refusals(toy_archive, model):
    plain = of_model("plain", model, FINDINGS)
    with pytest.raises(UsageError, match="split='train'"):
        smaller(toy_archive, [plain], FINDINGS, split="train")
    none = dataclasses.replace(toy_archive, records=tuple(toy_archive.in_split(Split.TRAIN)))
    with pytest.raises(DataError, match="no patients in the split val"):
        smaller(none, [plain], FINDINGS)
