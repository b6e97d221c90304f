"""What every rule of matching promises; a new file in the family is tested by being there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tapetum.core.errors import UsageError
from tapetum.core.registry import Family

RULES = Family("tapetum.learn.matching")
each_rule = pytest.mark.parametrize("name", RULES.names())
# Five reports: 0 and 1 say the same in other words, 2 is a finer form, 3 something else, 4 nothing at all.
LABELS = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]], dtype=torch.float32)
WORDS = torch.eye(6)[:5]


def rule(spec):
    return RULES.build(spec)


@each_rule
def test_it_is_a_symmetric_share_with_a_diagonal_of_one(name):
    generator = torch.Generator().manual_seed(0)
    words = torch.randn(12, 7, generator=generator)
    labels = (torch.rand(12, 5, generator=generator) < 0.4).float()
    match = rule(name)(words, labels)
    assert match.shape == (12, 12)
    assert match.dtype == torch.float32
    assert ((match >= 0) & (match <= 1)).all()
    torch.testing.assert_close(match, match.T)
    torch.testing.assert_close(match.diagonal(), torch.ones(12))


@each_rule
def test_equal_texts_are_no_negatives(name):
    words = torch.cat([WORDS[:2], WORDS[:1]])
    match = rule(name)(3 * words, LABELS[[0, 3, 4]])
    hard = name == "own"  # the baseline, which is wrong about them
    assert match[0, 2] == match[2, 0] == pytest.approx(0 if hard else 1)
    assert match[0, 1] == 0


@each_rule
def test_the_order_of_the_rows_does_not_matter(name):
    order = [3, 1, 4, 0, 2]
    torch.testing.assert_close(rule(name)(WORDS[order], LABELS[order]), rule(name)(WORDS, LABELS)[order][:, order])


@each_rule
def test_the_arguments_are_left_as_they_were(name):
    words, labels = WORDS.clone(), LABELS.clone()
    rule(name)(words, labels)
    assert torch.equal(words, WORDS)
    assert torch.equal(labels, LABELS)


def test_near_texts_by_hand():
    words = torch.tensor([[2.0, 0.0], [0.6, 0.8], [0.0, 5.0]])
    torch.testing.assert_close(
        rule("same_text(near=0.7)")(words, None), torch.tensor([[1, 0, 0], [0, 1, 0.8], [0, 0.8, 1]])
    )


def test_overlaps_by_hand():
    found = rule("findings(least=0.0)")(WORDS, LABELS)
    expected = torch.eye(5)
    expected[0, 1] = expected[1, 0] = 1
    expected[0, 2] = expected[2, 0] = expected[1, 2] = expected[2, 1] = 2 / 3
    torch.testing.assert_close(found, expected)
    cosine = rule("findings(overlap='cosine')")(WORDS, LABELS)
    assert float(cosine[0, 2]) == pytest.approx(2 / np.sqrt(6))
    assert rule("findings(least=0.7)")(WORDS, LABELS)[0, 2] == 0


def test_overlaps_against_sets():
    generator = torch.Generator().manual_seed(1)
    labels = (torch.rand(30, 9, generator=generator) < 0.3).float()
    sets = [set(row.nonzero()[:, 0].tolist()) for row in labels]
    words = torch.eye(30)
    jaccard = [[len(a & b) / len(a | b) if a | b else 0 for b in sets] for a in sets]
    expected = torch.tensor(jaccard).fill_diagonal_(1)
    torch.testing.assert_close(rule("findings(least=0.0)")(words, labels), expected)
    same = torch.tensor([[float(a == b and bool(a)) for b in sets] for a in sets]).fill_diagonal_(1)
    torch.testing.assert_close(rule("category")(words, labels), same)


def test_categories_by_hand():
    expected = torch.eye(5)
    expected[0, 1] = expected[1, 0] = 1
    torch.testing.assert_close(rule("category")(WORDS, LABELS), expected)


@pytest.mark.parametrize("name", ["findings", "category"])
def test_rules_that_read_findings_need_a_pack(name):
    with pytest.raises(UsageError, match=f"matching={name} needs findings"):
        rule(name)(WORDS, None)


@pytest.mark.parametrize(
    "spec", ["same_text(near=1.5)", "findings(overlap='dice')", "findings(least=-0.1)", "findings(least=2)"]
)
def test_wrong_options_are_refused(spec):
    with pytest.raises(UsageError):
        rule(spec)(WORDS, LABELS)
