"""Penalties on domains: values computed by hand, and the same by autograd or another library's words."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from torch.nn import functional

from tapetum.core.errors import UsageError
from tapetum.learn.classifying.plan import Pace, Plan
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.train import train
from tapetum.learn.invariance.coral import coral
from tapetum.learn.invariance.fishr import fishr
from tapetum.learn.invariance.irm import irm
from tapetum.learn.invariance.mmd import mmd
from tapetum.learn.invariance.vrex import vrex

NOTHING = torch.zeros(4, 1)


def batch(domains: int = 3, rows: int = 60, width: int = 4, classes: int = 3):
    g = torch.Generator().manual_seed(3)
    embedded = torch.randn(rows, width, generator=g)
    where = torch.arange(rows) % domains
    labels = torch.randint(classes, (rows,), generator=g)
    weight = torch.randn(classes, width, generator=g)
    return embedded + where[:, None] * 0.5, weight, labels, where


def test_vrex_by_hand():
    """Losses log 2 and log 2 in one domain, log 4 and log 4 in the other: mean 1.5 log 2, variance (.5 log 2)²."""
    logits = torch.log(torch.tensor([[0.5, 0.5], [0.5, 0.5], [0.25, 0.75], [0.75, 0.25]]))
    found = vrex(NOTHING, logits, torch.tensor([0, 1, 0, 1]), torch.tensor([0, 0, 1, 1]), weight=2.0)
    assert found.item() == pytest.approx(2 * (0.5 * np.log(2)) ** 2, rel=1e-5)


def test_coral_by_hand():
    """One column: means 1 and 4, variances (divided by n - 1) 2 and 8: 9 + 36."""
    rows = torch.tensor([[0.0], [2.0], [2.0], [6.0]])
    domains = torch.tensor([0, 0, 1, 1])
    labels = torch.zeros(4, dtype=torch.long)
    assert coral(rows, rows, labels, domains).item() == pytest.approx(45.0)
    assert coral(NOTHING, rows, labels, domains, of="logits").item() == pytest.approx(45.0)


def test_coral_equals_numpy_over_all_pairs():
    rows, _, labels, domains = batch()
    parts = [rows[domains == d].numpy() for d in range(3)]
    pairs = [(0, 1), (0, 2), (1, 2)]
    each = [
        ((parts[a].mean(0) - parts[b].mean(0)) ** 2).mean() + ((np.cov(parts[a].T) - np.cov(parts[b].T)) ** 2).mean()
        for a, b in pairs
    ]
    assert coral(rows, rows, labels, domains).item() == pytest.approx(np.mean(each), rel=1e-5)


def test_within_a_class_how_common_it_is_plays_no_part():
    """Two classes lie far apart, and alike in both domains, which have 3 and 1 of one and 1 and 3 of the other."""
    labels = torch.tensor([0] * 6 + [1] * 2 + [0] * 2 + [1] * 6)
    domains = torch.tensor([0] * 8 + [1] * 8)
    wobble = torch.tensor([1.0, -1.0]).repeat(8)
    rows = (10.0 * labels + wobble)[:, None]
    for penalty in (coral, mmd):
        assert penalty(rows, rows, labels, domains).item() > 0.05
    assert mmd(rows, rows, labels, domains, within="class").item() == pytest.approx(0, abs=1e-6)
    # variances of n = 6 and n = 2 rows of ±1 differ by their n - 1; means do not
    apart = (6 / 5 - 2 / 1) ** 2
    assert coral(rows, rows, labels, domains, within="class").item() == pytest.approx(apart, rel=1e-5)


def test_mmd_equals_a_sum_over_pairs_of_rows():
    rows, _, labels, domains = batch(domains=2)
    a, b = rows[domains == 0].numpy().astype(float), rows[domains == 1].numpy().astype(float)
    both = np.concatenate([a, b])
    squares = np.sort(cdist(both, both, "sqeuclidean").ravel())
    middle = squares[(len(squares) - 1) // 2]  # torch takes the lower one of two middle values
    total = 0.0
    for width in (0.25, 1.0, 4.0):
        k = [np.exp(-cdist(x, y, "sqeuclidean") / (2 * width * middle)) for x, y in ((a, a), (b, b), (a, b))]
        total += k[0].mean() + k[1].mean() - 2 * k[2].mean()
    assert mmd(rows, rows, labels, domains, weight=0.5).item() == pytest.approx(0.5 * total, rel=1e-4)


def test_irm_by_hand():
    """Logits (log 3, 0), right: p = ¾, slope (¾ - 1) log 3. One domain right, one wrong: slope ¾ log 3."""
    logits = torch.tensor([[np.log(3.0), 0.0]] * 4, dtype=torch.float32)
    labels, domains = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 1, 1])
    expected = ((0.25 * np.log(3)) ** 2 + (0.75 * np.log(3)) ** 2) / 2
    assert irm(NOTHING, logits, labels, domains).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("findings", [False, True])
def test_irm_equals_autograd(findings):
    rows, weight, labels, domains = batch()
    logits = rows @ weight.T
    told = functional.one_hot(labels).float() if findings else labels
    each: list[float] = []
    for d in range(3):
        scale = torch.ones((), requires_grad=True)
        own, truth = logits[domains == d] * scale, told[domains == d]
        loss = (
            functional.binary_cross_entropy_with_logits(own, truth)
            if findings
            else functional.cross_entropy(own, truth)
        )
        each.append(torch.autograd.grad(loss, scale)[0].item() ** 2)
    assert irm(rows, logits, told, domains).item() == pytest.approx(np.mean(each), rel=1e-4)


@pytest.mark.parametrize("findings", [False, True])
def test_fishr_equals_autograd_example_by_example(findings):
    rows, weight, labels, domains = batch()
    layer = torch.nn.Linear(*weight.T.shape)
    layer.weight.data, layer.bias.data = weight, torch.tensor([0.1, -0.2, 0.3])
    told = functional.one_hot(labels).float() if findings else labels
    slopes: list[torch.Tensor] = []
    for row, truth in zip(rows, told, strict=True):
        logits = layer(row[None])
        loss = (
            functional.binary_cross_entropy_with_logits(logits, truth[None])
            if findings
            else (functional.cross_entropy(logits, truth[None]))
        )
        w, b = torch.autograd.grad(loss, [layer.weight, layer.bias])
        slopes.append(torch.cat([w, b[:, None]], 1).flatten())
    stacked = torch.stack(slopes)
    variances = torch.stack([stacked[domains == d].var(0, unbiased=False) for d in range(3)])
    expected = (variances - variances.mean(0)).square().mean()
    assert fishr(rows, layer(rows), told, domains).item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("penalty", [coral, mmd])
def test_what_no_member_knows_is_refused(penalty):
    rows, weight, labels, domains = batch()
    for wrong in ({"of": "pixels"}, {"within": "domain"}, {"weight": -0.1}):
        with pytest.raises(UsageError):
            penalty(rows, rows @ weight.T, labels, domains, **wrong)
    with pytest.raises(UsageError, match="within"):
        penalty(rows, rows @ weight.T, functional.one_hot(labels).float(), domains, within="class")


def test_a_penalty_that_can_move_nothing_is_refused_and_not_silently_nothing():
    rows, _, labels, domains = batch()
    taught = Taught(rows.numpy(), labels.numpy(), 3, np.arange(60), domains.numpy())
    pace = Pace(epochs=1)
    with pytest.raises(UsageError, match="cannot be moved"):
        train(taught, Plan(invariance="coral"), pace, np.random.default_rng(0))
    train(taught, Plan(invariance="coral(of='logits')"), pace, np.random.default_rng(0))
    train(taught, Plan(invariance="coral", head="hidden(units=4)"), pace, np.random.default_rng(0))
    train(taught, Plan(invariance="vrex"), pace, np.random.default_rng(0))
