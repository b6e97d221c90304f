"""Conformal limits: by hand, and their promise over many clinics; risk and coverage against brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from tapetum.core.errors import DataError, UsageError
from tapetum.score.conformal import conformal_limit, finding_limits
from tapetum.score.selective import area_under_risk_coverage, error_at_coverage, risk_coverage


def test_one_image_per_patient_is_split_conformal_prediction():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=37)
    for alpha in (0.05, 0.1, 0.3, 0.5):
        rank = math.ceil((1 - alpha) * 38 - 1e-9)
        expected = np.sort(scores)[rank - 1] if rank <= 37 else math.inf
        assert conformal_limit(scores, list(range(37)), alpha=alpha) == expected


def test_patients_weigh_alike_by_hand():
    # a has four images and b, c one each: masses 1/16 each of a's, 1/4 for b and for c, 1/4 above all
    scores, who = np.array([1.0, 2, 3, 4, 5, 6]), ["a", "a", "a", "a", "b", "c"]
    assert conformal_limit(scores, who, alpha=0.75) == 4.0  # 4/16 reaches 1/4
    assert conformal_limit(scores, who, alpha=0.5) == 5.0
    assert conformal_limit(scores, who, alpha=0.25) == 6.0
    assert conformal_limit(scores, who, alpha=0.2) == math.inf


def test_the_promise_holds_for_new_patients_whose_eyes_are_alike():
    rng, kept = np.random.default_rng(1), []
    for _ in range(400):
        patient = np.repeat(rng.normal(size=41), 2)
        scores = 0.9 * patient + math.sqrt(1 - 0.81) * rng.normal(size=82)
        limit = conformal_limit(scores[:80], np.repeat(np.arange(40), 2), alpha=0.1)
        kept.append((scores[80:] <= limit).mean())
    share, error = np.mean(kept), np.std(kept) / 20
    assert 0.9 - 3 * error < share < 0.9 + 1 / 41 + 3 * error


def test_sets_keep_each_side_apart_and_say_when_they_cannot_tell():
    logits = np.array([[-2.0], [-1.0], [1.0], [0.5], [2.0], [3.0]])
    labels = np.array([[0.0], [0], [0], [1], [1], [1]])
    limits = finding_limits(logits, labels, list("abcdef"), alpha=0.25)
    assert limits.lowest_present.tolist() == [0.5]
    assert limits.highest_absent.tolist() == [1.0]
    sets = limits.sets(np.array([[-3.0], [0.7], [4.0]]))
    assert sets[:, 0].tolist() == [[True, False], [True, True], [False, True]]


def test_too_few_patients_rule_nothing_out_and_unknown_labels_count_for_nothing():
    limits = finding_limits(np.zeros((3, 1)), np.array([[1.0], [np.nan], [0]]), list("abc"), alpha=0.1)
    assert limits.lowest_present.tolist() == [-math.inf]
    assert limits.highest_absent.tolist() == [math.inf]
    assert limits.sets(np.array([[5.0]])).all()


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1])
def test_a_share_that_is_none_is_refused(alpha):
    with pytest.raises(UsageError):
        conformal_limit(np.zeros(3), list("abc"), alpha=alpha)


def test_nan_and_unequal_lengths_are_refused():
    with pytest.raises(DataError):
        conformal_limit(np.array([np.nan]), ["a"], alpha=0.1)
    with pytest.raises(DataError):
        conformal_limit(np.zeros(3), ["a"], alpha=0.1)


def orders(doubt: np.ndarray) -> list[list[int]]:
    """Every order in which images may be decided, ties in all ways."""
    return [
        list(order) for order in itertools.permutations(range(len(doubt)))
        if all(doubt[a] <= doubt[b] for a, b in itertools.pairwise(order))
    ]  # fmt: skip


def test_ties_are_the_mean_over_all_orders():
    doubt, wrong = np.array([0.2, 0.1, 0.2, 0.2, 0.5, 0.5]), np.array([1, 0, 0, 1, 0, 1], bool)
    ways = orders(doubt)
    areas = [np.mean(np.cumsum(wrong[way]) / np.arange(1, 7)) for way in ways]
    assert area_under_risk_coverage(doubt, wrong) == pytest.approx(np.mean(areas))
    for kept in range(1, 7):
        errors = [wrong[way][:kept].mean() for way in ways]
        assert error_at_coverage(doubt, wrong, coverage=kept / 6) == pytest.approx(np.mean(errors))


def test_the_curve_ends_at_the_error_of_all():
    rng = np.random.default_rng(2)
    doubt, wrong = rng.integers(0, 10, 50) / 10, rng.random(50) < 0.3
    curve = risk_coverage(doubt, wrong)
    assert curve.coverage[-1] == 1
    assert curve.risk[-1] == wrong.mean()
    assert (np.diff(curve.doubt) > 0).all()
    for coverage, risk, limit in zip(curve.coverage, curve.risk, curve.doubt, strict=True):
        decided = doubt <= limit
        assert (coverage, risk) == (decided.mean(), pytest.approx(wrong[decided].mean()))


def test_no_images_is_undefined_and_a_wrong_coverage_refused():
    none = np.empty(0)
    assert math.isnan(area_under_risk_coverage(none, none.astype(bool)))
    assert math.isnan(error_at_coverage(none, none.astype(bool), coverage=0.5))
    with pytest.raises(UsageError):
        error_at_coverage(np.zeros(2), np.zeros(2, bool), coverage=0.0)
