"""What every head promises; a new file in the family is tested by being there."""

from __future__ import annotations

import pytest
import torch

from tapetum.core.registry import Family

HEADS = Family("tapetum.nets.heads")
each_head = pytest.mark.parametrize("name", HEADS.names())


def made(name: str, seed: int = 0):
    return HEADS.build(name)(6, 3, torch.Generator().manual_seed(seed))


@each_head
def test_a_logit_per_class(name):
    head, rows = made(name), torch.randn(5, 6, generator=torch.Generator().manual_seed(1))
    embedded = head.embed(rows)
    assert head(rows).shape == (5, 3)
    assert len(embedded) == 5
    torch.testing.assert_close(head.classify(embedded), head(rows))
    torch.testing.assert_close(head(rows[2:3]), head(rows)[2:3])


@each_head
def test_the_generator_alone_decides_the_weights(name):
    first, again, other = made(name), made(name), made(name, seed=1)
    same = [torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True)]
    assert all(same)
    if any((p != 0).any() for p in first.parameters()):
        moved = [torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True)]
        assert not all(moved)


@each_head
def test_it_says_whether_what_it_embeds_can_be_learned(name):
    head, rows = made(name), torch.randn(5, 6, generator=torch.Generator().manual_seed(1))
    assert head.embed(rows).requires_grad == head.BENDS


@each_head
def test_one_step_lowers_cross_entropy(name):
    head, rows, labels = made(name), torch.eye(6)[:3], torch.arange(3)
    loss = torch.nn.functional.cross_entropy
    first = loss(head(rows), labels)
    first.backward()
    torch.optim.SGD(head.parameters(), lr=0.01).step()
    assert loss(head(rows), labels) < first
