"""The tree as an array: levels, decoding that agrees with it, measures of agreement."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from tapetum.core.errors import UsageError
from tapetum.knowledge import load_pack
from tapetum.learn.pairing.tree import Tree, agreement, consistent, tree_of, violations

PACK = load_pack("fundus")
CHAIN = Tree(("a", "b", "c"), np.array([-1, 0, 1]))
FORK = Tree(("a", "b", "c"), np.array([-1, 0, 0]))


def test_the_tree_of_a_pack_skips_what_is_not_asked_for():
    tree = tree_of(PACK, ["cataract", "mild_npdr", "abnormal_fundus", "nonproliferative_dr", "normal_fundus"])
    assert tree.names == ("normal_fundus", "abnormal_fundus", "nonproliferative_dr", "mild_npdr", "cataract")
    assert tree.parent.tolist() == [-1, -1, 1, 2, 1]
    assert tree.depth.tolist() == [0, 0, 1, 2, 1]
    assert tree_of(PACK, []).depth.tolist() == []
    with pytest.raises(UsageError):
        tree_of(PACK, ["catarakt"])


@pytest.mark.parametrize(
    ("tree", "given", "expected"),
    [
        (CHAIN, [0.9, 0.5, 0.1], [0.9, 0.5, 0.1]),
        (CHAIN, [0.2, 0.6, 0.1], [0.4, 0.4, 0.1]),
        (CHAIN, [0.1, 0.2, 0.9], [0.4, 0.4, 0.4]),
        (FORK, [0.3, 0.5, 0.1], [0.4, 0.4, 0.1]),
        (FORK, [0.2, 0.6, 0.5], [13 / 30, 13 / 30, 13 / 30]),
        # the likelier child is taken in first; their mean is above the other child, which stays as it is
        (FORK, [0.2, 0.9, 0.4], [0.55, 0.55, 0.4]),
    ],
)
def test_projections_by_hand(tree, given, expected):
    np.testing.assert_allclose(consistent(np.array([given]), tree), [expected])


def random_tree(rng, size):
    return Tree(tuple(map(str, range(size))), np.array([rng.integers(-1, i) if i else -1 for i in range(size)]))


def alternating(values, tree, rounds=4000):
    """Dykstra's projections onto one half space per step of the tree: slow, and of another kind."""
    steps = [(i, p) for i, p in enumerate(tree.parent) if p >= 0]
    x, kept = values.copy(), np.zeros((len(steps), 2))
    for _ in range(rounds):
        for k, (child, above) in enumerate(steps):
            y = x[[child, above]] + kept[k]
            x[[child, above]] = y if y[0] <= y[1] else y.mean()
            kept[k] = y - x[[child, above]]
    return x


@pytest.mark.parametrize("seed", range(6))
def test_the_projection_is_that_of_another_method(seed):
    rng = np.random.default_rng(seed)
    tree, values = random_tree(rng, 9), rng.random(9)
    np.testing.assert_allclose(consistent(values[None], tree)[0], alternating(values, tree), atol=1e-6)


def test_a_chain_is_isotonic_regression():
    values = np.random.default_rng(0).random(30)
    chain = Tree(tuple(map(str, range(30))), np.arange(30) - 1)
    expected = IsotonicRegression(increasing=False).fit_transform(np.arange(30), values)
    np.testing.assert_allclose(consistent(values[None], chain)[0], expected)


def test_projections_agree_with_the_tree_keep_the_sum_and_stay():
    rng = np.random.default_rng(1)
    tree, values = random_tree(rng, 40), rng.random((50, 40))
    found = consistent(values, tree)
    assert violations(values, tree) > 0.2
    assert violations(found, tree) == 0
    np.testing.assert_allclose(found.sum(1), values.sum(1))
    np.testing.assert_array_equal(consistent(found, tree), found)
    assert ((found >= 0) & (found <= 1)).all()


def test_the_argument_is_left_as_it_was():
    values = np.array([[0.2, 0.6, 0.1]])
    consistent(values, CHAIN)
    assert values.tolist() == [[0.2, 0.6, 0.1]]


def test_measures_by_hand():
    assert violations(np.array([[0.2, 0.6, 0.1], [0.9, 0.5, 0.6]]), CHAIN) == 0.5
    assert np.isnan(violations(np.array([[0.2]]), Tree(("a",), np.array([-1]))))
    two = Tree(("a", "b", "a1", "b1"), np.array([-1, -1, 0, 1]))
    assert agreement(np.array([[0.9, 0.1, 0.2, 0.3], [0.9, 0.1, 0.4, 0.3]]), two, 0, 1) == 0.5
    deep = Tree(("a", "b", "a1", "b1", "a11", "b11"), np.array([-1, -1, 0, 1, 2, 3]))
    assert agreement(np.array([[0.9, 0.1, 0, 0, 0.2, 0.3]]), deep, 0, 2) == 0


def test_what_fits_no_tree_is_refused():
    with pytest.raises(UsageError, match="3 columns"):
        consistent(np.zeros((2, 2)), CHAIN)
    with pytest.raises(UsageError, match="b has no probability"):
        consistent(np.array([[0.5, np.nan, 0.1]]), CHAIN)
    with pytest.raises(UsageError, match="parents"):
        Tree(("a", "b"), np.array([1, -1]))
    with pytest.raises(UsageError, match="levels"):
        agreement(np.zeros((1, 3)), FORK, 1, 2)
