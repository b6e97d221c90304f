"""The balanced logistic loss, its slope and the ways down it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tapetum.core.errors import UsageError
from tapetum.learn.fitting.sigmoid import Adam, Targets, curvature, descend

LABELS = np.array([[1.0, 1.0], [0.0, np.nan], [0.0, 1.0], [np.nan, np.nan]])


def test_both_kinds_weigh_half_and_a_finding_with_one_kind_nothing():
    targets = Targets.of(LABELS)
    np.testing.assert_array_equal(targets.sign, [[1, 1], [-1, 0], [-1, 1], [0, 0]])
    np.testing.assert_allclose(targets.weight, [[0.5, 0], [0.25, 0], [0.25, 0], [0, 0]])
    np.testing.assert_array_equal(targets.taught, [True, False])


def test_the_loss_by_hand():
    targets = Targets.of(LABELS[:, :1])
    logits = np.array([[2.0], [0.0], [-1.0], [50.0]])
    expected = 0.5 * math.log1p(math.exp(-2)) + 0.25 * math.log(2) + 0.25 * math.log1p(math.exp(-1))
    assert targets.loss(logits) == pytest.approx([expected])


def test_the_slope_is_that_of_the_loss():
    targets, logits = Targets.of(LABELS[:, :1]), np.array([[0.3], [-0.2], [1.0], [0.0]])
    for i in range(4):
        moved = np.zeros((4, 1))
        moved[i] = 1e-6
        numeric = (targets.loss(logits + moved) - targets.loss(logits - moved)) / 2e-6
        assert targets.slope(logits)[i] == pytest.approx(numeric, abs=1e-9)


@pytest.mark.parametrize(("n", "d"), [(5, 9), (30, 4)])
def test_curvature_is_the_largest_eigenvalue_of_the_hessian_at_zero(n, d):
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(n, d)), (np.arange(n)[:, None] % 3 == 0).astype(float)
    targets = Targets.of(labels)
    whole = np.hstack([rows, np.ones((n, 1))])
    hessian = (whole.T * targets.weight[:, 0]) @ whole / 4  # σ′(0) = 1/4
    assert curvature(rows, targets.weight) == pytest.approx([np.linalg.eigvalsh(hessian)[-1]])
    assert curvature(rows, np.zeros((n, 2))).tolist() == [1.0, 1.0]


def test_one_step_by_hand():
    """Two rows ±1 in one column: λmax of diag(1, 1) is 1, so the step is 4·rate; the slope at 0 is ∓¼."""
    rows, targets = np.array([[1.0], [-1.0]]), Targets.of(np.array([[1.0], [0.0]]))
    weight, bias = descend(rows, targets, np.zeros((1, 1)), np.zeros(1), steps=1, rate=0.5)
    assert weight[0, 0] == pytest.approx(0.5 * 4 * 0.5)
    assert bias[0] == pytest.approx(0)


def test_no_step_of_the_longest_default_raises_the_loss():
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(20, 30)) * 10
    targets = Targets.of((rng.random((20, 2)) < 0.4).astype(float))
    weight, bias, last = np.zeros((30, 2)), np.zeros(2), np.full(2, np.inf)
    for _ in range(20):
        weight, bias = descend(rows, targets, weight, bias, steps=1, rate=1.0)
        loss = targets.loss(rows @ weight + bias)
        assert (loss <= last).all()
        last = loss


def test_adams_first_step_has_the_length_of_its_rate_against_the_sign():
    value = np.array([1.0, 1.0, 1.0])
    Adam((value,), 0.1, 5).step((np.array([3.0, -1e-3, 0.0]),))
    np.testing.assert_allclose(value, [0.9, 1.1, 1.0], atol=1e-5)


@pytest.mark.parametrize("options", [{"steps": 0, "rate": 1.0}, {"steps": 3, "rate": 2.0}, {"steps": 3, "rate": 0.0}])
def test_steps_that_go_nowhere_or_away_are_refused(options):
    with pytest.raises(UsageError, match="steps="):
        descend(np.ones((2, 1)), Targets.of(np.array([[1.0], [0.0]])), np.zeros((1, 1)), np.zeros(1), **options)


@pytest.mark.parametrize("options", [{"steps": 0, "rate": 1.0}, {"steps": 3, "rate": 0.0}])
def test_adam_refuses_them_too(options):
    with pytest.raises(UsageError, match="steps="):
        Adam((np.zeros(1),), **options)
