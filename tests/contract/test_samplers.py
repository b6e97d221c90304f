"""What every sampler promises; a new file in the family is tested by being there."""

from __future__ import annotations

import numpy as np
import pytest

from tapetum.core.registry import Family
from tapetum.learn.pairing.pairs import Pairs
from tapetum.learn.training.schedule import batches

SAMPLERS = Family("tapetum.learn.samplers")
each_sampler = pytest.mark.parametrize("name", SAMPLERS.names())


def made(patients, visits=()):
    n = len(patients)
    return Pairs(np.zeros((n, 1), np.float32), ("a",) * n, np.zeros((n, 1)), tuple(patients), (), tuple(visits))


def order(name, pairs, batch, seed=0, rows=None):
    rows = np.arange(len(pairs.texts)) if rows is None else rows
    return SAMPLERS.build(name)(rows, pairs, batch, np.random.default_rng(seed))


MANY = made([f"p{i // 2}" for i in range(50)] + ["q"] * 7, [f"v{i // 3}" for i in range(57)])


@each_sampler
def test_no_row_twice_and_only_rows_that_were_given(name):
    rows = np.arange(3, 50)
    found = order(name, MANY, 8, rows=rows)
    assert len(set(found.tolist())) == len(found)
    assert set(found.tolist()) <= set(rows.tolist())
    assert np.issubdtype(found.dtype, np.integer)


@each_sampler
def test_the_generator_alone_decides(name):
    np.testing.assert_array_equal(order(name, MANY, 8), order(name, MANY, 8))
    assert order(name, MANY, 8, seed=1).tolist() != order(name, MANY, 8).tolist()


@each_sampler
def test_every_row_comes_in_some_epoch(name):
    seen = set[int]()
    for seed in range(30):
        seen |= set(order(name, MANY, 8, seed=seed).tolist())
    assert seen == set(range(57))


@each_sampler
def test_one_row_is_enough(name):
    assert order(name, made(["p"], ["v"]), 4).tolist() == [0]


def test_the_plain_one_is_a_permutation():
    np.testing.assert_array_equal(order("shuffled", MANY, 8), np.random.default_rng(0).permutation(57))


@pytest.mark.parametrize("batch", [1, 3, 8, 20, 57])
def test_no_patient_twice_in_a_batch(batch):
    for seed in range(5):
        found = order("no_duplicate_patients", MANY, batch, seed=seed)
        cut = batches(found, batch)
        for part in cut:
            names = [MANY.patient_ids[i] for i in part]
            assert len(names) == len(set(names))
        # as many rows as can be placed: of every patient one for each batch
        counts = np.unique(MANY.patient_ids, return_counts=True)[1]
        assert len(found) == np.minimum(counts, len(cut)).sum()


def test_a_patient_in_every_batch_by_hand():
    # 6 rows, batches of 3: two batches; the patient with four rows has room for two of them.
    pairs = made(["a", "a", "a", "a", "b", "c"])
    found = order("no_duplicate_patients", pairs, 3)
    assert len(found) == 4
    assert [sorted(pairs.patient_ids[i] for i in part) for part in batches(found, 3)] in (
        [["a", "b"], ["a", "c"]], [["a", "c"], ["a", "b"]],
    )  # fmt: skip


def test_one_row_of_each_visit_and_every_row_without_one():
    pairs = made(["a"] * 6, ["v", "v", "v", "w", "", ""])
    for seed in range(5):
        found = order("per_visit", pairs, 4, seed=seed)
        assert len(found) == 4
        assert {3, 4, 5} < set(found.tolist())
    assert len(order("per_visit", made(["a"] * 3), 4)) == 3
    assert {int(next(i for i in order("per_visit", pairs, 4, seed=s) if i < 3)) for s in range(30)} == {0, 1, 2}
