"""Logistic regression: values by hand, scikit-learn's optimum, the choice of the penalty, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from tapetum.core.errors import UsageError
from tapetum.learn.adapters.logistic import Logistic
from tapetum.learn.fitting import logistic_path
from tapetum.learn.fitting.logistic_path import LOGISTIC_PENALTIES, Turned, chosen_penalties, logistic_fit
from tapetum.learn.fitting.ridge import patient_folds


def case(n, d, k=2, seed=0, share=0.4):
    rng = np.random.default_rng(seed)
    rows = rng.normal(1, 1, size=(n, d)) / np.sqrt(d)
    scores = rows @ rng.normal(size=(d, k)) * np.sqrt(d) / 2 + 0.5 * rng.normal(size=(n, k))
    return rows, (scores > np.quantile(scores, 1 - share, axis=0)).astype(float)


def solve(rows, labels, penalty, known=None):
    turned = Turned.of(rows)
    mask = np.ones_like(labels) if known is None else known
    return turned.weights(logistic_fit(turned, labels, mask, np.full(labels.shape[1], penalty)))


def test_two_points_by_hand():
    # x = ±1, y = (x > 0): by symmetry no intercept, and 2·(1 − p) = λ·w with p = 1 / (1 + e^−w). At w = ln 3, p = ¾:
    # λ = ½ / ln 3.
    weight, bias = solve(np.array([[-1.0], [1.0]]), np.array([[0.0], [1.0]]), 0.5 / np.log(3))
    np.testing.assert_allclose(weight, [[np.log(3)]], atol=1e-5)
    np.testing.assert_allclose(bias, [0.0], atol=1e-5)


def test_without_a_signal_the_intercept_is_the_log_odds():
    rows = np.array([[1.0], [-1.0], [1.0], [-1.0], [1.0], [-1.0], [1.0], [-1.0]])
    labels = np.array([1, 1, 0, 0, 0, 0, 0, 0.0])[:, None]
    weight, bias = solve(rows, labels, 1.0)
    np.testing.assert_allclose(weight, [[0.0]], atol=1e-7)
    np.testing.assert_allclose(bias, [np.log(2 / 6)], atol=1e-5)


@pytest.mark.parametrize("shape", [(80, 12), (40, 300)])
@pytest.mark.parametrize("penalty", [30.0, 1.0, 0.01])
def test_scikit_learn_finds_the_same_optimum(shape, penalty):
    rows, labels = case(*shape)
    weight, bias = solve(rows, labels, penalty)
    for j in range(2):
        peer = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=20_000).fit(rows, labels[:, j])
        np.testing.assert_allclose(weight[:, j], peer.coef_[0], atol=1e-4 * np.abs(peer.coef_).max())
        np.testing.assert_allclose(rows @ weight[:, j] + bias[j], peer.decision_function(rows), atol=1e-3)


def test_the_gradient_vanishes_where_it_stops():
    rows, labels = case(60, 200)
    weight, bias = solve(rows, labels, 0.3)
    wrong = 1 / (1 + np.exp(-(rows @ weight + bias))) - labels
    np.testing.assert_allclose(wrong.sum(0), 0, atol=1e-4)
    np.testing.assert_allclose(rows.T @ wrong + 0.3 * weight, 0, atol=1e-4)


def test_left_out_rows_are_as_if_they_were_not_there():
    rows, labels = case(60, 100)
    known = np.ones_like(labels)
    known[:20, 1] = 0
    holed = np.where(known > 0, labels, np.nan)
    weight, bias = solve(rows, holed, 0.3, known)
    alone = solve(rows[20:], labels[20:, [1]], 0.3)
    np.testing.assert_allclose(weight[:, [1]], alone[0], atol=1e-5)
    np.testing.assert_allclose(bias[1], alone[1][0], atol=1e-5)


@pytest.mark.parametrize("shape", [(30, 5), (12, 50)])
def test_turning_keeps_scores_and_lengths(shape):
    rng = np.random.default_rng(0)
    rows, solution = rng.normal(3, 1, shape), rng.normal(size=(min(shape) + 1, 2))
    turned = Turned.of(rows)
    weight, bias = turned.weights(solution)
    np.testing.assert_allclose(rows @ weight + bias, turned.coordinates @ solution[:-1] + solution[-1], atol=1e-6)
    centred = rows - rows.mean(0)
    np.testing.assert_allclose(turned.coordinates @ turned.coordinates.T, centred @ centred.T, atol=1e-6)
    if shape[0] > shape[1]:
        np.testing.assert_allclose((weight**2).sum(0), (solution[:-1] ** 2).sum(0))


def test_leading_axes_are_those_of_the_whole(monkeypatch):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 50)) * 0.7 ** np.arange(50)
    whole = Turned.of(rows)
    monkeypatch.setattr(logistic_path, "_WHOLE", 10)
    monkeypatch.setattr(logistic_path, "_LEADING", 12)
    part = Turned.of(rows)
    np.testing.assert_allclose(part.values[:4], whole.values[:4], rtol=1e-3)
    np.testing.assert_allclose(part.values.sum() + 38 * part.rest, whole.values.sum())
    labels = (rows[:, :2] > 0).astype(float)
    one, other = (logistic_fit(t, labels, np.ones_like(labels), np.full(2, 0.01)) for t in (whole, part))
    np.testing.assert_allclose(one, other, atol=1e-4)


def test_the_chosen_penalty_is_that_of_a_plain_search():
    rows, labels = case(120, 15, k=2, seed=3)
    fold = patient_folds(np.arange(120), 5, np.random.default_rng(0))
    tried = (100.0, 3.0, 0.1)
    table = np.zeros((3, 2))
    for p, penalty in enumerate(tried):
        for j in range(2):
            for f in range(5):
                peer = LogisticRegression(C=1 / penalty, max_iter=1000)
                peer.fit(rows[fold != f], labels[fold != f, j])
                table[p, j] += roc_auc_score(labels[fold == f, j], peer.decision_function(rows[fold == f])) / 5
    found = chosen_penalties(Turned.of(rows), labels, fold, tried)
    for j in range(2):
        assert table[tried.index(found[j]), j] == pytest.approx(table[:, j].max(), abs=1e-3)
    assert chosen_penalties(Turned.of(rows), labels, fold, tried[::-1]).tolist() == found.tolist()


def test_each_finding_takes_a_penalty_of_its_own_and_a_rare_one_that_of_the_others():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 60)).astype(np.float32)
    clean = features @ rng.normal(size=60) > 0
    single = np.arange(200) == 7
    probe = Logistic(power=1.0).fit(features, np.stack([clean, single], axis=1).astype(float))
    assert probe.penalty_[0] == probe.penalty_[1]
    noise = (rng.random(200) < 0.5).astype(float)
    both = Logistic(power=1.0).fit(features, np.stack([clean, noise], axis=1).astype(float))
    assert both.penalty_[0] == probe.penalty_[0]
    assert both.penalty_[1] != both.penalty_[0]
    assert np.isfinite(probe(features)).all()


def test_one_patient_takes_the_middle_penalty():
    rows, labels = case(30, 6)
    probe = Logistic().fit(rows, labels, np.zeros(30))
    middle = sorted(LOGISTIC_PENALTIES)[len(LOGISTIC_PENALTIES) // 2]
    assert probe.penalty_.tolist() == [middle, middle]


def test_a_fixed_penalty_is_taken_and_nothing_searched(monkeypatch):
    monkeypatch.setattr(logistic_path, "_fold_aurocs", None)
    rows, labels = case(30, 6)
    assert Logistic(penalty=2.0).fit(rows, labels).penalty_.tolist() == [2.0, 2.0]


def test_a_finding_with_one_class_is_not_a_number():
    rows, labels = case(30, 6)
    labels[:, 1] = 0
    scores = Logistic().fit(rows, labels)(rows)
    assert np.isnan(scores[:, 1]).all()
    assert np.isfinite(scores[:, 0]).all()
    assert np.isnan(Logistic().fit(rows, np.zeros((30, 1)))(rows)).all()


def test_separable_rows_and_a_tiny_penalty_still_end():
    rows = np.linspace(-1, 1, 40)[:, None]
    weight, bias = solve(rows, (rows > 0).astype(float), 1e-9)
    assert np.isfinite(weight).all()
    assert (((rows @ weight + bias) > 0) == (rows > 0)).all()


def test_constant_rows_leave_the_log_odds():
    scores = Logistic(penalty=1.0).fit(np.ones((8, 3)), np.array([1, 0, 0, 0, 0, 0, 0, 1.0])[:, None])(np.ones((2, 3)))
    np.testing.assert_allclose(scores, np.log(2 / 6), atol=1e-5)


@pytest.mark.parametrize("options", [{"penalty": -1.0}, {"folds": 1}, {"tolerance": 0.0}])
def test_impossible_options_are_refused(options):
    with pytest.raises(UsageError, match="folds="):
        Logistic(**options).fit(*case(20, 4))


def test_a_penalty_of_nothing_is_refused():
    rows, labels = case(20, 4)
    with pytest.raises(UsageError, match="penalty=0"):
        solve(rows, labels, 0.0)
