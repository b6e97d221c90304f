"""From scores to Records: values by hand, counts, undefined quantities."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from tapetum.bench.tables.measures import (
    Context,
    class_records,
    decision_records,
    grade_records,
    ranking_records,
    rename,
)
from tapetum.core.errors import DataError, UsageError
from tapetum.core.types import Interval


def context(n, draws=60):
    patients = tuple(f"p{i // 2}" for i in range(n))
    return Context("test", patients, 0, draws, "none", 1, {"archive": "a"}, "toy", True)


def data(n=60, k=3, seed=0):
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, k)) < 0.4).astype(float)
    return labels + rng.normal(size=(n, k)), labels


def of(records, finding, metric):
    found = [r for r in records if (r.finding, r.metric) == (finding, metric)]
    assert len(found) == 1
    return found[0]


def test_macro_is_the_mean_of_the_columns():
    logits, labels = data()
    labels[:7, 1] = np.nan
    records = ranking_records(context(60), "row", "supervised", ("a", "b", "c"), logits, labels)
    columns = [of(records, f, "auroc_score").interval.estimate for f in "abc"]
    known = ~np.isnan(labels[:, 1])
    assert columns[1] == pytest.approx(roc_auc_score(labels[known, 1], logits[known, 1]))
    assert of(records, "macro", "auroc_score").interval.estimate == pytest.approx(np.mean(columns))
    assert of(records, "b", "auroc_score (DeLong)").interval.estimate == pytest.approx(columns[1])


def test_counts_are_those_of_the_known_labels():
    logits, labels = data()
    labels[:7, 1] = np.nan
    record = of(ranking_records(context(60), "row", "supervised", ("a", "b", "c"), logits, labels), "b", "auroc_score")
    assert record.images == 53
    assert record.patients == 27  # image 6 is unknown, image 7 of the same patient is not
    assert record.positives == int(np.nansum(labels[:, 1]))
    assert record.phantom
    assert record.seeds == (0,)
    assert record.test_reads == 1


def test_one_class_or_no_labels_are_undefined_and_never_zero():
    logits, labels = data()
    labels[:, 0], labels[:, 1] = 0, np.nan
    records = ranking_records(context(60), "row", "supervised", ("a", "b", "c"), logits, labels)
    assert math.isnan(of(records, "a", "auroc_score").interval.estimate)
    assert math.isnan(of(records, "b", "auroc_score").interval.estimate)
    assert of(records, "b", "auroc_score").images == 0
    # the macro mean is that of the finding that is left
    assert of(records, "macro", "auroc_score").interval.estimate == pytest.approx(
        of(records, "c", "auroc_score").interval.estimate
    )


def test_decisions_by_hand():
    probs = np.array([[0.9], [0.8], [0.3], [0.6], [0.1], [0.2]])
    labels = np.array([[1.0], [1.0], [1.0], [0.0], [0.0], [0.0]])
    records = decision_records(context(6), "row", "supervised", ("a",), probs, np.array([0.6]), labels)
    values = {r.metric: r.interval.estimate for r in records}
    assert values["sensitivity_score"] == pytest.approx(2 / 3)
    assert values["specificity_score"] == pytest.approx(2 / 3)
    assert values["ppv_score"] == pytest.approx(2 / 3)
    assert values["npv_score"] == pytest.approx(2 / 3)
    assert values["balanced_accuracy_score"] == pytest.approx(2 / 3)
    assert values["brier_error"] == pytest.approx(np.mean([0.01, 0.04, 0.49, 0.36, 0.01, 0.04]))
    assert 0 <= values["expected_calibration_error"] <= 1


def test_without_a_threshold_or_a_probability_nothing_is_said():
    probs, labels = np.full((6, 2), 0.5), np.tile([1.0, 0.0], (6, 1))
    probs[:, 1] = np.nan
    assert decision_records(context(6), "r", "s", ("a", "b"), probs, np.array([np.nan, 0.5]), labels) == []


def test_grades_by_hand_and_by_scikit_learn():
    # Columns in another order than the grades: true 0 0 1 1 2 2, called 0 1 1 1 2 0.
    grades = ("2", "0", "1")
    truth, called = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 1, 1, 2, 0])
    place = {0: 1, 1: 2, 2: 0}
    labels, scores = np.zeros((6, 3)), np.zeros((6, 3))
    for i in range(6):
        labels[i, place[truth[i]]] = 1
        scores[i, place[called[i]]] = 0.4
    kappa, accuracy = grade_records(context(6), "row", "supervised", grades, scores, labels)
    assert accuracy.interval.estimate == pytest.approx(4 / 6)
    # Observed disagreement Σ(i−j)² = 1 + 4 = 5; expected, over the margins (2,2,2) and (2,3,1):
    # (2·(3+4) + 2·(2+1) + 2·(8+3)) / 6 = 42 / 6.
    assert kappa.interval.estimate == pytest.approx(1 - 5 / (42 / 6))
    assert kappa.interval.estimate == pytest.approx(cohen_kappa_score(truth, called, weights="quadratic"))
    assert kappa.metric == "quadratic_kappa_score"
    assert kappa.images == 6


def test_images_without_exactly_one_grade_are_left_out():
    labels = np.array([[1.0, 0], [0, 1], [1, 1], [np.nan, np.nan], [0, 0], [1, 0]])
    scores = np.array([[1.0, 0], [0, 1], [0, 1], [1, 0], [1, 0], [0, 1]])
    _, accuracy = grade_records(context(6), "row", "supervised", ("0", "1"), scores, labels)
    assert accuracy.interval.estimate == pytest.approx(2 / 3)
    assert accuracy.images == 3


def test_accuracy_of_classes_without_an_order_by_hand():
    labels = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1], [0, 1, 1]])
    scores = np.array([[0.9, 0.2, 0.1], [0.5, 0.4, 0.3], [0.1, 0.1, 0.2], [0, 0, 1], [1, 0, 0]])
    (accuracy,) = class_records(context(5), "row", "supervised", scores, labels)
    assert accuracy.metric == "accuracy_score"
    assert accuracy.interval.estimate == pytest.approx(3 / 4)
    assert accuracy.images == 4
    with pytest.raises(DataError, match="exactly one of 3 labels"):
        class_records(context(5), "row", "supervised", scores, np.zeros((5, 3)))


def test_grades_that_are_no_numbers_are_refused():
    with pytest.raises(UsageError, match="mild, severe"):
        grade_records(context(2), "r", "s", ("mild", "severe"), np.eye(2), np.eye(2))


def test_every_metric_sees_the_same_draws():
    logits, labels = data()
    one, two = (ranking_records(context(60), "r", "s", ("a", "b", "c"), logits, labels) for _ in range(2))
    assert [r.interval for r in one] == [r.interval for r in two]


def test_renaming_touches_one_metric():
    logits, labels = data(k=1)
    records = ranking_records(context(60), "r", "s", ("a",), logits, labels)
    renamed = rename(records, "auroc_score", "auroc_score (raw)")
    assert {r.metric for r in renamed} == {"auroc_score (raw)", "auroc_score (DeLong)", "average_precision_score"}
    assert isinstance(renamed[0].interval, Interval)
