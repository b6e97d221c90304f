"""Spoilt images: what is measured by hand, who meets what, the whole image set kept whole, refusals."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from tapetum.bench import BenchConfig, run_bench
from tapetum.bench.altered.changed import as_it_is, embed_changed, rng_of
from tapetum.bench.altered.photographed import border_colour, field_of
from tapetum.bench.altered.suites import CORRUPTIONS, GENERIC, SUITES, suite_of
from tapetum.bench.models.subject import some_of
from tapetum.bench.tables.measures import Context
from tapetum.bench.tables.results import Results
from tapetum.bench.trial import Scored
from tapetum.bench.trust.corrupting import ALL, clean_records, corrupted_records, measure, relative_records
from tapetum.core.errors import DataError, UsageError
from tapetum.core.types import Predictions
from tapetum.learn.features.embedder import Embedder
from toys import ENCODER

CONFIG = BenchConfig(encoders=ENCODER, threads=1, draws=40)
QUICK = "corrupted(corruptions=('cast', 'jpeg'), severities=(0.5, 1.0), images=20)"


def spoil(name, image, severity=1.0, seed=0):
    return CORRUPTIONS.build(name)(image, severity=severity, rng=np.random.default_rng(seed))


def scored(probs, *, row="model", labels=(0, 0, 1, 1), threshold=0.5):
    probs = np.asarray(probs, np.float64)[:, None]
    ids = tuple("abcd")
    predictions = Predictions(ids, ids, ("OD",) * 4, ("f",), probs, probs, np.array([threshold]), "m")
    return Scored(row, "supervised", predictions, np.asarray(labels, np.float64)[:, None], "labels")


@pytest.fixture
def within():
    return Context("corrupted", tuple("abcd"), 0, 50, "none", 1, {"test": "t", "split": "test"}, "data", False)


@pytest.fixture
def measured(within):
    clean = scored([0.1, 0.2, 0.8, 0.9])
    # mild: one of two found, one of two calm, three of four pairs in order; strong: everything upside down
    spoilt = {"jpeg": [scored([0.1, 0.7, 0.4, 0.9]), scored([0.9, 0.8, 0.2, 0.1])], "dark": [clean, clean]}
    return clean, measure(clean, spoilt, within)


def value(records, row, metric):
    return next(r.interval.estimate for r in records if (r.row, r.finding, r.metric) == (row, "macro", metric))


def test_means_and_differences_by_hand_and_the_worst_first(measured, within):
    clean, found = measured
    records = corrupted_records(within, clean, found, (0.5, 1.0))
    assert list(dict.fromkeys(r.row for r in records)) == [ALL, "jpeg", "dark"]
    assert value(records, "jpeg", "auroc_at_0.5_score") == 0.75
    assert value(records, "jpeg", "auroc_at_1_score") == 0.0
    assert value(records, "jpeg", "auroc_score") == pytest.approx(0.375)
    assert value(records, "jpeg", "auroc_difference") == pytest.approx(-0.625)
    assert value(records, "jpeg", "sensitivity_difference") == pytest.approx((0.5 + 0) / 2 - 1)
    assert value(records, "jpeg", "specificity_difference") == pytest.approx((0.5 + 0) / 2 - 1)
    assert value(records, "jpeg", "balanced_error") == pytest.approx((0.5 + 1.0) / 2)
    assert value(records, "dark", "balanced_error") == 0
    assert value(records, ALL, "balanced_error") == pytest.approx(0.375)
    # each probability in a bin of its own: mean distance from the truth
    strong, mild = np.mean([0.9, 0.8, 0.8, 0.9]), np.mean([0.1, 0.7, 0.6, 0.1])
    assert value(records, "jpeg", "expected_calibration_error") == pytest.approx((strong + mild) / 2)
    assert value(clean_records(within, clean, found), "model", "balanced_error") == 0


def test_without_thresholds_only_ranks_are_told(within):
    clean = scored([0.1, 0.2, 0.8, 0.9], threshold=math.nan)
    records = corrupted_records(within, clean, measure(clean, {"jpeg": [clean]}, within), (0.5,))
    assert {r.metric for r in records if r.row == "jpeg" and r.finding == "macro"} == {
        "auroc_score", "auroc_difference", "auroc_difference (p)", "auroc_at_0.5_score",
    }  # fmt: skip


def test_errors_in_units_of_a_named_baseline_by_hand(measured, within, tmp_path):
    clean, found = measured
    mine = [*clean_records(within, clean, found), *corrupted_records(within, clean, found, (0.5, 1.0))]
    weak = scored([0.1, 0.6, 0.8, 0.9], row="weak")  # balanced error 0.25 when clean
    other = measure(weak, {"jpeg": [scored([0.9, 0.8, 0.2, 0.1])] * 2}, within)
    theirs = [*clean_records(within, weak, other), *corrupted_records(within, weak, other, (0.5, 1.0))]
    Results(tuple(theirs)).save(tmp_path / "weak", page=False)
    told = relative_records(within, mine, clean.labels, tmp_path / "weak")
    assert value(told, "jpeg", "relative_balanced_error") == pytest.approx(0.75 / 1.0)
    assert value(told, "jpeg", "relative_increase_error") == pytest.approx((0.75 - 0) / (1 - 0.25))
    assert "weak" in told[0].interval.method
    assert "dark" not in {r.row for r in told}
    elsewhere = dataclasses.replace(within, digests={"test": "another", "split": "test"})
    with pytest.raises(DataError, match="other images"):
        relative_records(elsewhere, mine, clean.labels, tmp_path / "weak")


def test_a_run_is_compared_with_one_that_was_saved(toy_archive, tmp_path):
    first = run_bench(QUICK, toy_archive, CONFIG)
    first.save(tmp_path / "first", page=False)
    again = run_bench(f"{QUICK[:-1]}, baseline={str(tmp_path / 'first')!r})", toy_archive, CONFIG)
    ratios = [r.interval.estimate for r in again.records if r.metric == "relative_balanced_error"]
    assert ratios
    assert all(math.isnan(x) or x == pytest.approx(1) for x in ratios)
    assert first.records[0].images == 20
    assert first.records[0].row == "logistic()"


@pytest.mark.parametrize("name", ["jpeg", "dust", "haze"])
def test_an_image_is_spoilt_alike_whatever_stands_beside_it(toy_archive, name):
    records, embedder = list(toy_archive.records[:5]), Embedder(ENCODER, threads=1)

    def change(image, record):
        return CORRUPTIONS.build(name)(image, severity=0.7, rng=rng_of(3, name, record))

    many = embed_changed(toy_archive, records, embedder, [as_it_is, change])
    alone = embed_changed(toy_archive, records[3:4], embedder, [change])
    np.testing.assert_allclose(alone[0].features[0], many[1].features[3], atol=1e-5)
    assert not np.allclose(many[0].features, many[1].features)


def test_clean_versions_have_the_features_of_the_archive(toy_archive, toy_embeddings):
    records = list(toy_archive.records[:4])
    found = embed_changed(toy_archive, records, Embedder(ENCODER, threads=1), [as_it_is])[0]
    expected = toy_embeddings.rows([r.image_id for r in records])
    np.testing.assert_allclose(found.features, expected.features, atol=1e-5)
    assert found.encoder == expected.encoder


def test_patients_are_kept_whole_and_the_generator_decides(toy_archive):
    chosen = some_of(toy_archive.records, 9, np.random.default_rng(0))
    assert len(chosen) == 10  # two images each
    patients = {r.patient_id for r in chosen}
    assert chosen == [r for r in toy_archive.records if r.patient_id in patients]
    assert chosen == some_of(toy_archive.records, 9, np.random.default_rng(0))
    assert some_of(toy_archive.records, 0, np.random.default_rng(0)) == list(toy_archive.records)


def test_every_suite_has_members_that_exist_and_every_member_a_suite():
    known = set(CORRUPTIONS.names())
    assert all(set(names) <= known and len(set(names)) == len(names) for names in SUITES.values())
    assert set().union(*SUITES.values()) == known
    assert suite_of("unknown")[0] == suite_of("")[0] == GENERIC
    assert suite_of("cxr") == suite_of("chest_xray")


def test_what_is_spoilt_by_hand():
    grey = np.full((20, 30, 3), 100, np.uint8)
    assert spoil("gamma", grey, 1.0)[0, 0, 0] in (round(255 * (100 / 255) ** 3), round(255 * (100 / 255) ** (1 / 3)))
    half = spoil("impulse", np.full((200, 200, 3), 100, np.uint8), 1.0)
    assert (half == 0).all(axis=2).mean() == pytest.approx(0.125, abs=0.01)
    assert (half == 255).all(axis=2).mean() == pytest.approx(0.125, abs=0.01)
    np.testing.assert_array_equal(spoil("stain", np.full((4, 4, 3), 255, np.uint8)), 255)  # no dye, no change
    dim = spoil("vignetting", np.full((41, 41, 3), 200, np.uint8), 1.0)
    assert dim[20, 20, 0] == 200
    assert dim[20, 0, 0] == pytest.approx(200 * 0.15, abs=1)
    wide = np.zeros((40, 40, 3), np.uint8)
    wide[10:30, 10:30] = 200
    moved = np.argwhere(spoil("off_centre", wide, 0.5)[..., 0] > 100).mean(axis=0) - np.argwhere(wide[..., 0]).mean(0)
    assert np.hypot(*moved) == pytest.approx(0.35 * 0.5 * 40, abs=0.7)


def test_light_of_the_eye_stays_in_the_field_and_the_sensor_sees_all():
    y, x = np.mgrid[:80, :80]
    eye = np.where(((x - 40) ** 2 + (y - 40) ** 2 < 30**2)[..., None], np.array([150, 80, 40]), 0).astype(np.uint8)
    field = field_of(eye)
    assert 0.4 < field.mean() < 0.5
    hazy, noisy = spoil("haze", eye, 0.8), spoil("noise", eye, 0.8)
    assert (hazy[~field] == eye[~field]).all()
    assert (noisy[~field] != eye[~field]).any()
    assert border_colour(eye) == (0, 0, 0)


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ("corrupted(corruptions=('blurr',))", "blurr"), ("corrupted(severities=())", "severities"),
        ("corrupted(severities=(0.0,))", "severities"), ("corrupted(severities=(2.0,))", "severities"),
        ("corrupted(images=-1)", "images=-1"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(toy_archive, spec, found):
    with pytest.raises(UsageError, match=found):
        run_bench(spec, toy_archive, CONFIG)


def test_classes_and_grades_are_refused(toy_archive):
    with pytest.raises(UsageError, match="exclusive"):
        run_bench(QUICK, toy_archive, dataclasses.replace(CONFIG, exclusive=True))
