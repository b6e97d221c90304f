"""Leaving out what says the same: planted duplicates, shares, controls."""

from __future__ import annotations

import numpy as np
import pytest

from tapetum.core.errors import UsageError
from tapetum.learn.pretext.redundancy import RULES, less_redundant


def planted(copies=4, kinds=10, seed=0):
    """Ten images, each four times with a little noise: rows 4i to 4i + 3 show the same."""
    rng = np.random.default_rng(seed)
    rows = np.repeat(rng.standard_normal((kinds, 32)), copies, axis=0)
    return rows + 0.01 * rng.standard_normal(rows.shape)


@pytest.mark.parametrize("rule", ["spread", "information"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_one_of_each_planted_duplicate_stays(rule, seed):
    chosen = less_redundant(planted(), keep=0.25, rule=rule, rng=np.random.default_rng(seed))
    assert sorted(chosen // 4) == list(range(10))


def test_chance_keeps_fewer_kinds():
    kinds = [
        len(set(less_redundant(planted(), keep=0.25, rule="random", rng=np.random.default_rng(s)) // 4))
        for s in range(20)
    ]
    assert max(kinds) < 10


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("keep", "count"), [(1.0, 40), (0.5, 20), (0.001, 1)])
def test_the_share_is_kept_once_each_and_in_order(rule, keep, count):
    chosen = less_redundant(planted(), keep=keep, rule=rule, rng=np.random.default_rng(0))
    assert len(chosen) == count
    assert (np.diff(chosen) > 0).all()


def test_scale_and_offset_of_the_features_change_nothing():
    rows = planted()
    plain, moved = (less_redundant(r, keep=0.4, rng=np.random.default_rng(0)).tolist() for r in (rows, 3 * rows + 7))
    assert plain == moved


@pytest.mark.parametrize("rule", RULES)
def test_equal_rows_do_not_stop_it(rule):
    assert len(less_redundant(np.ones((6, 3)), keep=0.5, rule=rule, rng=np.random.default_rng(0))) == 3


@pytest.mark.parametrize(
    ("options", "told"),
    [({"keep": 0.0}, "keep=0.0"), ({"keep": 1.5}, "keep=1.5"), ({"keep": 0.5, "rule": "hash"}, "reduce='hash'")],
)
def test_options_out_of_range_are_refused(options, told):
    with pytest.raises(UsageError, match=told):
        less_redundant(planted(), rng=np.random.default_rng(0), **options)
