"""Adapters against independent implementations: scikit-learn's estimators, and torch's autograd and optimisers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from torch.nn import functional

from tapetum.core.registry import Family
from tapetum.learn.adapters.knn import KNN
from tapetum.learn.adapters.lda import LDA
from tapetum.learn.fitting.anchors import Anchors
from tapetum.learn.fitting.standardise import Standardiser

ADAPTERS = Family("tapetum.learn.adapters")
DOUBLE = torch.float64


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def support(n=40, d=6, k=2, seed=0, holes=True):
    """Rows of length 1 that cannot be separated, labels with holes, and a head that is half right."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, k)) < 0.4).astype(float)
    rows = rng.normal(size=(n, d))
    rows[:, :k] += labels
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    if holes:
        labels[rng.random((n, k)) < 0.1] = np.nan
    return rows, labels, Anchors(3 * np.eye(d)[:, :k] + rng.normal(size=(d, k)), rng.normal(size=k))


def tensors(rows, labels, head):
    return (
        torch.tensor(rows, dtype=DOUBLE),
        torch.tensor(labels, dtype=DOUBLE),
        torch.tensor(head.weight, dtype=DOUBLE),
        torch.tensor(head.bias, dtype=DOUBLE),
    )


def balanced(logits, labels):
    """torch's own loss: the mean over the images with each finding and that over those without, averaged; summed."""
    total = torch.zeros((), dtype=DOUBLE)
    for j in range(labels.shape[1]):
        for value in (0.0, 1.0):
            chosen = labels[:, j] == value
            total = total + functional.binary_cross_entropy_with_logits(logits[chosen, j], labels[chosen, j]) / 2
    return total


def train(values, loss_of, optimiser, steps):
    """So many steps of an optimiser of torch, whose rate falls as half a cosine."""
    fall = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: (1 + math.cos(math.pi * step / steps)) / 2)
    for _ in range(steps):
        optimiser.zero_grad()
        loss_of(*values).backward()
        optimiser.step()
        fall.step()


def leaf(array):
    return torch.tensor(np.asarray(array), dtype=DOUBLE, requires_grad=True)


@pytest.mark.parametrize(("n", "d"), [(60, 5), (24, 40)])
def test_lda_is_scikit_learns_with_ledoit_wolf_on_each_kind(n, d):
    rng = np.random.default_rng(1)
    labels = (rng.random((n, 1)) < 0.4).astype(float)
    features = (rng.normal(size=(n, d)) + labels * 0.8).astype(np.float32)
    ours = LDA(pooled=False, power=1.0).fit(features, labels)
    rows = Standardiser.fit(features, 1.0)(features).astype(np.float64)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(rows, labels[:, 0])
    np.testing.assert_allclose(ours(features)[:, 0], theirs.decision_function(rows), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("n", "d"), [(60, 5), (24, 40)])
def test_pooled_lda_is_scikit_learns_at_the_share_that_ledoit_wolf_gives(n, d):
    rng = np.random.default_rng(2)
    labels = (rng.random((n, 1)) < 0.4).astype(float)
    features = (rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + labels * 2).astype(np.float32)
    rows = Standardiser.fit(features, 1.0)(features).astype(np.float64)
    deviations = rows - np.where(labels == 1, rows[labels[:, 0] == 1].mean(0), rows[labels[:, 0] == 0].mean(0))
    share = float(ledoit_wolf_shrinkage(deviations, assume_centered=True))
    assert 0 < share < 1
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=share).fit(rows, labels[:, 0])
    for ours in (LDA(power=1.0), LDA(shrinkage=share, power=1.0)):
        found = ours.fit(features, labels)(features)[:, 0]
        np.testing.assert_allclose(found, theirs.decision_function(rows), rtol=1e-4, atol=1e-4)


def test_knn_is_scikit_learns_weighted_vote():
    rng = np.random.default_rng(3)
    labels = (rng.random(80) < 0.5).astype(float)
    features = (rng.normal(size=(80, 6)) + labels[:, None]).astype(np.float32)
    query = rng.normal(size=(15, 6)).astype(np.float32)
    ours = KNN(k=7, temperature=0.2, power=1.0).fit(features, labels[:, None])(query)[:, 0]
    standardiser = Standardiser.fit(features, 1.0)
    theirs = KNeighborsClassifier(7, metric="cosine", algorithm="brute", weights=lambda away: np.exp(-away / 0.2))
    share = theirs.fit(standardiser(features), labels).predict_proba(standardiser(query))[:, 1]
    np.testing.assert_allclose(ours, np.log((7 * share + 0.5) / (7 * (1 - share) + 0.5)), rtol=1e-4, atol=1e-4)


def test_queries_without_a_positive_neighbour_tie_exactly():
    """Else the last bit of the weights ranks them, and an AUROC with few positives changes with the processor."""
    rng = np.random.default_rng(5)
    features = rng.normal(size=(400, 6)).astype(np.float32)
    labels = np.zeros((400, 2))
    labels[:2, 0] = 1
    labels[2:, 1] = 1
    scores = KNN(k=7).fit(features, labels)(rng.normal(size=(200, 6)).astype(np.float32))
    none, every = scores[:, 0].min(), scores[:, 1].max()
    assert (none, every) == pytest.approx((np.log(0.5 / 7.5), np.log(7.5 / 0.5)))
    assert (scores[:, 0] == none).sum() == (scores[:, 0] < none + 1e-6).sum() > 100
    assert (scores[:, 1] == every).sum() == (scores[:, 1] > every - 1e-6).sum() > 100


def test_a_query_whose_neighbours_know_nothing_is_undecided():
    labels = np.full((20, 1), np.nan)
    rows = np.random.default_rng(6).normal(size=(20, 3)).astype(np.float32)
    assert (KNN(k=3).fit(rows, labels)(rows) == 0).all()


def test_zs_lp_ends_where_scikit_learns_balanced_logistic_regression_does():
    rows, labels, head = support(holes=False)
    found = ADAPTERS.build("zs_lp(steps=20000)").fit(rows, labels, anchors=head)
    for j in range(2):
        theirs = LogisticRegression(C=np.inf, class_weight="balanced", tol=1e-10, max_iter=10_000)
        theirs.fit(rows, labels[:, j])
        np.testing.assert_allclose(found(rows)[:, j], theirs.decision_function(rows), atol=1e-3)


def test_cross_modal_ends_where_scikit_learn_does_with_the_texts_as_images():
    rows, labels, head = support(holes=False)
    found = ADAPTERS.build("cross_modal(steps=20000)").fit(rows, labels, anchors=head)
    texts = (head.weight / np.linalg.norm(head.weight, axis=0)).T
    for j in range(2):
        truth = np.concatenate([labels[:, j], np.eye(2)[:, j]])
        counts = np.concatenate([np.where(labels[:, j] == v, (labels[:, j] == v).sum(), 0)[:, None] for v in (0, 1)], 1)
        weights = np.concatenate([1 / counts.sum(1), np.ones(2)])
        theirs = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000)
        theirs.fit(np.vstack([rows, texts]), truth, sample_weight=weights)
        np.testing.assert_allclose(found(rows)[:, j], theirs.decision_function(rows), atol=1e-3)


def test_task_res_is_torchs_adam_on_the_residual():
    rows, labels, head = support()
    x, y, weight, _ = tensors(rows, labels, head)
    length = weight.norm(dim=0)
    residual, free = leaf(np.zeros(head.weight.shape)), leaf(head.bias)
    groups = [{"params": [residual], "weight_decay": 5e-4}, {"params": [free]}]
    train(
        (residual, free), lambda r, b: balanced(x @ (weight + 0.5 * length * r) + b, y),
        torch.optim.Adam(groups, lr=2e-3), 60,
    )  # fmt: skip
    found = ADAPTERS.build("task_res(steps=60, rate=0.002)").fit(rows, labels, anchors=head)
    np.testing.assert_allclose(found.head_, (weight + 0.5 * length * residual).detach().numpy(), atol=1e-7)
    np.testing.assert_allclose(found.bias_, free.detach().numpy(), atol=1e-7)


def test_clip_adapter_is_torchs_adam_through_autograd():
    rows, labels, head = support(d=8)
    x, y, weight, _ = tensors(rows, labels, head)
    start = ADAPTERS.build("clip_adapter(steps=1, rate=1e-12)").fit(rows, labels, anchors=head)
    down, up, free = leaf(start.down_), leaf(start.up_), leaf(head.bias)

    def loss_of(a, b, c):
        mixed = 0.8 * x + 0.2 * functional.relu(functional.relu(x @ a) @ b)
        return balanced(functional.normalize(mixed, dim=1) @ weight + c, y)

    train((down, up, free), loss_of, torch.optim.Adam((down, up, free), lr=1e-3), 30)
    found = ADAPTERS.build("clip_adapter(steps=30)").fit(rows, labels, anchors=head)
    assert not np.allclose(found.down_, start.down_, atol=1e-3)
    for ours, theirs in ((found.down_, down), (found.up_, up), (found.bias_, free)):
        np.testing.assert_allclose(ours, theirs.detach().numpy(), atol=1e-7)


def test_tip_adapter_f_is_torchs_adam_on_the_keys():
    rows, labels, head = support(holes=False)
    x, y, weight, bias = tensors(rows, labels, head)
    keys = leaf(rows)
    present = y.sum(0)
    rarer = torch.minimum(present, len(y) - present)
    values = rarer * (y / present - (1 - y) / (len(y) - present))
    others = 1 - torch.eye(len(y), dtype=DOUBLE)

    def loss_of(k):
        votes = torch.exp(-5.5 * (1 - x @ k.T)) * others
        return balanced(x @ weight + bias + votes @ values, y)

    train((keys,), loss_of, torch.optim.Adam((keys,), lr=1e-3, eps=1e-4), 20)
    found = ADAPTERS.build("tip_adapter(finetune=True)").fit(rows, labels, anchors=head)
    assert not np.allclose(found.keys_, rows, atol=1e-3)
    np.testing.assert_allclose(found.keys_, keys.detach().numpy(), atol=1e-8)
    np.testing.assert_allclose(found.values_, values.numpy(), atol=1e-12)


@pytest.mark.parametrize("shape", [{"n": 40, "d": 6}, {"n": 12, "d": 30}])
def test_claps_solution_has_no_slope_left_by_autograd(shape):
    rows, labels, head = support(**shape, holes=False)
    x, y, start, bias = tensors(rows, labels, head)
    found = ADAPTERS.build("clap").fit(rows, labels, anchors=head)
    right = torch.where(y == 1, torch.sigmoid(x @ start + bias), torch.sigmoid(-(x @ start + bias)))
    multiplier = torch.stack([(right[y[:, j] == 1, j].mean() + right[y[:, j] == 0, j].mean()) / 2 for j in range(2)])
    np.testing.assert_allclose(found.multiplier_, multiplier.numpy(), rtol=1e-12)
    weight, free = leaf(found.head_), leaf(found.bias_)
    distance = ((weight - start) ** 2).sum(0) / (start**2).sum(0)
    (balanced(x @ weight + free, y) + (multiplier * distance).sum()).backward()
    assert float(weight.grad.abs().max()) < 1e-6
    assert float(free.grad.abs().max()) < 1e-6


def test_lp_plus_plus_is_two_gradient_steps_in_turn_by_autograd():
    rows, labels, head = support(holes=False)
    x, y, start, bias = tensors(rows, labels, head)
    words, ones = x @ start + bias, torch.ones(len(rows), 1, dtype=DOUBLE)
    each = torch.where(y == 1, 0.5 / y.sum(0), 0.5 / (1 - y).sum(0))
    whole = torch.cat([x, ones], 1)
    bend = torch.stack([torch.linalg.matrix_norm((whole.T * each[:, j]) @ whole, 2) / 4 for j in range(2)])
    bend_words = (each * words**2).sum(0) / 4
    weight, free, share = (torch.zeros(s, dtype=DOUBLE) for s in ((6, 2), (2,), (2,)))

    def slopes(w, b, a):
        leaves = [t.clone().requires_grad_() for t in (w, b, a)]
        return torch.autograd.grad(balanced(x @ leaves[0] + leaves[1] + leaves[2] * words, y), leaves)

    by_weight, by_bias, by_share = slopes(weight, free, share)
    weight, free = weight - by_weight / bend, free - by_bias / bend
    share = (share - by_share / bend_words).clamp_min(0)
    for _ in range(25):
        by_weight, by_bias, _ = slopes(weight, free, share)
        weight, free = weight - by_weight / bend, free - by_bias / bend
        share = (share - slopes(weight, free, share)[2] / bend_words).clamp_min(0)
    found = ADAPTERS.build("lp_plus_plus(steps=25)").fit(rows, labels, anchors=head)
    np.testing.assert_allclose(found.share_, share.numpy(), atol=1e-9)
    np.testing.assert_allclose(found.head_, (weight + share * start).numpy(), atol=1e-9)
    np.testing.assert_allclose(found.bias_, (free + share * bias).numpy(), atol=1e-9)
