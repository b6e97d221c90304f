"""Properties of folds, batches, ridge, text separation and shuffles, whatever the numbers."""

from __future__ import annotations

import itertools
import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tapetum.bench.models.controls import shuffle_between_patients
from tapetum.learn.adapt import draw_shots
from tapetum.learn.fitting.ridge import Gram, patient_folds
from tapetum.learn.pairing.pairs import Pairs
from tapetum.learn.training.loop import batches, learning_rate_at

seeds = st.integers(0, 2**32 - 1)
patients = st.lists(st.integers(0, 9), min_size=1, max_size=40)


@given(patients, st.integers(1, 6), seeds)
def test_folds_keep_patients_whole_and_are_balanced(groups, folds, seed):
    fold = patient_folds(groups, folds, np.random.default_rng(seed))
    by_patient = {g: {int(f) for f, q in zip(fold, groups, strict=True) if q == g} for g in groups}
    assert all(len(of) == 1 for of in by_patient.values())
    sizes = [sum(of == {k} for of in by_patient.values()) for k in range(folds)]
    assert max(sizes) - min(sizes) <= 1


@given(st.integers(0, 300), st.integers(1, 64))
def test_batches_are_a_partition(n, size):
    found = batches(np.arange(n), size)
    assert [i for b in found for i in b] == list(range(n))
    assert len(found) == math.ceil(n / size)
    assert all(0 < len(b) <= size for b in found)


@given(st.integers(1, 500), st.floats(1e-6, 10))
def test_the_learning_rate_stays_between_zero_and_its_peak(steps, peak):
    rates = [learning_rate_at(s, steps, peak) for s in range(steps)]
    assert all(0 <= r <= peak * (1 + 1e-12) for r in rates)
    warm = max(1, steps // 20)
    assert all(a >= b for a, b in itertools.pairwise(rates[warm:]))


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 20), st.integers(1, 25), st.floats(0.1, 100), seeds)
def test_ridge_does_not_care_where_zero_is(n, d, penalty, seed):
    rng = np.random.default_rng(seed)
    rows, targets, query = rng.normal(size=(n, d)), rng.normal(size=(n, 2)), rng.normal(size=(3, d))
    plain = Gram.of(rows).predict(query, targets, [penalty])[0]
    moved = Gram.of(rows + 5).predict(query + 5, targets - 3, [penalty])[0] + 3
    np.testing.assert_allclose(moved, plain, atol=1e-7)


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 20), st.integers(1, 25), seeds)
def test_a_larger_penalty_never_makes_larger_weights(n, d, seed):
    rng = np.random.default_rng(seed)
    gram, targets = Gram.of(rng.normal(size=(n, d))), rng.normal(size=(n, 1))
    norms = [float(np.linalg.norm(gram.fit(targets, penalty)[0])) for penalty in (0.1, 1.0, 10.0, 100.0)]
    assert all(a >= b - 1e-12 for a, b in itertools.pairwise(norms))


@given(patients, seeds)
def test_a_shuffle_gives_each_patient_the_texts_of_one_patient(groups, seed):
    if len(set(groups)) < 2:
        return
    n = len(groups)
    names = tuple(f"{g}:{i}" for i, g in enumerate(groups))
    pairs = Pairs(np.zeros((n, 1), np.float32), names, np.arange(n, dtype=float)[:, None], tuple(map(str, groups)))
    mixed = shuffle_between_patients(pairs, np.random.default_rng(seed))
    giver = {g: {t.split(":")[0] for t, q in zip(mixed.texts, groups, strict=True) if q == g} for g in groups}
    assert all(len(of) == 1 for of in giver.values())
    assert len({next(iter(of)) for of in giver.values()}) == len(giver)  # nobody lends twice
    assert tuple(names[int(i)] for i in mixed.text_features[:, 0]) == mixed.texts


@settings(deadline=None)
@given(patients, st.integers(1, 4), seeds)
def test_shots_are_distinct_rows_and_as_many_as_can_be(groups, shots, seed):
    rng = np.random.default_rng(seed)
    labels = rng.choice([0.0, 1.0, np.nan], size=(len(groups), 2))
    chosen = draw_shots(labels, [str(g) for g in groups], shots, rng)
    assert len(set(chosen.tolist())) == len(chosen)
    for column in range(2):
        for value in (0, 1):
            there = int((labels[:, column] == value).sum())
            assert int((labels[chosen, column] == value).sum()) >= min(shots, there)
