"""Losses for labels that may be wrong: values and slopes by hand, the options under which they are cross-entropy."""

from __future__ import annotations

import math

import pytest
import torch

from tapetum.core.errors import UsageError
from tapetum.core.registry import Family

LOSSES = Family("tapetum.learn.losses")
LOGITS = torch.log(torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]))
LABELS = torch.tensor([0, 1])  # given probability 0.5 and 0.1
COUNTS = torch.tensor([5.0, 3.0, 2.0])


def loss(spec, logits=LOGITS, labels=LABELS):
    return LOSSES.build(spec)(logits, labels, COUNTS)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("generalised_cross_entropy(q=0.5)", [(1 - math.sqrt(0.5)) / 0.5, (1 - math.sqrt(0.1)) / 0.5]),
        ("generalised_cross_entropy(q=1)", [0.5, 0.9]),
        ("symmetric_cross_entropy", [0.1 * math.log(2) + 4 * 0.5, 0.1 * math.log(10) + 4 * 0.9]),
        ("symmetric_cross_entropy(forward=1.0, floor=-2.0)", [math.log(2) + 1.0, math.log(10) + 1.8]),
        (
            "active_passive",
            [
                math.log(0.5) / math.log(0.5 * 0.3 * 0.2) + 2 * 0.5,
                math.log(0.1) / math.log(0.1 * 0.1 * 0.8) + 2 * 0.9,
            ],
        ),
        ("active_passive(active=0.0)", [1.0, 1.8]),
    ],
)
def test_values_by_hand(spec, expected):
    assert loss(spec).tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "spec",
    [
        "generalised_cross_entropy(q=0)",
        "symmetric_cross_entropy(forward=1.0, reverse=0.0)",
        "active_passive(passive=0.0, normalised=False)",
        "cross_entropy(smoothing=0.0)",
    ],
)
def test_neutral_options_are_cross_entropy(spec):
    assert loss(spec).tolist() == pytest.approx([math.log(2), math.log(10)], rel=1e-5)


def test_generalised_goes_over_into_cross_entropy():
    assert loss("generalised_cross_entropy(q=1e-4)").tolist() == pytest.approx(loss("cross_entropy").tolist(), rel=1e-3)


def slope(spec, logits):
    """Of the given class's logit."""
    free = logits.clone().requires_grad_()
    loss(spec, free).sum().backward()
    assert torch.isfinite(free.grad).all()
    return [free.grad[i, y].item() for i, y in enumerate(LABELS)]


def test_slopes_by_hand():
    assert slope("cross_entropy", LOGITS) == pytest.approx([-0.5, -0.9], rel=1e-5)  # p - 1
    assert slope("generalised_cross_entropy(q=0.7)", LOGITS) == pytest.approx(
        [-(0.5**0.7) * 0.5, -(0.1**0.7) * 0.9], rel=1e-5
    )  # p^q (p - 1)
    assert slope("symmetric_cross_entropy", LOGITS) == pytest.approx(
        [-0.1 * 0.5 - 4 * 0.5 * 0.5, -0.1 * 0.9 - 4 * 0.1 * 0.9], rel=1e-5
    )  # the reverse part is 4 (1 - p), whose slope is -4 p (1 - p)


@pytest.mark.parametrize(
    "spec", ["generalised_cross_entropy", "symmetric_cross_entropy(forward=0.0)", "active_passive"]
)
def test_a_label_that_cannot_be_pulls_little(spec):
    """Cross-entropy pulls hardest where the label is least probable; these let go."""
    sure = torch.tensor([[0.0, 0.0, 12.0], [0.0, 0.0, 12.0]])
    assert max(abs(s) for s in slope(spec, sure)) < 0.05
    assert min(abs(s) for s in slope("cross_entropy", sure)) > 0.99


@pytest.mark.parametrize("spec", ["generalised_cross_entropy", "symmetric_cross_entropy", "active_passive"])
def test_extreme_logits_stay_finite(spec):
    far = torch.tensor([[200.0, -200.0, 0.0], [200.0, -200.0, 0.0]])
    assert torch.isfinite(loss(spec, far)).all()
    slope(spec, far)


@pytest.mark.parametrize(
    "spec",
    [
        "generalised_cross_entropy(q=1.5)",
        "generalised_cross_entropy(q=-0.1)",
        "symmetric_cross_entropy(forward=-1.0)",
        "symmetric_cross_entropy(forward=0.0, reverse=0.0)",
        "symmetric_cross_entropy(floor=0.0)",
        "active_passive(active=0.0, passive=0.0)",
        "active_passive(passive=-1.0)",
    ],
)
def test_invalid_use(spec):
    with pytest.raises(UsageError):
        loss(spec)
