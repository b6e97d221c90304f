"""Label noise: values by hand, planted noise found, estimates, selections, invalid use."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tapetum.core.errors import DataError, UsageError
from tapetum.core.registry import Family
from tapetum.score.given import as_classes, best_other, class_thresholds, confident_class, members, without_thresholds
from tapetum.score.metrics.auroc_score import auroc_score
from tapetum.score.noise.agreement import agreement
from tapetum.score.noise.area_under_margin import area_under_margin
from tapetum.score.noise.class_rank import class_rank
from tapetum.score.noise.confidence_weighted_entropy import confidence_weighted_entropy
from tapetum.score.noise.confident_learning import confident_learning
from tapetum.score.noise.loss_mixture import loss_mixture
from tapetum.score.noise.normalized_margin import normalized_margin
from tapetum.score.noise.self_confidence import self_confidence
from tapetum.score.noise_rate import by_anchors, by_confident_joint, confident_counts, noise_rate_intervals
from tapetum.score.planted import by_finding, hardness
from tapetum.score.planting.confusion import confusion
from tapetum.score.planting.instance import instance
from tapetum.score.planting.raters import raters
from tapetum.score.selecting import doubted, selection_by_class, selection_of, tail_classes

# Eight images of three classes. Mean probability of the given class: 0: (.8+.6+.1)/3 = .5, 1: (.7+.5)/2 = .6,
# 2: (.6+.9+.3)/3 = .6.
PROBS = np.array([
    [0.8, 0.1, 0.1],  # 0, confident of 0
    [0.6, 0.3, 0.1],  # 0, confident of 0
    [0.1, 0.7, 0.2],  # 0, confident of 1
    [0.2, 0.7, 0.1],  # 1, confident of 1
    [0.3, 0.5, 0.2],  # 1, confident of none
    [0.3, 0.1, 0.6],  # 2, confident of 2
    [0.05, 0.05, 0.9],  # 2, confident of 2
    [0.55, 0.15, 0.3],  # 2, confident of 0
])  # fmt: skip
GIVEN = np.array([0, 0, 0, 1, 1, 2, 2, 2])


def test_thresholds_and_confident_joint_by_hand():
    np.testing.assert_allclose(class_thresholds(PROBS, GIVEN), [0.5, 0.6, 0.6])
    assert confident_class(PROBS, np.array([0.5, 0.6, 0.6])).tolist() == [0, 0, 1, 1, -1, 2, 2, 0]
    np.testing.assert_array_equal(confident_counts(PROBS, GIVEN), [[2, 1, 0], [0, 1, 0], [1, 0, 2]])
    # rows scaled to 3, 2 and 3 labels, over 8
    estimate = by_confident_joint(PROBS, GIVEN)
    np.testing.assert_allclose(estimate.joint * 8, [[2, 1, 0], [0, 2, 0], [1, 0, 2]])
    assert estimate.rate == pytest.approx(2 / 8)
    np.testing.assert_allclose(estimate.wrong, [1 / 3, 0, 1 / 3])
    np.testing.assert_allclose(estimate.transition, [[2 / 3, 0, 1 / 3], [1 / 3, 2 / 3, 0], [0, 0, 1]])


def test_qualities_by_hand():
    np.testing.assert_allclose(self_confidence(PROBS, GIVEN), [0.8, 0.6, 0.1, 0.7, 0.5, 0.6, 0.9, 0.3])
    np.testing.assert_allclose(normalized_margin(PROBS, GIVEN)[[0, 2, 7]], [0.85, 0.2, 0.375])
    # one label of 0 for 1 and one of 2 for 0 are pruned: their margins halved, all others raised by 0.5
    np.testing.assert_allclose(confident_learning(PROBS, GIVEN)[[0, 2, 4, 7]], [0.925, 0.1, 0.8, 0.1875])
    np.testing.assert_array_equal(confident_learning(PROBS, GIVEN) < 0.5, [0, 0, 1, 0, 0, 0, 0, 1])
    for prune in ("class", "both", "confident"):
        np.testing.assert_array_equal(confident_learning(PROBS, GIVEN, prune=prune) < 0.5, [0, 0, 1, 0, 0, 0, 0, 1])
    np.testing.assert_allclose(class_rank(PROBS, GIVEN), np.array([5, 3, 1, 4.5, 1.5, 3, 5, 1]) / 6)
    # uniform row: entropy 1, given 1/3: log(1 + 3) / 3
    uniform = np.full((1, 3), 1 / 3)
    assert confidence_weighted_entropy(uniform, np.array([1]))[0] == pytest.approx(math.log(4) / 3)
    # logits 2 and 0 of the given class against one rival: sigmoid of the mean of ln 3 and ln(1/2)
    epochs = np.array([[[0.75, 0.25]], [[1 / 3, 2 / 3]]])
    assert area_under_margin(epochs, np.array([0]))[0] == pytest.approx(1 / (1 + math.exp(-math.log(1.5) / 2)))
    assert agreement(epochs, np.array([0]))[0] == pytest.approx((1 + (0.75 + 1 / 3) / 2) / 3)


def test_pruning_by_pair_and_by_class_differ():
    """Class 0 has one confident rival, but its least probable label leans elsewhere, confident of nothing."""
    probs = np.array([[0.9, 0.05, 0.05], [0.3, 0.65, 0.05], [0.25, 0.35, 0.4], [0.1, 0.7, 0.2], [0.1, 0.1, 0.8]])
    given = np.array([0, 0, 0, 1, 2])
    np.testing.assert_allclose(confident_counts(probs, given * 1), [[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    probs[1] = [0.2, 0.75, 0.05]
    probs[2] = [0.15, 0.45, 0.4]
    np.testing.assert_array_equal(confident_learning(probs, given, prune="noise_rate") < 0.5, [0, 1, 0, 0, 0])
    np.testing.assert_array_equal(confident_learning(probs, given, prune="class") < 0.5, [0, 0, 1, 0, 0])
    np.testing.assert_array_equal(confident_learning(probs, given, prune="both") < 0.5, [0] * 5)


def test_adjusted_probabilities_by_hand():
    # .8 − .5, .1 − .6, .1 − .6, all + .6, over their sum 1.1
    np.testing.assert_allclose(without_thresholds(PROBS, GIVEN)[0], [0.9 / 1.1, 0.1 / 1.1, 0.1 / 1.1])
    assert self_confidence(PROBS, GIVEN, adjusted=True)[0] == pytest.approx(0.9 / 1.1)
    assert normalized_margin(PROBS, GIVEN, adjusted=True)[0] == pytest.approx((1 + 0.8 / 1.1) / 2)


def test_anchors_by_hand():
    # one and a half anchors of 0: image 0 and half of 1; one of 1: image 2, the first of two equal ones, whose label is
    # 0; one and a half of 2: image 6 and half of 5. So nobody is truly 1, and P(given 1) cannot be explained.
    found = by_anchors(PROBS, GIVEN, share=0.5)
    np.testing.assert_allclose(found.transition[[0, 2]], [[1, 0, 0], [0, 0, 1]])
    # with all labels: of 0 images 0, 1, 7 (given 2); of 1 images 2 (given 0) and 3; of 2 images 6, 5, 7
    found = by_anchors(PROBS, GIVEN, share=1.0)
    np.testing.assert_allclose(found.transition, [[2 / 3, 0, 1 / 3], [1 / 2, 1 / 2, 0], [0, 0, 1]])
    with pytest.raises(UsageError):
        by_anchors(PROBS, GIVEN, share=0.0)


def test_anchors_solve_for_what_is_true():
    """P(given | true) of (.9, .1) and (.2, .8) and a third of the images in class 1: read off, and inverted."""
    n, rng = 60_000, np.random.default_rng(0)
    truth = (rng.random(n) < 1 / 3).astype(int)
    given = np.where(rng.random(n) < np.where(truth == 1, 0.2, 0.1), 1 - truth, truth)
    estimate = by_anchors(as_classes(truth * 0.9 + 0.1 * rng.random(n)), given)
    np.testing.assert_allclose(estimate.transition, [[0.9, 0.1], [0.2, 0.8]], atol=0.02)
    assert estimate.rate == pytest.approx(2 / 3 * 0.1 + 1 / 3 * 0.2, abs=0.01)


def test_a_draw_is_a_weight():
    """Estimates with whole weights equal those on repeated rows."""
    rng = np.random.default_rng(0)
    probs, given = rng.dirichlet(np.ones(3), size=60), rng.integers(3, size=60)
    weights = rng.integers(0, 4, size=60)
    rows = np.repeat(np.arange(60), weights)
    for estimator in (by_confident_joint, by_anchors):
        weighted = estimator(probs, given, weights.astype(float)).joint
        np.testing.assert_allclose(weighted, estimator(probs[rows], given[rows]).joint, atol=1e-12)


def noisy(n=1200, rate=0.2, seed=0, apart=5.0, patients=True):
    """Two classes, their posterior known; the given labels are flipped, and so is the posterior of what is given."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(rng.integers(2, size=n // 2), 2) if patients else rng.integers(2, size=n)
    x = apart * (truth - 0.5) + rng.normal(size=n)
    posterior = 1 / (1 + np.exp(-apart * x))
    flipped = rng.random(n) < rate
    return as_classes((1 - rate) * posterior + rate * (1 - posterior)), truth ^ flipped, flipped, np.arange(n) // 2


@pytest.mark.parametrize("by", ["confident", "anchors"])
@pytest.mark.parametrize("rate", [0.0, 0.1, 0.3])
def test_the_rate_is_estimated_where_classes_lie_apart(by, rate):
    probs, given, _, patients = noisy(rate=rate)
    interval = noise_rate_intervals(probs, given, patients, rng=np.random.default_rng(1), draws=200, by=by).rate
    assert abs(interval.estimate - rate) < 0.035
    assert interval.low <= rate <= interval.high + 0.035
    assert f"by {by}" in interval.method
    whole = {"confident": by_confident_joint, "anchors": by_anchors}[by](probs, given)
    both = noise_rate_intervals(probs, given, patients, rng=np.random.default_rng(1), draws=200, by=by)
    assert [i.estimate for i in both.wrong] == pytest.approx(list(whole.wrong))
    assert interval.estimate == pytest.approx(whole.rate)


def test_overlap_is_taken_for_noise_by_the_confident_joint_and_less_so_by_anchors():
    """What the page warns of: no label is wrong, the classes overlap."""
    probs, given, flipped, _ = noisy(rate=0.0, apart=1.5)
    assert not flipped.any()
    assert by_confident_joint(probs, given).rate > 0.1
    assert by_anchors(probs, given).rate < 0.5 * by_confident_joint(probs, given).rate


def test_the_interval_is_wider_where_patients_bring_two_equal_images():
    probs, given, _, _ = noisy(patients=False)
    twice = [np.repeat(x, 2, axis=0) for x in (probs, given, np.arange(len(given)))]
    args = {"rng": np.random.default_rng(0), "draws": 300}
    alone = noise_rate_intervals(twice[0], twice[1], np.arange(2 * len(given)), **args).rate
    together = noise_rate_intervals(*twice, **args).rate
    assert together.high - together.low > 1.2 * (alone.high - alone.low)


def test_a_class_given_to_none_is_undefined():
    probs, given = as_classes(np.array([0.2, 0.4])), np.array([0, 0])
    for estimator in (by_confident_joint, by_anchors):
        assert math.isnan(estimator(probs, given).rate)
        assert np.isnan(estimator(probs, given).wrong).all()
    interval = noise_rate_intervals(probs, given, [0, 1], rng=np.random.default_rng(0), draws=10).rate
    assert math.isnan(interval.estimate)
    with pytest.raises(UsageError):
        noise_rate_intervals(probs, given, [0, 1], rng=np.random.default_rng(0), by="oracle")


def test_loss_mixture_is_monotone_and_flat_without_a_second_kind():
    rising = np.linspace(0.01, 0.99, 50)
    quality = loss_mixture(as_classes(rising), np.ones(50))
    assert (np.diff(quality) >= 0).all()
    assert loss_mixture(np.full((5, 2), 0.5), np.zeros(5)).tolist() == [1.0] * 5
    for wrong in ({"rounds": 0}, {"floor": 0.0}):
        with pytest.raises(UsageError):
            loss_mixture(np.full((5, 2), 0.5), np.zeros(5), **wrong)


def test_several_epochs_help_where_one_is_unsure():
    rng = np.random.default_rng(0)
    probs, given, flipped, _ = noisy()
    logits = np.log(probs[:, 1] / probs[:, 0]) + 3 * rng.normal(size=(20, len(given)))
    epochs = as_classes(1 / (1 + np.exp(-logits)))
    for method in (agreement, area_under_margin, self_confidence):
        one, many = (auroc_score(1 - method(p, given), flipped) for p in (epochs[0], epochs))
        assert many > one + 0.05


def test_selection_by_hand():
    quality, labels = np.array([0.1, 0.2, 0.9, 0.8, 0.05, 0.6]), np.array([0, 0, 0, 0, 1, 1])
    doubt = doubted(quality, labels, np.array([0.5, 0.0]))
    assert doubt.tolist() == [True, True, False, False, False, False]
    flipped = np.array([True, False, False, False, True, False])
    assert selection_of(doubt, flipped) == selection_of(doubt.copy(), flipped)
    head, tail = selection_by_class(doubt, flipped, labels, 2)
    assert (head.precision, head.recall, head.kept_precision) == (0.5, 1.0, 1.0)
    assert math.isnan(tail.precision)
    assert (tail.recall, tail.kept_precision) == (0.0, 0.5)
    assert tail_classes(labels, 2).tolist() == [False, True]
    assert not doubted(quality, labels, np.array([np.nan, 0.0])).any()
    with pytest.raises(DataError):
        doubted(quality, labels[:2], np.array([0.5, 0.5]))


# --- makers ----------------------------------------------------------------------------------------------------------


def flips(name, labels, features=None, **options):
    made = Family("tapetum.score.planting").build(name)(labels, features, rng=np.random.default_rng(7), **options)
    table = np.zeros((4, 4))
    np.add.at(table, (labels, made.labels), 1)
    return table / table.sum(axis=1, keepdims=True)


def test_where_the_flips_go():
    labels = np.repeat(np.arange(4), 4000)
    others = (np.ones((4, 4)) - np.eye(4)) / 3
    near = {"atol": 0.03}
    np.testing.assert_allclose(flips("symmetric(rate=0.3)", labels, classes=4), 0.7 * np.eye(4) + 0.3 * others, **near)
    moved = np.roll(np.eye(4), 1, axis=1)
    np.testing.assert_allclose(flips("pair(rate=0.3)", labels, classes=4), 0.7 * np.eye(4) + 0.3 * moved, **near)
    beside = [[0.7, 0.3, 0, 0], [0.15, 0.7, 0.15, 0], [0, 0.15, 0.7, 0.15], [0, 0, 0.3, 0.7]]
    np.testing.assert_allclose(flips("adjacent(rate=0.3)", labels, classes=4), beside, **near)
    assert flips("adjacent(rate=0.3)", labels, classes=4)[0, 2:].sum() == 0


def test_trade_keeps_a_rare_finding_rare():
    labels = (np.arange(20_000) % 20 == 0).astype(int)  # 5 %
    made = confusion(labels, None, rng=np.random.default_rng(0), rate=0.04)
    assert abs(made.labels.mean() - 0.05) < 0.005
    assert abs(made.flipped[labels == 1].mean() - 0.4) < 0.05
    with pytest.raises(UsageError):
        confusion(labels, None, rng=np.random.default_rng(0), matrix=((0.5, 0.4), (0.0, 1.0)))


def test_instance_noise_flips_the_images_between_the_classes():
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=3000)
    features = 4.0 * np.eye(3)[labels] + rng.normal(size=(3000, 3))
    made = instance(labels, features, classes=3, rng=np.random.default_rng(1), rate=0.2)
    hard = hardness(features, labels, 3)
    assert auroc_score(hard.max(axis=1), made.flipped) > 0.7
    nearest = hard.argmax(axis=1)
    assert (made.labels == nearest)[made.flipped].mean() > 0.6
    flat = instance(labels, features, classes=3, rng=np.random.default_rng(1), rate=0.2, steepness=0.0)
    assert abs(auroc_score(hard.max(axis=1), flat.flipped) - 0.5) < 0.05
    with pytest.raises(DataError):
        instance(labels, None, classes=3, rng=rng)


def test_raters_err_as_their_skills_say_and_a_majority_errs_less():
    labels = np.repeat([0, 1], 20_000)
    one = raters(labels, None, rng=np.random.default_rng(0), skills=((0.8, 0.95),))
    assert abs(one.flipped[labels == 1].mean() - 0.2) < 0.01
    assert abs(one.flipped[labels == 0].mean() - 0.05) < 0.01
    three = raters(labels, None, rng=np.random.default_rng(0), skills=((0.8, 0.8),) * 3, combine="majority")
    assert abs(three.flipped.mean() - (3 * 0.2**2 * 0.8 + 0.2**3)) < 0.01
    for wrong in ({"skills": ((1.2, 0.5),)}, {"combine": "mean"}):
        with pytest.raises(UsageError):
            raters(labels, None, rng=np.random.default_rng(0), **wrong)


def test_a_column_of_unknown_labels_is_left_alone():
    made = by_finding(
        Family("tapetum.score.planting").build("symmetric(rate=1.0)"), np.array([[np.nan, 1.0], [np.nan, 0.0]]), None,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    np.testing.assert_array_equal(made.labels, [[np.nan, 0.0], [np.nan, 1.0]])
    assert made.rate == 1.0


def test_small_parts():
    several, given = members(np.full((2, 3, 4, 2), 0.5), np.zeros(4))
    assert several.shape == (6, 4, 2)
    assert given.dtype == np.int64
    assert best_other(np.array([[0.2, 0.3, 0.5]]), np.array([2])).tolist() == [0.3]
    with pytest.raises(DataError):
        members(np.empty((0, 4, 2)), np.zeros(4))
    with pytest.raises(UsageError):
        confident_learning(PROBS, GIVEN, prune="most")
