"""Losses for the long tail against values worked out by hand and derivations in numpy; the known defects of others."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import expit, log_softmax, softmax

from tapetum.core.errors import UsageError
from tapetum.core.registry import Family
from tapetum.learn.classifying.weighing import effective_weights

LOSSES = Family("tapetum.learn.losses")
COUNTS = np.array([60.0, 30.0, 10.0, 4.0])
PRIOR = COUNTS / COUNTS.sum()
RNG = np.random.default_rng(0)
LOGITS, LABELS = RNG.normal(size=(9, 4)), np.arange(9) % 4
FINDINGS = (RNG.random((9, 4)) < 0.4).astype(float)
OWN = np.arange(9), LABELS


def value(spec, logits=LOGITS, labels=LABELS, counts=COUNTS, **context):
    labels = torch.from_numpy(labels)
    return LOSSES.build(spec, **context)(torch.from_numpy(logits), labels, torch.from_numpy(counts)).numpy()


def gradient(spec, counts=COUNTS, label=0):
    """Of the mean loss of one row of class `label`, all logits 0."""
    logits = torch.zeros(1, len(counts), dtype=torch.float64, requires_grad=True)
    LOSSES.build(spec)(logits, torch.tensor([label]), torch.from_numpy(counts)).sum().backward()
    return logits.grad.numpy()[0]


def crossed(logits):
    return -log_softmax(logits, axis=1)[OWN]


def test_focal_by_hand():
    # two equal logits: p = 1/2, (1/2)^2 log 2
    assert value("focal", np.zeros((1, 2)), np.array([0]), np.ones(2))[0] == pytest.approx(0.25 * math.log(2))
    p = softmax(LOGITS, axis=1)[OWN]
    np.testing.assert_allclose(value("focal(gamma=1.5)"), (1 - p) ** 1.5 * -np.log(p))


def test_balanced_softmax_by_hand_and_against_numpy():
    # shares 3/4 and 1/4, logits 0: the probability of the rare class is its share
    found = value("balanced_softmax", np.zeros((2, 2)), np.array([0, 1]), np.array([30.0, 10.0]))
    np.testing.assert_allclose(found, [-math.log(0.75), -math.log(0.25)])
    np.testing.assert_allclose(value("balanced_softmax(tau=0.7)"), crossed(LOGITS + 0.7 * np.log(PRIOR)))


@pytest.mark.parametrize("spec", ["balanced_softmax", "vector_scaling", "lade", "vector_scaling(gamma=0.0)"])
def test_a_rare_row_pulls_harder_than_under_cross_entropy_and_a_common_one_less(spec):
    """The reversed sign of published code pulls the other way."""
    plain = gradient("cross_entropy", label=3)[3], gradient("cross_entropy", label=0)[0]
    assert gradient(spec, label=3)[3] / gradient(spec, label=0)[0] > plain[0] / plain[1] > 0
    if "scaling(" not in spec and spec != "vector_scaling":
        assert gradient(spec, label=3)[3] < plain[0] < 0
        assert plain[1] < gradient(spec, label=0)[0] < 0


def test_learned_with_the_prior_added_the_rare_class_has_the_larger_logit():
    """Rows without any signal: the logits alone are equal under balanced softmax, and the prior under cross-entropy."""
    labels = torch.from_numpy(np.repeat(np.arange(4), COUNTS.astype(int)))
    for spec, expected in (("balanced_softmax", np.full(4, 0.25)), ("cross_entropy", PRIOR)):
        z = torch.zeros(4, dtype=torch.float64, requires_grad=True)
        step = torch.optim.LBFGS([z], max_iter=100)

        def closure(z=z, step=step, spec=spec):
            step.zero_grad()
            loss = LOSSES.build(spec)(z.expand(len(labels), 4), labels, torch.from_numpy(COUNTS)).mean()
            loss.backward()
            return loss

        step.step(closure)
        np.testing.assert_allclose(softmax(z.detach().numpy()), expected, atol=1e-3)


def test_weights_by_hand():
    # effective number: (1 - b) / (1 - b^n) for n = 1, 2, b = 1/2: 1 and 2/3, scaled to add up to 2
    np.testing.assert_allclose(effective_weights(torch.tensor([1.0, 2.0]), 0.5), [1.2, 0.8], rtol=1e-6)
    np.testing.assert_allclose(
        value("effective_number(beta=0.5)", np.zeros((2, 2)), np.array([0, 1]), np.array([1.0, 2.0])),
        [1.2 * math.log(2), 0.8 * math.log(2)],
    )
    p = softmax(LOGITS, axis=1)[OWN]
    effective = (1 - 0.99) / (1 - 0.99**COUNTS)
    weights = (effective * 4 / effective.sum())[LABELS]
    np.testing.assert_allclose(value("effective_number(beta=0.99, gamma=2.0)"), weights * (1 - p) ** 2 * -np.log(p))
    inverse = COUNTS**-1.2
    np.testing.assert_allclose(
        value("inverse_frequency(power=1.2)"), (inverse * 4 / inverse.sum())[LABELS] * crossed(LOGITS)
    )
    np.testing.assert_allclose(value("weighted_softmax"), (1 - np.log(COUNTS / 60))[LABELS] * crossed(LOGITS))


def test_class_balanced_loss_is_the_softmax_form_and_not_a_binary_one():
    """Published code calls a binary cross-entropy on softmax outputs by this name; that also sums the other classes."""
    p = softmax(LOGITS, axis=1)
    one = np.eye(4)[LABELS]
    binary = -(one * np.log(p) + (1 - one) * np.log(1 - p)).mean(axis=1)
    even = value("effective_number", counts=np.full(4, 25.0))
    np.testing.assert_allclose(even, crossed(LOGITS))
    assert np.abs(even - binary).max() > 0.1


def test_ldam_against_numpy():
    margin = 0.5 * (COUNTS**-0.25) / (COUNTS**-0.25).max()
    moved = 10 * LOGITS.copy()
    moved[OWN] -= 10 * margin[LABELS]
    np.testing.assert_allclose(value("ldam(scale=10.0)", 10 * LOGITS), crossed(moved))
    assert margin[3] == 0.5
    assert (np.diff(margin) > 0).all(), "the rarer the wider"


def test_vector_scaling_against_numpy():
    scale = (COUNTS / 60) ** 0.3
    np.testing.assert_allclose(value("vector_scaling"), crossed(scale * LOGITS + np.log(PRIOR)))


def test_equalisation_is_scaled_to_the_data():
    """A threshold of 0.00043, as published, leaves cross-entropy on classes of medical sets; this one must not."""
    rare = COUNTS.mean() * 0.5 > COUNTS
    assert rare.tolist() == [False, False, True, True]
    weights = np.where(rare[None] & (np.arange(4)[None] != LABELS[:, None]), 0.1, 1.0)
    expected = np.log((weights * np.exp(LOGITS)).sum(axis=1)) - LOGITS[OWN]
    np.testing.assert_allclose(value("equalised"), expected)
    for counts in ([4693, 779, 769, 359, 218, 99, 47], [5000, 2590, 1342, 695, 360, 187, 97, 51]):
        known, z = np.array(counts, dtype=float), np.zeros((1, len(counts)))
        found = value("equalised", z, np.array([0]), known)[0]
        assert found < math.log(len(counts)) - 0.3, "plain cross-entropy"
        pushed = gradient("equalised", known)
        assert pushed[-1] < 0.25 * gradient("cross_entropy", known)[-1]


def test_seesaw_against_numpy():
    p = softmax(LOGITS, axis=1)
    factor = np.ones((9, 4))
    for i, y in enumerate(LABELS):
        for j in range(4):
            if COUNTS[j] < COUNTS[y]:
                factor[i, j] *= (COUNTS[j] / COUNTS[y]) ** 0.8
            if p[i, j] > p[i, y]:
                factor[i, j] *= (p[i, j] / p[i, y]) ** 2
    expected = np.log((factor * np.exp(LOGITS)).sum(axis=1)) - LOGITS[OWN]
    np.testing.assert_allclose(value("seesaw"), expected)


def test_lade_against_numpy():
    bound = np.zeros(4)
    importance = 1 / (4 * PRIOR[LABELS])
    for c in range(4):
        second = math.log((importance * np.exp(LOGITS[:, c])).mean())
        bound[c] = LOGITS[c == LABELS, c].mean() - second - 0.1 * second**2
    np.testing.assert_allclose(value("lade"), crossed(LOGITS + np.log(PRIOR)) - 0.1 * (PRIOR * bound).sum())


def test_label_aware_smoothing_against_numpy():
    e = 0.3 * np.sin(np.pi / 2 * (COUNTS - 4) / 56)[LABELS]
    log_p = log_softmax(LOGITS, axis=1)
    expected = -(1 - e) * log_p[OWN] - e / 3 * (log_p.sum(axis=1) - log_p[OWN])
    np.testing.assert_allclose(value("label_aware_smoothing"), expected)


def test_clouds_are_on_rare_classes_alone_and_seeded():
    found = [value("gaussian_clouded(scale=1.0)", rng=np.random.default_rng(s)) for s in (0, 0, 1)]
    np.testing.assert_array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])
    common = value("gaussian_clouded(scale=1.0)", LOGITS[:1], np.array([0]), rng=np.random.default_rng(0))
    assert (common < crossed(LOGITS)[:1]).all(), "the cloud lowers the others, and the commonest class has none"
    rare = [
        value("gaussian_clouded(scale=1.0)", np.zeros((1, 4)), np.array([3]), rng=np.random.default_rng(s))[0]
        for s in range(200)
    ]
    assert np.mean(rare) > math.log(4)
    drawn = np.clip(np.abs(np.random.default_rng(5).normal(0, 1 / 3, (9, 4))), 0, 1)
    rarity = np.log(60 / COUNTS) / np.log(15)
    expected = crossed(LOGITS - 0.5 * drawn * rarity)
    np.testing.assert_allclose(value("gaussian_clouded(scale=1.0)", rng=np.random.default_rng(5)), expected)


def test_binary_losses_against_numpy():
    p = expit(LOGITS)
    given = np.where(FINDINGS == 1, p, 1 - p)
    np.testing.assert_allclose(value("binary_cross_entropy", labels=FINDINGS), -np.log(given).mean(axis=1))
    np.testing.assert_allclose(
        value("binary_cross_entropy(gamma=2.0)", labels=FINDINGS), ((1 - given) ** 2 * -np.log(given)).mean(axis=1)
    )
    q = np.maximum(p - 0.05, 0)
    there, gone = (1 - p) * -np.log(p), q**4 * -np.log(1 - q)
    np.testing.assert_allclose(
        value("asymmetric(present=1.0)", labels=FINDINGS), np.where(FINDINGS == 1, there, gone).mean(axis=1)
    )


def test_asymmetric_forgets_what_is_surely_absent():
    sure = value("asymmetric", np.full((1, 4), -4.0), np.zeros((1, 4)))
    assert sure[0] == 0
    assert value("asymmetric(shift=0.0)", np.full((1, 4), -4.0), np.zeros((1, 4)))[0] > 0


def test_distribution_balanced_against_numpy():
    inverse = 1 / COUNTS
    together = (FINDINGS * inverse).sum(axis=1, keepdims=True)
    r = np.minimum(np.where(together > 0, inverse / np.where(together > 0, together, 1), 1), 1)
    weight = 0.1 + expit(10 * (r - 0.2))
    share = COUNTS / 200
    z = LOGITS + 0.05 * np.log(share / (1 - share))
    loss = np.where(FINDINGS == 1, np.log1p(np.exp(-z)), np.log1p(np.exp(2 * z)) / 2)
    np.testing.assert_allclose(
        value("distribution_balanced", labels=FINDINGS, rows=200), (weight * loss).mean(axis=1), rtol=1e-5
    )


@pytest.mark.parametrize(
    "spec",
    [
        "focal(gamma=-1.0)", "effective_number(beta=1.0)", "effective_number(gamma=-1.0)", "ldam(scale=0.0)",
        "ldam(margin=-1.0)", "equalised(ignored=1.0)", "equalised(rare=-1.0)", "label_aware_smoothing(head=1.0)",
        "gaussian_clouded(noise=-1.0)", "binary_cross_entropy(gamma=-1.0)", "asymmetric(shift=1.0)",
        "asymmetric(absent=-1.0)", "distribution_balanced(negative=0.0)",
    ],
)  # fmt: skip
def test_options_out_of_range_are_refused(spec):
    findings = spec.startswith(("binary", "asymmetric", "distribution"))
    context = {"rng": np.random.default_rng(0)} if spec.startswith("gaussian") else {}
    with pytest.raises(UsageError):
        value(spec, labels=FINDINGS if findings else LABELS, **context)
