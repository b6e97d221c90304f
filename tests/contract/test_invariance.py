"""What every penalty on domains promises; a new file in the family is tested by being there."""

from __future__ import annotations

import pytest
import torch

from tapetum.core.errors import UsageError
from tapetum.core.registry import Family

INVARIANCE = Family("tapetum.learn.invariance")
each_penalty = pytest.mark.parametrize("name", INVARIANCE.names())


def batch(shift: float, rows: int = 40, width: int = 5, seed: int = 0):
    """Two domains with the same rows, the second moved and stretched by `shift`; logits read the rows."""
    generator = torch.Generator().manual_seed(seed)
    embedded = torch.randn(rows, width, generator=generator)
    labels = (embedded[:, 0] > 0).long()
    moved = embedded * (1 + shift) + shift
    both = torch.cat([embedded, moved]).requires_grad_()
    last = torch.randn(width, 2, generator=generator)
    return both, both @ last, torch.cat([labels, labels]), torch.arange(2).repeat_interleave(rows)


@each_penalty
def test_domains_that_are_equal_cost_nothing(name):
    embedded, logits, labels, domains = batch(0.0)
    found = INVARIANCE.build(name)(embedded, logits, labels, domains)
    assert found.shape == ()
    if name == "irm":  # at a classifier that is right for both, and not at any
        logits = torch.where(labels[:, None] == torch.arange(2), 40.0, -40.0)
        found = INVARIANCE.build(name)(embedded, logits, labels, domains)
    assert abs(found.item()) < 1e-6


@each_penalty
def test_it_falls_when_domains_are_brought_together(name):
    penalty = INVARIANCE.build(name)
    found = [penalty(*batch(shift)).item() for shift in (2.0, 1.0, 0.25)]
    assert found[0] > found[1] > found[2] > 0


@each_penalty
def test_one_domain_costs_nothing_and_has_a_slope(name):
    embedded, logits, labels, _ = batch(1.0)
    one = INVARIANCE.build(name)(embedded, logits, labels, torch.zeros(len(labels), dtype=torch.long))
    assert one.item() == 0
    one.backward()  # so that a batch of one domain does not stop a run


@each_penalty
def test_the_weight_is_a_factor_and_zero_is_nothing(name):
    found = [INVARIANCE.build(f"{name}(weight={w})")(*batch(1.0)).item() for w in (0.0, 1.0, 3.0)]
    assert found[0] == 0
    assert found[2] == pytest.approx(3 * found[1], rel=1e-5)
    with pytest.raises(UsageError):
        INVARIANCE.build(f"{name}(weight=-1.0)")(*batch(1.0))


@each_penalty
def test_the_gradient_is_finite_and_not_zero(name):
    embedded, logits, labels, domains = batch(1.0)
    INVARIANCE.build(name)(embedded, logits, labels, domains).backward()
    assert torch.isfinite(embedded.grad).all()
    assert embedded.grad.abs().sum().item() > 0


@each_penalty
def test_a_domain_with_one_row_and_a_class_in_one_domain_are_no_trouble(name):
    embedded, logits, labels, domains = batch(1.0)
    domains[0] = 7
    labels[domains == 1] = 1
    found = INVARIANCE.build(name)(embedded, logits, labels, domains)
    found.backward()
    assert torch.isfinite(found)
    assert torch.isfinite(embedded.grad).all()


@each_penalty
def test_the_order_of_rows_and_the_numbers_of_domains_play_no_part(name):
    embedded, logits, labels, domains = batch(1.0)
    penalty = INVARIANCE.build(name)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    mixed = penalty(embedded[order], logits[order], labels[order], 5 - 3 * domains[order])
    assert mixed.item() == pytest.approx(penalty(embedded, logits, labels, domains).item(), rel=1e-4)


@each_penalty
def test_findings_are_taken_and_unknown_ones_left_out(name):
    embedded, logits, labels, domains = batch(1.0)
    findings = torch.stack([1.0 - labels, labels.float()], 1)
    findings[3, 1] = torch.nan
    found = INVARIANCE.build(name)(embedded, logits, findings, domains)
    assert torch.isfinite(found)
    assert found.item() > 0
