"""Measures by class in many runs and draws: by hand, and against scikit-learn on rows repeated as drawn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import accuracy_score, f1_score, recall_score, roc_auc_score

from tapetum.core.errors import DataError, UsageError
from tapetum.score.imbalance import class_draws, exponential_counts, finding_draws, frequency_groups, known_mean
from tapetum.score.stats.draws import cluster_weights

RNG = np.random.default_rng(0)
LABELS = np.repeat([0, 1, 2], [40, 15, 5])
LOGITS = RNG.normal(size=(2, 60, 3)) + 1.5 * np.eye(3)[LABELS]
WEIGHTS = next(iter(cluster_weights(np.arange(60) // 2, 12, np.random.default_rng(1))))


def test_every_draw_is_what_scikit_learn_says_of_its_rows():
    found = class_draws(LOGITS, LABELS, WEIGHTS)
    for b, weights in enumerate(WEIGHTS):
        rows = np.repeat(np.arange(60), weights)
        truth = LABELS[rows]
        present = np.unique(truth)
        for r, logits in enumerate(LOGITS[:, rows]):
            called = logits.argmax(axis=1)
            assert found.accuracy[b, r] == pytest.approx(accuracy_score(truth, called))
            recall = recall_score(truth, called, labels=present, average=None, zero_division=0)
            np.testing.assert_allclose(found.recall[b, r, present], recall)
            f1 = f1_score(truth, called, labels=present, average=None, zero_division=0)
            np.testing.assert_allclose(found.f1[b, r, present], f1)
            probs = softmax(logits, axis=1)
            areas = [roc_auc_score(truth == c, probs[:, c]) for c in present]
            np.testing.assert_allclose(found.auroc[b, r, present], areas)
            gone = np.setdiff1d(np.arange(3), present)
            assert np.isnan(found.recall[b, r, gone]).all()
            assert np.isnan(found.f1[b, r, gone]).all()


def test_an_absent_class_is_undefined_and_not_0():
    found = class_draws(LOGITS[:, :55], LABELS[:55], np.ones((1, 55), np.uint8))
    assert np.isnan(found.recall[..., 2]).all()
    assert np.isnan(found.f1[..., 2]).all()
    assert np.isnan(found.auroc[..., 2]).all()
    assert known_mean(found.recall)[0, 0] == pytest.approx(found.recall[0, 0, :2].mean())
    assert np.isnan(known_mean(found.recall, np.array([False, False, True]))).all()


def test_the_auroc_ranks_probabilities_and_not_bare_logits():
    """A constant that is added to all logits of an image changes nothing."""
    shifted = LOGITS + RNG.normal(size=(1, 60, 1)) * 5
    once = np.ones((1, 60), np.uint8)
    np.testing.assert_allclose(class_draws(shifted, LABELS, once).auroc, class_draws(LOGITS, LABELS, once).auroc)


def test_findings_leave_out_what_is_unknown():
    labels = np.eye(3)[LABELS]
    labels[:4, 0] = np.nan
    found = finding_draws(LOGITS, labels, np.ones((1, 60), np.uint8))
    expected = roc_auc_score(labels[4:, 0], LOGITS[0, 4:, 0])
    assert found.auroc[0, 0, 0] == pytest.approx(expected)
    assert np.isnan(found.recall).all()


def test_groups_by_hand():
    # from 100 to 1 thirds end at 21.5 and 4.64
    assert frequency_groups(np.array([100.0, 22, 21, 5, 4, 1])).tolist() == [0, 0, 1, 1, 2, 2]
    assert frequency_groups(np.array([7.0, 7, 7])).tolist() == [0, 0, 0]
    assert frequency_groups(np.array([4693.0, 779, 769, 359, 228, 99, 47])).tolist() == [0, 1, 1, 1, 1, 2, 2]
    assert frequency_groups(np.array([1.0, 3, 2]), (1, 1)).tolist() == [2, 0, 2]


@pytest.mark.parametrize("cut", [(1,), (2, 1), (0, 9), (1, 2, 3)])
def test_a_cut_that_cannot_be_is_refused(cut):
    with pytest.raises(UsageError, match="cut="):
        frequency_groups(np.ones(4), cut)


def test_exponential_counts_by_hand():
    assert exponential_counts(100, 100, 3).tolist() == [100, 10, 1]
    assert exponential_counts(50, 1, 3).tolist() == [50, 50, 50]
    for wrong in ((0, 2, 3), (10, 0.5, 3), (10, 11, 3), (10, 2, 1)):
        with pytest.raises(UsageError):
            exponential_counts(*wrong)


def test_shapes_and_values_that_cannot_be_are_refused():
    once = np.ones((1, 60), np.uint8)
    with pytest.raises(DataError):
        class_draws(LOGITS, LABELS + 1, once)
    with pytest.raises(DataError):
        class_draws(np.full_like(LOGITS, np.nan), LABELS, once)
    with pytest.raises(DataError):
        class_draws(LOGITS, LABELS[:-1], once)
