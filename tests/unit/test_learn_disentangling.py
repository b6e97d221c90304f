"""Penalties on telling the domain: values by hand, the same by another library, what they do to a shortcut."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from statsmodels.stats.dist_dependence_measures import distance_correlation as reference

from tapetum.core.errors import UsageError
from tapetum.learn.classifying.plan import Pace, Plan
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.train import train
from tapetum.learn.invariance.distance_correlation import distance_correlation
from tapetum.learn.invariance.hsic import hsic

NOTHING = torch.zeros(4, 1)
LABELS = torch.zeros(4, dtype=torch.long)
WEIGHTS = {hsic: 30, distance_correlation: 3}
each_penalty = pytest.mark.parametrize("penalty", [hsic, distance_correlation])


def batch(domains: int, rows: int = 60):
    g = torch.Generator().manual_seed(5)
    where = torch.arange(rows) % domains
    return torch.randn(rows, 3, generator=g) + 0.6 * where[:, None], torch.randint(2, (rows,), generator=g), where


def test_hsic_by_hand():
    """Rows 0, 0 and 1, 1: squared distances 0 and 1, eight each, and torch's median of them is 0.

    The width is then its floor, so that the kernel is 1 for equal rows and 0 for others, as that of the domains is.
    Centred it is ±½ everywhere: its sum with itself over all 16 pairs is 16 · ¼ = 4, over (4 − 1)² is 4/9.
    """
    rows = torch.tensor([[0.0], [0.0], [1.0], [1.0]])
    told, blind = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
    assert hsic(rows, rows, LABELS, told).item() == pytest.approx(4 / 9)
    assert hsic(NOTHING, rows, LABELS, told, of="logits", weight=3.0).item() == pytest.approx(4 / 3)
    assert hsic(rows, rows, LABELS, blind).item() == pytest.approx(0, abs=1e-7)


def test_distance_correlation_by_hand():
    """Rows that are the domain's number: their distances are those of the domains, the correlation is 1."""
    rows = torch.tensor([[0.0], [0.0], [5.0], [5.0]])
    told, blind = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
    assert distance_correlation(rows, rows, LABELS, told).item() == pytest.approx(1)
    assert distance_correlation(NOTHING, rows, LABELS, told, of="logits").item() == pytest.approx(1)
    assert distance_correlation(rows, rows, LABELS, blind).item() == pytest.approx(0, abs=1e-7)
    assert distance_correlation(NOTHING, rows, LABELS, told).item() == 0  # rows that do not differ tell nothing


@pytest.mark.parametrize("domains", [2, 3])
def test_hsic_equals_the_trace_written_out(domains):
    rows, labels, where = batch(domains)
    x = rows.numpy().astype(np.float64)
    squares = ((x[:, None] - x[None]) ** 2).sum(-1)
    middle = np.sort(squares.ravel())[(squares.size - 1) // 2]  # torch takes the lower of two middle values
    kernel, same = np.exp(-squares / (2 * middle)), np.equal.outer(where.numpy(), where.numpy()).astype(float)
    h = np.eye(len(x)) - 1 / len(x)
    expected = np.trace(kernel @ h @ same @ h) / (len(x) - 1) ** 2
    assert hsic(rows, rows, labels, where, weight=2.0).item() == pytest.approx(2 * expected, rel=1e-4)


def test_hsic_is_the_mmd_of_each_domain_from_all_by_its_squared_share():
    rows, labels, where = batch(3, 50)  # 17, 17 and 16 rows
    x = rows.numpy().astype(np.float64)
    squares = ((x[:, None] - x[None]) ** 2).sum(-1)
    kernel = np.exp(-squares / (2 * np.sort(squares.ravel())[(squares.size - 1) // 2]))
    whole = 0.0
    for d in range(3):
        apart = (where.numpy() == d) / (where.numpy() == d).sum() - 1 / len(x)
        whole += (where.numpy() == d).sum() ** 2 * (apart @ kernel @ apart)
    assert hsic(rows, rows, labels, where).item() == pytest.approx(whole / (len(x) - 1) ** 2, rel=1e-4)


@pytest.mark.parametrize("domains", [2, 3])
def test_distance_correlation_equals_statsmodels(domains):
    rows, labels, where = batch(domains)
    one_hot = np.eye(domains)[where.numpy()] / np.sqrt(2)  # 1 apart
    expected = reference(rows.numpy().astype(np.float64), one_hot) ** 2
    assert distance_correlation(rows, rows, labels, where).item() == pytest.approx(expected, rel=1e-4)
    scaled = distance_correlation(100 * rows, rows, labels, where).item()
    assert scaled == pytest.approx(expected, rel=1e-4)


@each_penalty
def test_within_a_class_how_common_it_is_plays_no_part(penalty):
    """Two classes lie far apart, and alike in both domains, which have 6 and 2 of one and 2 and 6 of the other."""
    labels = torch.tensor([0] * 6 + [1] * 2 + [0] * 2 + [1] * 6)
    domains = torch.tensor([0] * 8 + [1] * 8)
    rows = (10.0 * labels + torch.tensor([1.0, -1.0]).repeat(8))[:, None]
    assert penalty(rows, rows, labels, domains).item() > 0.02
    assert penalty(rows, rows, labels, domains, within="class").item() == pytest.approx(0, abs=1e-6)


@each_penalty
def test_equal_rows_leave_a_slope_that_is_a_number(penalty):
    rows = torch.tensor([[1.0, 2.0]] * 3 + [[0.0, 1.0]], requires_grad=True)
    penalty(rows, rows, LABELS, torch.tensor([0, 1, 1, 0])).backward()
    assert torch.isfinite(rows.grad).all()


@each_penalty
def test_what_no_member_knows_is_refused(penalty):
    rows, labels, domains = batch(2)
    for wrong in ({"of": "pixels"}, {"within": "domain"}, {"weight": -0.1}):
        with pytest.raises(UsageError):
            penalty(rows, rows, labels, domains, **wrong)
    with pytest.raises(UsageError, match="within"):
        penalty(rows, rows, torch.eye(2)[labels], domains, within="class")
    taught = Taught(rows.numpy(), labels.numpy(), 2, np.arange(len(rows)), domains.numpy())
    with pytest.raises(UsageError, match="cannot be moved"):
        train(taught, Plan(invariance=penalty.__name__), Pace(epochs=1), np.random.default_rng(0))


@each_penalty
def test_a_hidden_layer_leans_less_on_the_domain(penalty):
    """Columns 0 and 1 tell class and domain, which agree in nine rows of ten: the others say what was learned."""
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 2
    domains = np.where(rng.random(400) < 0.9, labels, 1 - labels)
    features = 0.5 * rng.normal(size=(400, 6)).astype(np.float32)
    features[:, 0] += 2 * labels - 1
    features[:, 1] += 3 * (2 * domains - 1)
    taught, against = Taught(features, labels, 2, np.arange(400), domains), domains != labels
    right: list[float] = []
    for invariance in ("", f"{penalty.__name__}(weight={WEIGHTS[penalty]}, within='class')"):
        plan = Plan(head="hidden(units=8)", invariance=invariance)
        network = train(taught, plan, Pace(20, 100, 1e-2, 0.01), np.random.default_rng(1))
        with torch.no_grad():
            called = network.head.classify(network.head.embed(torch.from_numpy(features))).argmax(1).numpy()
        right.append((called == labels)[against].mean())
    assert right[1] > right[0] + 0.1, right
