"""What every metric promises, whatever it measures; a new file in the family is tested by being there."""

from __future__ import annotations

import inspect
import math
from typing import get_args

import numpy as np
import pytest

from tapetum.core.errors import DataError
from tapetum.core.registry import Family
from tapetum.score.inputs import Needs, Takes, declaration

METRICS = Family("tapetum.score.metrics")
CASES = [(name, kind) for name in METRICS.names() for kind in declaration(name).takes]
each_case = pytest.mark.parametrize(("name", "kind"), CASES)
BINARY = ("binary scores", "binary probabilities")


def built(name):
    """The metric; an option without a default is a threshold, and the toys below are cut at one half."""
    required = [n for n, p in METRICS.options(name).items() if p.default is inspect.Parameter.empty]
    assert required in ([], ["threshold"])
    return METRICS.build(name, **dict.fromkeys(required, 0.5))


def toy(kind, sharpness, n=400, seed=0):
    """Labels and probabilities that know them the better, the higher the sharpness."""
    rng = np.random.default_rng(seed)
    classes = 2 if kind in BINARY else 4
    labels = rng.permutation(np.arange(n) % classes)
    logits = sharpness * np.eye(classes)[labels] + rng.normal(size=(n, classes))
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return (probs[:, 1] if kind in BINARY else probs), labels


def test_the_family_is_complete():
    assert {
        "auroc_score", "average_precision_score", "balanced_accuracy_score", "brier_error", "cohen_kappa_score",
        "expected_calibration_error", "sensitivity_score", "specificity_score",
    } <= set(METRICS.names())  # fmt: skip


@pytest.mark.parametrize("name", METRICS.names())
def test_the_declaration_is_whole(name):
    said = declaration(name)
    assert said.takes
    assert set(said.takes) <= set(get_args(Takes))
    assert said.needs in get_args(Needs)
    assert name.endswith(("_score", "_error"))
    assert METRICS.member(name).__name__ == name


@each_case
def test_direction(name, kind):
    metric = built(name)
    perfect, labels = toy(kind, 50.0)
    value, poor = metric(perfect, labels), metric(toy(kind, 0.0)[0], labels)
    assert isinstance(value, float)
    assert (value > poor + 0.1) if declaration(name).higher_is_better else (value < poor - 0.05)
    assert value == pytest.approx(1.0 if declaration(name).higher_is_better else 0.0, abs=1e-6)


@each_case
def test_order_of_images_does_not_matter(name, kind):
    probs, labels = toy(kind, 1.0)
    order = np.random.default_rng(1).permutation(len(labels))
    assert built(name)(probs[order], labels[order]) == pytest.approx(built(name)(probs, labels), abs=1e-12)


@each_case
def test_single_precision_is_enough(name, kind):
    probs, labels = toy(kind, 1.0)
    assert built(name)(probs.astype(np.float32), labels) == pytest.approx(built(name)(probs, labels), abs=0.01)


@each_case
def test_an_absent_class_is_nan_and_never_zero(name, kind):
    probs, labels = toy(kind, 1.0)
    classes = labels.max() + 1
    needs = declaration(name).needs
    for gone in range(classes):
        left = labels != gone
        undefined = (
            needs == "every class"
            or (needs == "two classes" and classes == 2)
            or (needs == "positives" and gone == 1)
            or (needs == "negatives" and gone == 0)
        )
        assert math.isnan(built(name)(probs[left], labels[left])) == undefined
    if needs == "two classes":
        assert math.isnan(built(name)(probs[labels == 0], labels[labels == 0]))
    assert math.isnan(built(name)(probs[:0], labels[:0]))


@each_case
def test_nan_is_refused(name, kind):
    probs, labels = toy(kind, 1.0)
    probs[3] = np.nan
    with pytest.raises(DataError, match="NaN"):
        built(name)(probs, labels)


@each_case
def test_what_is_not_declared_is_refused(name, kind):
    takes = declaration(name).takes
    probs, labels = toy(kind, 1.0)
    if "binary scores" in takes:
        assert math.isfinite(built(name)(probs * 10 - 5, labels))
    else:
        with pytest.raises(DataError):
            built(name)(probs * 10 - 5, labels)
    if "class probabilities" not in takes:
        with pytest.raises((DataError, TypeError)):
            built(name)(np.stack([1 - probs, probs], axis=1), labels)
