"""Methods, samplers, blending and compactness for the long tail by hand; defects of others that must not return."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tapetum.core.errors import DataError, UsageError
from tapetum.core.registry import Family
from tapetum.learn.classifying.experts import Experts
from tapetum.learn.classifying.plan import Pace, Plan
from tapetum.learn.classifying.stages import Adjusted, embedded_rows, joined
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.train import train
from tapetum.learn.classifying.weighing import log_prior
from tapetum.learn.methods.bbn import BilateralBranches

METHODS = Family("tapetum.learn.methods")
PENALTIES = Family("tapetum.learn.compactness")
MIXING = Family("tapetum.learn.mixing")
SAMPLERS = Family("tapetum.learn.rebalancing")
PACE = Pace(epochs=8, batch=32, learning_rate=0.01)


def rows(counts=(120, 40, 12), width=6, seed=0, apart=2.0, noise=1.0):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    centres = apart * np.random.default_rng(99).normal(size=(len(counts), width))
    features = (centres[labels] + noise * rng.normal(size=(len(labels), width))).astype(np.float32)
    return Taught(features, labels, len(counts), np.arange(len(labels)))


def learned(spec, taught=None, pace=PACE, seed=0):
    taught = taught or rows()
    return METHODS.build(spec).fit(taught, pace, np.random.default_rng(seed))


def test_post_hoc_takes_the_prior_off_and_does_not_add_it():
    taught, query = rows(), rows(seed=1).features
    plain, adjusted = learned("one_stage", taught)(query), learned("post_hoc", taught)(query)
    prior = np.log(np.array([120, 40, 12]) / 172)
    np.testing.assert_allclose(adjusted - plain, np.broadcast_to(-prior, plain.shape), atol=1e-6)
    np.testing.assert_allclose(learned("post_hoc(tau=0.0)", taught)(query), plain)


def test_tau_norm_divides_each_weight_by_its_length_to_the_power_tau():
    """Published code divides by the square, so that common classes end with the shortest weights of all."""
    taught = rows()
    last = learned("tau_norm(tau=0.0)", taught).head.last
    for tau in (0.5, 1.0):
        found = learned(f"tau_norm(tau={tau})", taught).head.last
        assert found.bias is None
        np.testing.assert_allclose(
            found.weight.detach().norm(dim=1), last.weight.detach().norm(dim=1) ** (1 - tau), rtol=1e-5
        )
        cosine = torch.nn.functional.cosine_similarity(found.weight, last.weight)
        np.testing.assert_allclose(cosine.detach(), 1, rtol=1e-5)
    lengths = learned("tau_norm(tau=0.5)", taught).head.last.weight.detach().norm(dim=1)
    assert (torch.argsort(lengths) == torch.argsort(last.weight.detach().norm(dim=1))).all(), "the order was turned"


def test_tau_norm_refuses_the_square():
    with pytest.raises(UsageError):
        learned("tau_norm(tau=2.0)")


@pytest.mark.parametrize("epochs", [10, 50, 200])
def test_the_weight_of_bbn_goes_all_the_way(epochs):
    """Published code falls from 1 to 0.76 in 50 epochs, so that the branch of rare classes never leads."""
    shares = [BilateralBranches.share(e, epochs) for e in range(epochs)]
    assert shares[0] == 1
    assert shares[-1] < 0.2
    assert (np.diff(shares) < 0).all()
    assert shares[epochs // 2] == pytest.approx(0.75)
    assert shares[round(0.8 * epochs)] < 0.5


def test_bbn_asks_both_branches_alike():
    network = learned("bbn(units=8)")
    query = torch.from_numpy(rows(seed=1).features)
    both = (network.head.first(query) + network.head.second(query)) / 2
    np.testing.assert_allclose(network(query), both.detach(), rtol=1e-5, atol=1e-6)
    assert not torch.equal(network.head.first(query), network.head.second(query))


@pytest.mark.parametrize("name", PENALTIES.names())
def test_a_penalty_is_added_to_the_loss_and_never_takes_its_place(name):
    """Published code trains range loss and a contrastive mixture alone: its classifier stays as it was drawn."""
    taught = rows()
    found = learned(f"one_stage(compactness='{name}', head='hidden(units=16)')", taught)
    assert (found.head.last.weight != 0).all(), "the last layer learned nothing"
    query = rows(seed=1)
    assert (found(query.features).argmax(axis=1) == query.labels).mean() > 0.8
    with_it, without = found(query.features), learned("one_stage(head='hidden(units=16)')", taught)(query.features)
    assert not np.allclose(with_it, without), "the penalty does nothing"


def test_crt_and_lws_move_the_last_layer_alone():
    taught = rows()
    first = train(taught, Plan(head="hidden(units=16)"), PACE, np.random.default_rng(0))
    for spec in ("crt(units=16)", "lws(units=16)", "tau_norm(units=16)", "disalign(units=16)"):
        found = learned(spec, taught)
        np.testing.assert_allclose(found.embed(taught.features), first.embed(taught.features), rtol=1e-6)
    scaled = learned("lws(units=16)", taught).head.last
    assert torch.equal(scaled.linear.weight, first.head.last.weight)
    assert not torch.equal(scaled.scale, torch.ones(3))


def test_disalign_begins_with_the_logits_that_it_aligns():
    taught = rows()
    first = train(taught, Plan(head="hidden(units=16)"), PACE, np.random.default_rng(0))
    still = METHODS.build("disalign(units=16)")
    aligned = still.fit(taught, PACE, np.random.default_rng(0))
    head = aligned.head.last
    with torch.no_grad():
        head.factor.fill_(1)
        head.offset.zero_()
    np.testing.assert_allclose(aligned(taught.features), first(taught.features), rtol=1e-4, atol=1e-5)


def test_nearest_mean_by_hand():
    features = np.array([[0, 0], [0, 2], [4, 1], [4, 1]], dtype=np.float32)
    taught = Taught(features, np.array([0, 0, 1, 1]), 2, np.arange(4))
    found = learned("nearest_mean(scale=2.0)", taught)
    # means (0, 1) and (4, 1), their middle (2, 1): the directions are -x and +x
    np.testing.assert_allclose(found(np.array([[7.0, 1.0], [2.0, 5.0]])), [[-2, 2], [0, 0]], atol=1e-6)
    with pytest.raises(DataError, match="without training rows"):
        learned("nearest_mean", Taught(features, np.array([0, 0, 1, 1]), 3, np.arange(4)))


def test_sade_trains_three_worlds_by_hand():
    counts = torch.tensor([30.0, 10.0])
    loss = METHODS.build("sade(tau=2.0)").losses(torch.zeros(1, 3, 2), torch.tensor([1]), counts)
    # shares 3/4 and 1/4, turned 1/4 and 3/4: 1/2, 1/4, and (1/4)/(9/16) against (3/4)/(1/16) = 4/9 : 12
    expected = -(math.log(1 / 2) + math.log(1 / 4) + math.log((4 / 9) / (4 / 9 + 12))) / 3
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_ride_rewards_experts_that_disagree():
    labels, counts = torch.tensor([0, 1]), torch.tensor([10.0, 10.0])
    rng = torch.Generator().manual_seed(0)
    middle, step = torch.randn(2, 1, 2, generator=rng), torch.tensor([[[1.0, -1]], [[1.0, -1]]])
    apart, alike = torch.cat([middle - step, middle, middle + step], 1), middle.expand(2, 3, 2)
    for diversity in (0.0, 0.2):
        of = METHODS.build("ride", diversity=diversity).losses
        plain = METHODS.build("ride", diversity=0.0).losses
        gained = (plain(apart, labels, counts) - of(apart, labels, counts)).sum()
        assert (gained > 0) == (diversity > 0)
        torch.testing.assert_close(of(alike, labels, counts), plain(alike, labels, counts))


def test_experts_begin_apart_and_vote_with_their_mean():
    head = Experts(5, 3, 8, 3, torch.Generator().manual_seed(0))
    each = head.each(head.embed(torch.ones(2, 5)))
    assert each.shape == (2, 3, 3)
    assert not torch.allclose(each[:, 0], each[:, 1])
    torch.testing.assert_close(head(torch.ones(2, 5)), each.mean(dim=1))


def test_causal_norm_takes_off_what_every_row_leans_to():
    taught = rows()
    network = learned("causal_norm(units=16, alpha=1.0, groups=1)", taught)
    mean = network.embed(taught.features).mean(axis=0)
    direction = network.head.direction[0].numpy()
    np.testing.assert_allclose(direction, mean / np.linalg.norm(mean), rtol=1e-4, atol=1e-6)
    along = torch.from_numpy(direction)[None] * 3
    np.testing.assert_allclose(network.head.classify(along).detach(), 0, atol=1e-5)
    with pytest.raises(UsageError, match="divide"):
        learned("causal_norm(units=16, groups=3)")


def test_embedded_rows_and_joined_networks():
    taught = rows()
    network = train(taught, Plan(head="hidden(units=16)"), PACE, np.random.default_rng(0))
    inner = embedded_rows(taught, network)
    assert inner.features.shape == (len(taught.labels), 16)
    assert inner.tower is None
    assert inner.inputs is None
    whole = joined(network, Adjusted(network.head.last))
    np.testing.assert_allclose(whole(taught.features), network(taught.features), rtol=1e-5, atol=1e-6)


def test_log_prior_of_a_class_without_rows_is_finite():
    np.testing.assert_allclose(log_prior(torch.tensor([1.5, 0.0])).exp(), [0.75, 0.25])


def test_mixup_and_remix_by_hand():
    inputs, labels, counts = torch.tensor([[0.0], [1.0]]), torch.tensor([0, 1]), torch.tensor([30.0, 10.0])
    for seed in range(20):
        part = np.random.default_rng(seed).beta(1, 1)
        blended, partner, share = MIXING.build("mixup", rng=np.random.default_rng(seed))(inputs, labels, counts)
        np.testing.assert_allclose(share, [part, part], rtol=1e-6)
        expected = part * inputs.numpy() + (1 - part) * inputs.numpy()[partner]
        np.testing.assert_allclose(blended, expected, rtol=1e-6)
        _, partner, share = MIXING.build("remix", rng=np.random.default_rng(seed))(inputs, labels, counts)
        if partner.tolist() == [1, 0]:
            # the common row gives its label away below half, the rare one keeps it above half
            np.testing.assert_allclose(share, [0 if part < 0.5 else part, 1 if part > 0.5 else part], rtol=1e-6)
        else:
            np.testing.assert_allclose(share, [part, part], rtol=1e-6)


def test_noise_is_larger_for_rare_classes():
    inputs = torch.from_numpy(np.random.default_rng(0).normal(size=(4000, 2)))
    labels = torch.arange(4000) % 2
    moved, _, share = MIXING.build("noise", rng=np.random.default_rng(1))(inputs, labels, torch.tensor([160.0, 10.0]))
    spread = [(moved - inputs)[labels == c].std().item() for c in range(2)]
    np.testing.assert_allclose(spread, [0.5, 1.0], rtol=0.05)
    assert (share == 1).all()


def test_cutmix_shares_the_label_by_area():
    inputs = torch.arange(4.0)[:, None, None, None].expand(4, 3, 10, 10)
    for seed in range(10):
        way = MIXING.build("cutmix", rng=np.random.default_rng(seed))
        blended, partner, share = way(inputs, torch.arange(4), torch.ones(4))
        for i in range(4):
            own = (blended[i] == i).float().mean().item()
            assert own == pytest.approx(1.0 if partner[i] == i else share[i].item())


@pytest.mark.parametrize("spec", ["mixup(alpha=-1.0)", "remix(alpha=0.0)", "remix(kappa=0.5)", "noise(spread=-1.0)"])
def test_blending_out_of_range_is_refused(spec):
    with pytest.raises(UsageError):
        MIXING.build(spec, rng=np.random.default_rng(0))(torch.ones(2, 2), torch.tensor([0, 1]), torch.ones(2))


def test_samplers_by_hand():
    labels = np.repeat([0, 1], [90, 10])

    def rare(spec):
        sampler = SAMPLERS.build(spec)
        return np.mean([labels[sampler(labels, rng=np.random.default_rng(s))].mean() for s in range(200)])

    assert rare("progressive(share=0.5)") == pytest.approx((0.1 + 0.5) / 2, abs=0.01)
    assert rare("progressive(share=0.0)") == pytest.approx(0.1, abs=0.01)
    assert rare("square_root(power=-1.0)") == pytest.approx(0.9, abs=0.01), "the reversed sampler turns the shares"
    # mean 50, √5 = 2.24 times each of the ten
    repeated = SAMPLERS.build("repeat_factor")(labels, rng=np.random.default_rng(0))
    counts = np.bincount(repeated, minlength=100)
    assert (counts[:90] == 1).all()
    assert set(counts[90:]) <= {2, 3}
    cut = SAMPLERS.build("undersampled(most=2.0)")(labels, rng=np.random.default_rng(0))
    assert np.bincount(labels[cut]).tolist() == [20, 10]
    for spec in ("repeat_factor(threshold=0.0)", "undersampled(most=0.5)"):
        with pytest.raises(UsageError):
            SAMPLERS.build(spec)(labels, rng=np.random.default_rng(0))


def test_compactness_by_hand():
    # two classes of two rows at angles 0 and 90 degrees, and 0 and 0
    rows_of = torch.tensor([[1.0, 0], [0, 1], [1, 0], [1, 0]])
    labels, counts = torch.tensor([0, 0, 1, 1]), torch.ones(2)
    # the mean of class 0 is (1/2, 1/2): distance² 1/2 each
    found = PENALTIES.build("centre(weight=1.0)")(rows_of, labels, counts)
    np.testing.assert_allclose(found, [0.25, 0.25, 0, 0], atol=1e-6)
    # one distance in each class: √2, and 0; the means lie √(1/2) apart
    ranged = PENALTIES.build("range_loss(inside=1.0, between=1.0, margin=1.0, largest=1)")
    assert ranged(rows_of, labels, counts).item() == pytest.approx(math.sqrt(2) + 1 - math.sqrt(0.5), abs=1e-5)
    # rows 0 and 1 of a class: cosine 0; row 0 sees row 1 (0) and rows 2, 3 (1 each)
    plain = PENALTIES.build("supervised_contrastive(weight=1.0, temperature=1.0, balanced=False)")
    assert plain(rows_of, labels, counts)[0].item() == pytest.approx(math.log(1 + 2 * math.e), rel=1e-5)
    even = PENALTIES.build("supervised_contrastive(weight=1.0, temperature=1.0)")
    assert even(rows_of, labels, counts)[0].item() == pytest.approx(math.log(1 + math.e), rel=1e-5)


def test_late_parts_take_their_place_at_the_share_told():
    plan = Plan(loss="ldam", late_loss="ldam(beta=0.9999)", sampler="", late_sampler="class_balanced", late=0.8)
    assert [plan.loss_at(e / 10) for e in (0, 7, 8, 9)] == ["ldam", "ldam", "ldam(beta=0.9999)", "ldam(beta=0.9999)"]
    assert [plan.sampler_at(e / 10) for e in (7, 8)] == ["", "class_balanced"]


def test_offsets_with_a_pace_of_their_own_learn_the_prior():
    """Features that say nothing: only the offset can, and at the pace of the weights it is still on its way."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat([0, 1], [950, 50]))
    taught = Taught(rng.normal(size=(1000, 3)).astype(np.float32), labels, 2, np.arange(1000))
    share = {}
    for rate in (1.0, 30.0):
        network = learned("one_stage", taught, Pace(30, 100, 1e-3, 0.1, rate))
        logits = network(np.zeros((1, 3)))[0]
        share[rate] = 1 / (1 + np.exp(logits[0] - logits[1]))
    assert share[1.0] > 0.4
    assert share[30.0] == pytest.approx(0.05, abs=0.02)
