"""Ridge: folds, the choice of the penalty, the memory of decompositions."""

from __future__ import annotations

import numpy as np
import pytest

from tapetum.core.errors import DataError
from tapetum.learn.adapters.linear_probe import LinearProbe
from tapetum.learn.fitting import ridge
from tapetum.learn.fitting.ridge import PENALTIES, Gram, best_penalty, inner_quality, patient_folds


def test_a_single_feature_by_hand():
    # Centred: x = (-1, 0, 1), y = (-2, 0, 2). Slope = Σxy / (Σx² + λ) = 4 / (2 + 2) = 1; intercept = 5 − 1·3 = 2.
    weight, bias = Gram.of(np.array([[2.0], [3.0], [4.0]])).fit(np.array([[3.0], [5.0], [7.0]]), 2.0)
    np.testing.assert_allclose(weight, [[1.0]])
    np.testing.assert_allclose(bias, [2.0])


@pytest.mark.parametrize("shape", [(30, 8), (15, 60)])
def test_predictions_equal_the_weights_way(shape):
    rng = np.random.default_rng(0)
    rows, targets, query = rng.normal(3, 1, shape), rng.normal(size=(shape[0], 4)), rng.normal(size=(6, shape[1]))
    gram = Gram.of(rows)
    for penalty, found in zip((0.3, 30.0), gram.predict(query, targets, (0.3, 30.0)), strict=True):
        weight, bias = gram.fit(targets, penalty)
        np.testing.assert_allclose(found, query @ weight + bias, atol=1e-9)


def test_single_precision_rows_are_good_enough():
    rng = np.random.default_rng(1)
    rows, targets = rng.normal(size=(40, 100)), rng.normal(size=(40, 2))
    exact = Gram.of(rows).predict(rows, targets, [1.0])[0]
    np.testing.assert_allclose(Gram.of(rows.astype(np.float32)).predict(rows, targets, [1.0])[0], exact, atol=1e-3)


@pytest.mark.parametrize("shape", [(40, 9), (24, 60)])
def test_held_out_rows_are_predicted_as_by_a_fit_without_their_fold(shape):
    rng = np.random.default_rng(0)
    rows, targets = rng.normal(2, 1, shape), rng.normal(1, 1, size=(shape[0], 3))
    rows[5] = rows[4]
    fold = rng.permutation(shape[0]) % 4
    for penalty, found in zip((0.3, 30.0), Gram.of(rows).held_out(targets, fold, (0.3, 30.0)), strict=True):
        for number in range(4):
            weight, bias = Gram.of(rows[fold != number]).fit(targets[fold != number], penalty)
            np.testing.assert_allclose(found[fold == number], rows[fold == number] @ weight + bias, atol=1e-8)


def test_other_folds_and_penalties_of_the_same_rows_are_told_apart():
    rng = np.random.default_rng(0)
    rows, targets = rng.normal(size=(20, 6)), rng.normal(size=(20, 1))
    gram, first, second = Gram.of(rows), np.arange(20) % 2, np.arange(20) % 5
    once = gram.held_out(targets, first, (1.0,))[0]
    assert not np.allclose(gram.held_out(targets, second, (1.0,))[0], once)
    assert not np.allclose(gram.held_out(targets, first, (2.0,))[0], once)
    np.testing.assert_array_equal(gram.held_out(targets, first, (1.0,))[0], once)


def test_folds_never_split_a_patient():
    patients = [f"p{i % 13}" for i in range(60)]
    fold = patient_folds(patients, 4, np.random.default_rng(0))
    assert {len({f for f, p in zip(fold, patients, strict=True) if p == q}) for q in patients} == {1}
    sizes = [len({p for f, p in zip(fold, patients, strict=True) if f == k}) for k in range(4)]
    assert sorted(sizes) == [3, 3, 3, 4]


def test_folds_do_not_depend_on_the_order_of_the_rows():
    patients = np.array([f"p{i % 13}" for i in range(60)])
    order = np.random.default_rng(3).permutation(60)
    straight = patient_folds(patients, 4, np.random.default_rng(0))
    np.testing.assert_array_equal(patient_folds(patients[order], 4, np.random.default_rng(0)), straight[order])


def error(targets):
    return lambda prediction, rows: -((prediction - targets[rows]) ** 2).mean(0)


def test_no_noise_asks_for_a_small_penalty_and_noise_for_a_large_one():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(80, 20)) / np.sqrt(20)
    clean, noisy = rows @ rng.normal(size=20), rng.normal(size=80)
    targets = np.stack([clean, noisy], axis=1)
    fold = patient_folds(np.arange(80), 4, np.random.default_rng(0))
    table = inner_quality(rows, targets, fold, quality=error(targets))
    assert table.shape == (len(PENALTIES), 2)
    assert best_penalty(table[:, 0]) == min(PENALTIES)
    assert best_penalty(table[:, 1]) >= 10


def test_quality_is_measured_on_rows_that_were_not_fitted():
    rng = np.random.default_rng(0)
    rows, seen = rng.normal(size=(30, 5)), []
    fold = patient_folds(np.arange(30), 3, np.random.default_rng(0))

    def quality(prediction, out):
        assert len(prediction) == len(out)
        seen.extend(out.tolist())
        return np.array([0.5])

    inner_quality(rows, rng.normal(size=(30, 1)), fold, quality=quality, penalties=(1.0,))
    assert sorted(seen) == list(range(30))


def test_folds_that_cannot_tell_are_left_out():
    fold = np.array([0, 0, 1, 1])
    values = iter([np.array([np.nan, np.nan]), np.array([0.7, np.nan])])
    table = inner_quality(
        np.eye(4), np.zeros((4, 2)), fold, quality=lambda prediction, out: next(values), penalties=(1.0,)
    )
    np.testing.assert_array_equal(table, [[0.7, np.nan]])


def test_one_patient_cannot_be_split():
    with pytest.raises(DataError, match="one patient only"):
        inner_quality(np.eye(4), np.zeros((4, 1)), np.zeros(4, dtype=int), quality=error(np.zeros((4, 1))))


def test_the_best_penalty_of_equals_is_the_largest_and_nan_where_none_was_judged():
    assert best_penalty(np.array([0.8, 0.9, 0.9, np.nan]), (1.0, 2.0, 3.0, 4.0)) == 3.0
    assert np.isnan(best_penalty(np.full(2, np.nan), (1.0, 2.0)))


def test_the_same_rows_are_decomposed_once(monkeypatch):
    monkeypatch.setattr(ridge, "_kept", type(ridge._kept)())
    count = []
    decompose = ridge._decompose
    monkeypatch.setattr(ridge, "_decompose", lambda rows: count.append(1) or decompose(rows))
    rows = np.random.default_rng(0).normal(size=(10, 4))
    first, second = Gram.of(rows), Gram.of(rows.copy())
    assert len(count) == 1
    assert first.vectors is second.vectors
    Gram.of(rows.astype(np.float32))
    Gram.of(np.ascontiguousarray(rows.reshape(20, 2)))
    assert len(count) == 3
    rows[0, 0] += 1
    assert Gram.of(rows).vectors is not first.vectors


def test_the_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(ridge, "_kept", type(ridge._kept)())
    rng = np.random.default_rng(0)
    for _ in range(9):
        Gram.of(rng.normal(size=(5, 3)))
    assert len(ridge._kept) == ridge._KEPT
    monkeypatch.setattr(ridge, "_KEPT_BYTES", 100)
    gram = Gram.of(rng.normal(size=(50, 3)))
    assert not ridge._kept
    assert gram.vectors.shape == (50, 50)


def probe_case():
    """One finding in a single direction among many noisy ones, one spread evenly: they want different penalties."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 60)).astype(np.float32)
    clean = features @ rng.normal(size=60) > 0
    rare = features[:, 0] + 2.5 * rng.normal(size=200) > 2.8
    return features, np.stack([clean, rare], axis=1).astype(float)


def test_each_finding_gets_a_penalty_of_its_own():
    features, labels = probe_case()
    probe = LinearProbe(power=1.0).fit(features, labels)
    for j in range(2):
        alone = LinearProbe(power=1.0).fit(features, labels[:, [j]])
        assert probe.penalty_[j] == alone.penalty_[0]
        np.testing.assert_allclose(probe(features)[:, j], alone(features)[:, 0], atol=1e-6)
    assert probe.penalty_[0] != probe.penalty_[1]


def test_a_finding_that_no_fold_can_judge_takes_what_serves_the_others():
    features, labels = probe_case()
    single = np.zeros(200)
    single[7] = 1.0
    probe = LinearProbe(power=1.0).fit(features, np.stack([labels[:, 0], single], axis=1), np.full(200, 0))
    assert list(probe.penalty_) == [PENALTIES[len(PENALTIES) // 2]] * 2  # one patient: no folds, the middle one
    assert np.isfinite(probe(features)).all()


def test_a_finding_with_one_class_is_not_a_number():
    features, labels = probe_case()
    labels[:, 1] = 0.0
    scores = LinearProbe().fit(features, labels)(features)
    assert np.isnan(scores[:, 1]).all()
    assert np.isfinite(scores[:, 0]).all()


def test_patients_stay_together_when_the_penalty_is_chosen():
    """Copies of an image under one patient must not vouch for each other: noise wants the largest penalty."""
    rng = np.random.default_rng(1)
    features = np.repeat(rng.normal(size=(60, 40)), 4, axis=0).astype(np.float32)
    labels = np.repeat((rng.random(60) < 0.5).astype(float), 4)[:, None]
    rows = features / np.sqrt(40)
    images, patients = np.arange(240), np.repeat(np.arange(60), 4)

    def quality(who):
        fold = patient_folds(who, 4, np.random.default_rng(0))
        return inner_quality(rows, labels, fold, quality=error(labels), penalties=(0.3, 300.0))[:, 0]

    leaking, honest = quality(images), quality(patients)
    assert leaking[0] > leaking[1]
    assert honest[0] < honest[1]
