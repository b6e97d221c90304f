"""Losses, ridge and probe against independent implementations: plain numpy, torch's own losses, scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import log_expit, logsumexp
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestCentroid
from torch.nn.functional import cross_entropy, logsigmoid, normalize

from tapetum.learn.adapters.linear_probe import LinearProbe
from tapetum.learn.adapters.prototypes import Prototypes
from tapetum.learn.aligner.closed_form import TextSeparation
from tapetum.learn.alignment.clip import clip
from tapetum.learn.alignment.siglip import siglip
from tapetum.learn.fitting.ridge import Gram
from tapetum.learn.fitting.standardise import Standardiser

SCALE, BIAS = torch.tensor(5.0, dtype=torch.float64), torch.tensor(-2.0, dtype=torch.float64)


def batch(b=9, d=6, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return [normalize(torch.randn(b, d, generator=generator, dtype=torch.float64), dim=1) for _ in range(2)]


def value_and_gradient(function, image, text):
    image, text = image.clone().requires_grad_(), text.clone().requires_grad_()
    loss = function(image, text)
    loss.backward()
    return loss.detach(), image.grad, text.grad


def test_clip_is_symmetric_cross_entropy():
    image, text = batch()
    eye, target = torch.eye(9, dtype=torch.float64), torch.arange(9)

    def reference(x, y):
        logits = SCALE * x @ y.T
        return (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2

    ours = value_and_gradient(lambda x, y: clip(x, y, eye, scale=SCALE, bias=BIAS).mean(), image, text)
    for a, b in zip(ours, value_and_gradient(reference, image, text), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_clip_with_soft_positives_in_plain_numpy():
    image, text = batch(4)
    match = np.eye(4)
    match[0, 2] = match[2, 0] = 0.96
    logits = 5.0 * image.numpy() @ text.numpy().T
    expected = []
    for i in range(4):
        rows = logits[i] - logsumexp(logits[i])
        columns = logits[:, i] - logsumexp(logits[:, i])
        expected.append(-(match[i] / match[i].sum() @ rows + match[:, i] / match[:, i].sum() @ columns) / 2)
    ours = clip(image, text, torch.from_numpy(match), scale=SCALE, bias=BIAS)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-12)


def test_siglip_is_the_papers_loss():
    image, text = batch()
    sign = 2 * torch.eye(9, dtype=torch.float64) - 1

    def reference(x, y):
        return -logsigmoid(sign * (SCALE * x @ y.T + BIAS)).sum() / len(x)

    eye = torch.eye(9, dtype=torch.float64)
    ours = value_and_gradient(lambda x, y: siglip(x, y, eye, scale=SCALE, bias=BIAS).mean(), image, text)
    for a, b in zip(ours, value_and_gradient(reference, image, text), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_siglip_in_plain_numpy():
    image, text = batch(3)
    match = np.array([[1, 0.97, 0], [0.97, 1, 0], [0, 0, 1]])
    logits = 5.0 * image.numpy() @ text.numpy().T - 2.0
    expected = -(match * log_expit(logits) + (1 - match) * log_expit(-logits)).sum(1)
    ours = siglip(image, text, torch.from_numpy(match), scale=SCALE, bias=BIAS)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-12)


def test_chance_of_clip_is_the_log_of_the_batch():
    image, text = batch()
    nothing = torch.tensor(0.0, dtype=torch.float64)
    loss = clip(image, text, torch.eye(9, dtype=torch.float64), scale=nothing, bias=BIAS)
    torch.testing.assert_close(loss, torch.full((9,), math.log(9), dtype=torch.float64))


def test_siglip_by_hand_where_all_logits_are_zero():
    image, text = batch(4)
    nothing = torch.tensor(0.0, dtype=torch.float64)
    loss = siglip(image, text, torch.eye(4, dtype=torch.float64), scale=nothing, bias=nothing)
    torch.testing.assert_close(loss, torch.full((4,), 4 * math.log(2), dtype=torch.float64))


@pytest.mark.parametrize(("n", "d"), [(40, 12), (25, 90)])
@pytest.mark.parametrize("penalty", [0.3, 30.0])
def test_ridge_equals_scikit_learn(n, d, penalty):
    rng = np.random.default_rng(0)
    x, y, query = rng.normal(2, 1, (n, d)), rng.normal(1, 1, (n, 3)), rng.normal(size=(7, d))
    reference = Ridge(alpha=penalty).fit(x, y)
    weight, bias = Gram.of(x).fit(y, penalty)
    np.testing.assert_allclose(weight, reference.coef_.T, atol=1e-10)
    np.testing.assert_allclose(bias, reference.intercept_, atol=1e-10)
    np.testing.assert_allclose(Gram.of(x).predict(query, y, [penalty])[0], reference.predict(query), atol=1e-10)


def test_ridge_equals_least_squares_on_augmented_rows():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(20, 8)), rng.normal(size=(20, 2))
    stacked = np.concatenate([x - x.mean(0), math.sqrt(4.0) * np.eye(8)])
    expected, *_ = np.linalg.lstsq(stacked, np.concatenate([y - y.mean(0), np.zeros((8, 2))]), rcond=None)
    np.testing.assert_allclose(Gram.of(x).fit(y, 4.0)[0], expected, atol=1e-10)


def test_a_penalty_for_each_target_equals_one_fit_for_each():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(30, 9)), rng.normal(size=(30, 3))
    penalties = np.array([0.5, 5.0, 50.0])
    weight, bias = Gram.of(x).fit(y, penalties)
    for j, penalty in enumerate(penalties):
        reference = Ridge(alpha=penalty).fit(x, y[:, j])
        np.testing.assert_allclose(weight[:, j], reference.coef_, atol=1e-10)
        np.testing.assert_allclose(bias[j], reference.intercept_, atol=1e-10)


def test_linear_probe_equals_scikit_learn_on_the_images_whose_label_is_known():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(60, 10)).astype(np.float32)
    labels = (x[:, :2] + rng.normal(size=(60, 2)) > 0).astype(float)
    labels[5:20, 1] = np.nan
    probe = LinearProbe(penalty=2.0).fit(x, labels)
    rows = Standardiser.fit(x, 0.5)(x).astype(np.float64)
    for j in range(2):
        known = ~np.isnan(labels[:, j])
        reference = Ridge(alpha=2.0).fit(rows[known], 2 * labels[known, j] - 1)
        np.testing.assert_allclose(probe(x)[:, j], reference.predict(rows), atol=1e-5)


def test_prototypes_call_what_the_nearest_centroid_calls():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(50, 6)).astype(np.float32)
    labels = (x[:, 0] > 0.2).astype(float)
    rows = Standardiser.fit(x, 0.5)(x)
    reference = NearestCentroid().fit(rows, labels).predict(rows)
    np.testing.assert_array_equal(Prototypes().fit(x, labels[:, None])(x)[:, 0] > 0, reference == 1)


def test_text_separation_is_the_mean_auroc_over_texts():
    rng = np.random.default_rng(6)
    own = np.repeat(np.arange(4), 5)
    vocabulary, prediction = rng.normal(size=(4, 3)), rng.normal(size=(20, 3))
    quality = TextSeparation(tuple(f"t{i}" for i in own), vocabulary[own])(prediction, np.arange(20))
    unit = prediction / np.linalg.norm(prediction, axis=1, keepdims=True)
    candidates = vocabulary / np.linalg.norm(vocabulary, axis=1, keepdims=True)
    expected = np.mean([roc_auc_score(own == i, unit @ candidates[i]) for i in range(4)])
    np.testing.assert_allclose(quality, [expected])
