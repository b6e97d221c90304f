"""FPR at 95 % TPR, full spectrum and the threshold from known images, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from tapetum.core.errors import DataError, UsageError
from tapetum.score.metrics.fpr_at_95_tpr_error import fpr_at_95_tpr_error
from tapetum.score.spectrum import detection, full_spectrum, threshold_between, threshold_for_kept


def test_95_of_100_positives_are_enough():
    """The threshold is the 95th highest positive (6), not the one nearest to a rate, and ties with it are called."""
    scores = np.concatenate([np.arange(1, 101), [6, 5.5, 0, 0]]).astype(float)
    labels = np.repeat([1, 0], [100, 4])
    assert fpr_at_95_tpr_error(scores, labels) == 0.25
    scores[100] = 5.9
    assert fpr_at_95_tpr_error(scores, labels) == 0


def test_of_ten_positives_all_are_needed():
    """19 of 20 reach 95 %, 9 of 10 do not: the nearest rate would be 90 %."""
    scores = np.concatenate([[0.0], np.full(9, 1.0), [0.5, -1.0]])
    labels = np.repeat([1, 0], [10, 2])
    assert fpr_at_95_tpr_error(scores, labels) == 0.5


@pytest.mark.parametrize("seed", range(5))
def test_as_read_off_the_curve_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(137) % 3 == 0)
    scores = np.round(rng.normal(size=137) + labels, 1)  # with ties
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    assert fpr_at_95_tpr_error(scores, labels) == pytest.approx(fpr[np.argmax(tpr >= 0.95)])


def test_which_class_is_positive_matters():
    # one OOD image hides among the known ones; 20 known, 20 OOD
    scores = np.concatenate([np.linspace(0, 1, 20), np.full(19, 2.0), [-1.0]])
    found = detection(scores, np.repeat([False, True], 20))
    assert found.fpr95_ood == 0  # 19 of 20 OOD images suffice, and none of the known ones is as high
    assert found.fpr95_id == 0.05  # keeping 19 of the known ones lets the hidden one in
    everything = detection(scores[:-1], np.repeat([False, True], [20, 19]))
    assert (everything.fpr95_ood, everything.fpr95_id) == (0, 0)


def test_measures_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    ood = rng.random(200) < 0.3
    scores = rng.normal(size=200) + ood
    found = detection(scores, ood)
    assert found.auroc == pytest.approx(roc_auc_score(ood, scores))
    assert found.average_precision_ood == pytest.approx(average_precision_score(ood, scores))
    assert found.average_precision_id == pytest.approx(average_precision_score(~ood, -scores))
    assert (found.accepted, found.refused) == (int((~ood).sum()), int(ood.sum()))


def test_the_policy_for_shifted_images_decides():
    scores = np.array([0.0, 0.1, 0.6, 0.7, 0.5, 0.65, 0.9, 1.0])
    kinds = ["id", "id", "shifted", "shifted", "near", "near", "far", "far"]
    standard = full_spectrum(scores, kinds, shifted="leave out")
    whole = full_spectrum(scores, kinds, shifted="accept")
    refused = full_spectrum(scores, kinds, shifted="refuse")
    assert (standard["near"].auroc, standard["far"].auroc) == (1, 1)
    assert whole["near"].auroc == 5 / 8  # near 0.5 beats 2 of 4, near 0.65 beats 3 of 4
    assert whole["far"].auroc == 1
    assert (standard["near"].accepted, whole["near"].accepted) == (2, 4)
    assert set(standard) == set(whole) == {"near", "far"}
    assert refused["near"] == standard["near"]
    assert refused["shifted"].auroc == 1


def test_a_side_without_images_is_nan():
    found = full_spectrum(np.array([0.0, 1.0]), ["id", "near"], shifted="accept")
    assert found["near"].auroc == 1
    assert math.isnan(found["far"].auroc)
    assert math.isnan(found["far"].fpr95_ood)


def test_invalid_spectra():
    with pytest.raises(UsageError, match="shifted='drop'"):
        full_spectrum(np.zeros(1), ["id"], shifted="drop")
    with pytest.raises(DataError, match="csid"):
        full_spectrum(np.zeros(1), ["csid"], shifted="accept")
    with pytest.raises(DataError, match="2 kinds"):
        full_spectrum(np.zeros(1), ["id", "near"], shifted="accept")


@pytest.mark.parametrize(("n", "kept", "refused"), [(20, 0.95, 1), (10, 0.95, 0), (10, 0.9, 1), (10, 1.0, 0)])
def test_the_threshold_keeps_at_least_the_share(n, kept, refused):
    values = np.random.default_rng(0).permutation(n).astype(float)
    assert (values >= threshold_for_kept(values, kept=kept)).sum() == refused


def test_ties_are_kept_and_nothing_is_nan():
    values = np.array([0.0, 1.0, 1.0, 1.0])
    assert not (values >= threshold_for_kept(values, kept=0.5)).any()
    assert math.isnan(threshold_for_kept(np.empty(0)))
    with pytest.raises(UsageError, match="kept=0"):
        threshold_for_kept(values, kept=0)


def test_a_threshold_between_known_and_ood_by_hand():
    known, ood = np.array([0.0, 1.0, 2.0, 5.0]), np.array([1.5, 3.0, 4.0])
    # above 2: 3 of 4 kept and 2 of 3 refused; above 1: 2 of 4 and 3 of 3, which is more
    assert threshold_between(known, ood) == 1.25
    assert threshold_between(known, np.array([3.0, 4.0])) == 2.5
    assert threshold_between(np.array([0.0]), np.array([5e-324])) == 5e-324  # nothing lies between
    assert threshold_between(np.array([5.0]), np.array([1.0, 2.0, 9.0])) == 7.0
    assert threshold_between(np.array([1.0, 2.0]), np.array([0.0])) == 0.0  # misled: nothing better than refusing all
    assert threshold_between(np.array([1.0]), np.array([1.0])) == 1.0  # not told apart: the lowest
    assert math.isnan(threshold_between(known, ood[:0]))
    assert math.isnan(threshold_between(known[:0], ood))
    with pytest.raises(DataError, match="NaN"):
        threshold_between(known, np.array([math.nan]))


@pytest.mark.parametrize("seed", range(3))
def test_that_threshold_is_the_best_of_the_curve_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    known, ood = np.round(rng.normal(size=60), 1), np.round(rng.normal(size=40) + 1, 1)
    fpr, tpr, _ = roc_curve(np.repeat([0, 1], [60, 40]), np.concatenate([known, ood]), drop_intermediate=False)
    limit = threshold_between(known, ood)
    assert (ood >= limit).mean() - (known >= limit).mean() == pytest.approx((tpr - fpr).max())
