"""Recall by hand and against a literal search; its chance level against simulation."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest

from tapetum.core.errors import DataError, UsageError
from tapetum.retrieve import equal_texts, recall_at
from tapetum.retrieve import recall as recall_module
from tapetum.score import mean_interval

NOBODY = [f"other {i}" for i in range(9)]


def clinic(seed=0, n=40, texts=6, patients=25):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, n)), rng.integers(0, texts, n).tolist(), [f"p{i}" for i in rng.integers(0, patients, n)]


def test_by_hand():
    similarity = np.array([[0.9, 0.8, 0.7, 0.1], [0.1, 0.9, 0.2, 0.3], [0.5, 0.5, 0.5, 0.9]])
    relevant = np.array([[1, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1]], dtype=bool)
    # item 0 is of the first query's own patient: item 2 is the answer and stands second; the third query has none left
    found = recall_at(similarity, relevant, ["a", "b", "d"], ["a", "x", "y", "d"], ks=(1, 2))
    np.testing.assert_array_equal(found.hits[1], [0, 0, np.nan])
    np.testing.assert_array_equal(found.hits[2], [1, 1, np.nan])
    np.testing.assert_array_equal(found.ranks, [2, 2, np.nan])
    assert (found.used, found.left_out) == (2, 1)
    assert (found.mean(1), found.mean(2), found.median_rank) == (0, 1, 2)
    # one right of three candidates, one right of four
    assert found.chance[1] == pytest.approx((1 / 3 + 1 / 4) / 2)
    assert found.chance[2] == pytest.approx((2 / 3 + 2 / 4) / 2)
    assert found.chance_rank == pytest.approx((4 / 2 + 5 / 2) / 2)
    with_own = recall_at(similarity, relevant, ["a", "b", "d"], ["a", "x", "y", "d"], exclude_same_patient=False)
    np.testing.assert_array_equal(with_own.ranks, [1, 2, 1])


@pytest.mark.parametrize("at_once", [3, 512])
def test_equals_a_literal_search(monkeypatch, at_once):
    monkeypatch.setattr(recall_module, "QUERIES_AT_ONCE", at_once)
    similarity, texts, who = clinic()
    found = recall_at(similarity, equal_texts(texts, texts), who, who, ks=(1, 3, 10))
    for q in range(len(who)):
        others = [i for i in np.argsort(-similarity[q]) if who[i] != who[q]]
        places = [place for place, i in enumerate(others, 1) if texts[i] == texts[q]]
        if not places:
            assert math.isnan(found.ranks[q])
            continue
        assert found.ranks[q] == places[0]
        for k in (1, 3, 10):
            assert found.hits[k][q] == pytest.approx(float(places[0] <= k))


def test_the_two_directions_are_transposes():
    similarity, texts, who = clinic(seed=3)
    same = equal_texts(texts, texts)
    there, back = recall_at(similarity, same, who, who), recall_at(similarity.T, same.T, who, who)
    assert there.chance == back.chance
    assert not np.array_equal(there.ranks, back.ranks)


def test_equal_scores_count_the_share_of_their_orders_that_hit():
    relevant = np.array([[True, False, True, False]])
    similarity = np.array([[0.5, 0.5, 0.5, 0.9]])
    orders = list(permutations(range(3)))
    found = recall_at(similarity, relevant, ["me"], NOBODY[:4], ks=(1, 2, 3))
    for k in (1, 2, 3):
        share = np.mean([any(item in (0, 2) for item in order[: k - 1]) for order in orders])
        assert found.hits[k][0] == pytest.approx(share)
    assert found.ranks[0] == pytest.approx(1 + np.mean([min(o.index(0), o.index(2)) + 1 for o in orders]))


def test_a_model_that_says_the_same_of_everything_reaches_chance_and_no_more():
    _, texts, who = clinic()
    flat = recall_at(np.ones((40, 40)), equal_texts(texts, texts), who, who)
    for k in (1, 5, 10):
        assert flat.mean(k) == pytest.approx(flat.chance[k], abs=1e-9)
    assert np.nanmean(flat.ranks) == pytest.approx(flat.chance_rank)


def test_chance_is_the_mean_over_random_orders():
    _, texts, who = clinic()
    rng, same = np.random.default_rng(1), equal_texts(texts, texts)
    runs = [recall_at(rng.random((40, 40)), same, who, who) for _ in range(200)]
    for k in (1, 5, 10):
        means = [run.mean(k) for run in runs]
        assert abs(np.mean(means) - runs[0].chance[k]) < 4 * np.std(means) / np.sqrt(200)


def test_hits_go_into_an_interval_by_patient():
    similarity, texts, who = clinic()
    found = recall_at(similarity, equal_texts(texts, texts), who, who)
    interval = mean_interval(found.hits[5], who, rng=np.random.default_rng(0), draws=200)
    assert interval.estimate == pytest.approx(found.mean(5))
    assert interval.low < interval.estimate < interval.high


def test_findings_may_stand_for_texts():
    same = equal_texts([frozenset("ab"), frozenset()], [frozenset("ba"), frozenset("a"), frozenset()])
    assert same.tolist() == [[True, False, False], [False, False, True]]


def test_no_relevant_item_at_all_is_undefined():
    found = recall_at(np.ones((2, 2)), np.eye(2, dtype=bool), ["a", "b"], ["a", "b"])
    assert (found.used, found.left_out) == (0, 2)
    assert math.isnan(found.mean(1))
    assert math.isnan(found.median_rank)
    assert math.isnan(found.chance[1])
    assert math.isnan(found.chance_rank)


def test_more_places_than_items():
    found = recall_at(np.array([[0.1, 0.2]]), np.array([[True, False]]), ["me"], ["x", "y"], ks=(50,))
    assert found.hits[50].tolist() == [1.0]
    assert found.chance[50] == 1.0


def test_bad_input_is_refused():
    ok, same, two = np.ones((2, 2)), np.ones((2, 2), dtype=bool), ["a", "b"]
    with pytest.raises((DataError, TypeError)):
        recall_at(ok, same, two, ["a"])
    with pytest.raises((DataError, TypeError)):
        recall_at(ok, same[:1], two, two)
    with pytest.raises(DataError, match="NaN"):
        recall_at(ok * np.nan, same, two, two)
    for ks in ((), (0, 1)):
        with pytest.raises(UsageError, match="ks"):
            recall_at(ok, same, two, two, ks=ks)
