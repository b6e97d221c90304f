"""What every penalty that draws classes together promises; a new file in the family is tested by being there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tapetum.core.registry import Family

PENALTIES = Family("tapetum.learn.compactness")
COUNTS, LABELS = torch.tensor([40.0, 8.0, 2.0]), torch.arange(24) % 3
NONE = {
    "centre": {"weight": 0.0},
    "supervised_contrastive": {"weight": 0.0},
    "range_loss": {"inside": 0.0, "between": 0.0},
}
each_penalty = pytest.mark.parametrize("name", PENALTIES.names())


def spread(width: float):
    rng = np.random.default_rng(0)
    return torch.from_numpy(np.eye(5)[LABELS.numpy()] + width * rng.normal(size=(24, 5))).float()


@each_penalty
def test_it_falls_when_classes_are_drawn_together(name):
    penalty = PENALTIES.build(name)
    values = [penalty(spread(w), LABELS, COUNTS).mean() for w in (0.05, 0.3, 1.0)]
    assert values[0] < values[1] < values[2]


@each_penalty
def test_a_batch_or_every_row_with_finite_gradient(name):
    embedded = spread(0.5).requires_grad_()
    found = PENALTIES.build(name)(embedded, LABELS, COUNTS)
    assert found.shape in ((), (24,))
    found.mean().backward()
    assert torch.isfinite(embedded.grad).all()
    assert embedded.grad.abs().sum() > 0


@each_penalty
def test_rows_alone_of_their_class_and_equal_rows_give_no_nan(name):
    for embedded, labels in ((spread(0.5)[:3], LABELS[:3]), (torch.ones(6, 5), torch.arange(6) % 2)):
        given = embedded.clone().requires_grad_()
        found = PENALTIES.build(name)(given, labels, COUNTS)
        assert torch.isfinite(found).all()
        if found.requires_grad:
            found.mean().backward()
            assert torch.isfinite(given.grad).all()


@each_penalty
def test_weight_nothing_is_no_penalty(name):
    assert (PENALTIES.build(name, **NONE[name])(spread(0.5), LABELS, COUNTS) == 0).all()


@each_penalty
def test_order_and_length_play_no_part(name):
    order = np.random.default_rng(1).permutation(24)
    penalty, rows = PENALTIES.build(name), spread(0.5)
    whole = penalty(rows, LABELS, COUNTS).mean()
    torch.testing.assert_close(penalty(rows[order], LABELS[order], COUNTS).mean(), whole)
    torch.testing.assert_close(penalty(7 * rows, LABELS, COUNTS).mean(), whole)
