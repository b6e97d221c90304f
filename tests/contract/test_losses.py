"""What every loss of labels promises; a new file in the family is tested by being there."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch
from torch.nn import functional

from tapetum.core.registry import Family

LOSSES = Family("tapetum.learn.losses")
COUNTS = torch.tensor([60.0, 30.0, 10.0, 4.0])
each_loss = pytest.mark.parametrize("name", LOSSES.names())
# those that draw no noise: where rows and classes have draws of their own, their order plays a part
each_still = pytest.mark.parametrize("name", [n for n in LOSSES.names() if "rng" not in LOSSES.options(n)])
# Options with which a loss is the plain one of its kind of labels; a loss without such options is named with a reason.
NEUTRAL = {
    "cross_entropy": {}, "balanced_softmax": {"tau": 0.0}, "focal": {"gamma": 0.0}, "inverse_frequency": {"power": 0.0},
    "effective_number": {"beta": 0.0}, "ldam": {"margin": 0.0}, "vector_scaling": {"gamma": 0.0, "tau": 0.0},
    "equalised": {"ignored": 0.0}, "seesaw": {"mitigation": 0.0, "compensation": 0.0},
    "gaussian_clouded": {"noise": 0.0},
    "label_aware_smoothing": {"head": 0.0}, "symmetric_cross_entropy": {"forward": 1.0, "reverse": 0.0},
    "binary_cross_entropy": {}, "asymmetric": {"absent": 0.0, "shift": 0.0},
}  # fmt: skip
OTHERS = {
    "weighted_softmax": "no options", "lade": "weight 0 is balanced softmax", "distribution_balanced": "weights differ",
    "generalised_cross_entropy": "a limit", "active_passive": "a sum of others",
}  # fmt: skip


def takes_findings(name: str) -> bool:
    return "b k" in str(inspect.signature(LOSSES.member(name)).parameters["labels"].annotation)


def built(name: str, **options):
    drawn = {"rng": np.random.default_rng(0)} if "rng" in LOSSES.options(name) else {}
    return LOSSES.build(name, **drawn, **options)


def batch(name: str, rows: int = 12, seed: int = 0):
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(size=(rows, 4))).float()
    if takes_findings(name):
        labels = (rng.random((rows, 4)) < 0.4).astype(np.float32)
        labels[2, 1] = np.nan
        return logits, torch.from_numpy(labels)
    return logits, torch.from_numpy(np.arange(rows) % 4)


@each_loss
def test_every_row_has_a_finite_value_and_gradient(name):
    logits, labels = batch(name)
    logits = (10 * logits).requires_grad_()
    found = built(name)(logits, labels, COUNTS)
    assert found.shape == (12,)
    assert found.dtype == logits.dtype
    found.mean().backward()
    assert torch.isfinite(found).all()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad.abs().sum() > 0


@each_loss
def test_a_sure_and_wrong_row_costs_more_than_a_sure_and_right_one(name):
    _, labels = batch(name, rows=4)
    own = labels if takes_findings(name) else functional.one_hot(labels, 4)
    right = torch.nan_to_num(own.float()) * 12 - 6
    loss = built(name)
    assert (loss(right, labels, COUNTS) < loss(-right, labels, COUNTS)).all()


@each_still
def test_the_order_of_rows_plays_no_part(name):
    logits, labels = batch(name)
    order = np.random.default_rng(1).permutation(12)
    loss = built(name)
    torch.testing.assert_close(loss(logits[order], labels[order], COUNTS), loss(logits, labels, COUNTS)[order])


@each_still
def test_the_order_of_classes_plays_no_part(name):
    logits, labels = batch(name)
    order = torch.tensor([2, 0, 3, 1])
    moved = labels[:, order] if takes_findings(name) else torch.argsort(order)[labels]
    loss = built(name)
    torch.testing.assert_close(loss(logits[:, order], moved, COUNTS[order]), loss(logits, labels, COUNTS))


@each_loss
def test_neutral_options_give_the_plain_loss(name):
    assert (name in NEUTRAL) != (name in OTHERS), f"{name}: which options make it plain, or why are there none?"
    if name in OTHERS:
        return
    logits, labels = batch(name)
    found = built(name, **NEUTRAL[name])(logits, labels, COUNTS)
    if takes_findings(name):
        plain = functional.binary_cross_entropy_with_logits(logits, torch.nan_to_num(labels), reduction="none")
        torch.testing.assert_close(found, torch.where(torch.isnan(labels), torch.nan, plain).nanmean(dim=1))
    else:
        torch.testing.assert_close(found, functional.cross_entropy(logits, labels, reduction="none"))


@each_loss
def test_unknown_findings_play_no_part(name):
    if not takes_findings(name):
        return
    logits, labels = batch(name)
    other = logits.clone()
    other[2, 1] += 5
    loss = built(name)
    torch.testing.assert_close(loss(other, labels, COUNTS), loss(logits, labels, COUNTS))
    silent = loss(logits, torch.full_like(labels, torch.nan), COUNTS)
    assert (silent == 0).all()


@each_loss
def test_a_class_without_rows_gives_no_nan(name):
    logits, labels = batch(name)
    counts = torch.tensor([60.0, 30.0, 10.0, 0.0])
    if takes_findings(name):
        labels = labels.clone()
        labels[:, 3] = 0
    else:
        labels = labels % 3
    assert torch.isfinite(built(name)(logits, labels, counts)).all()
