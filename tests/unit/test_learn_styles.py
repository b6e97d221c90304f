"""Methods that work inside a network or on pixels: statistics by hand, where gradients go, and no silent ERM."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tapetum.core.errors import UsageError
from tapetum.core.registry import Family
from tapetum.learn.classifying.domain_parts import partners_elsewhere
from tapetum.learn.classifying.maps import (
    changing,
    channel_statistics,
    first_blocks,
    with_mixed_style,
    with_other_content,
)
from tapetum.learn.classifying.pictures import Tower
from tapetum.learn.classifying.plan import Pace
from tapetum.learn.classifying.train import new_network
from tapetum.learn.methods import mix_style, sag_net
from tapetum.learn.methods.gdr_net import GdrNet
from tapetum.learn.mixing.domain_mixup import domain_mixup
from tapetum.nets.encoders.efficientnet_lite import efficientnet_lite
from tapetum.nets.encoders.tiny import tiny
from toy_nets import network as transformer
from toy_pictures import striped

METHODS = Family("tapetum.learn.methods")
WHOLE = Pace(epochs=6, batch=1000, learning_rate=0.05)  # one batch: the order of rows plays no part
COUNTS = torch.tensor([3.0, 3.0])
NOTHING = "photometric(strength=0.0)"


def maps(seed: int = 0, shape: tuple[int, ...] = (6, 4, 5, 7)) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).double() * 2 + 1


@functools.cache
def logits(spec: str) -> np.ndarray:
    taught, asked, _ = striped(60)
    return METHODS.build(spec).fit(taught, WHOLE, np.random.default_rng(0))(asked)


def test_mixed_style_by_hand():
    """Means 2 and 10, deviations 1 and 2; a quarter of the own style: mean 8, deviation 1.75."""
    both = torch.tensor([[[[1.0, 3.0]]], [[[8.0, 12.0]]]])
    found = with_mixed_style(both, torch.tensor([1, 0]), torch.tensor([0.25, 1.0]), fixed=True)
    torch.testing.assert_close(found[0, 0, 0], torch.tensor([6.25, 9.75]), atol=1e-4, rtol=0)
    assert torch.equal(found[1], both[1])


@pytest.mark.parametrize("fixed", [True, False])
def test_statistics_after_mixing_are_the_mixed_ones_and_a_share_of_one_changes_nothing(fixed):
    given, partner = maps(), torch.tensor([3, 2, 1, 0, 5, 4])
    share = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0, 1.0]).double()
    found = with_mixed_style(given, partner, share, fixed=fixed)
    part = share[:, None, None, None]
    for after, before in zip(channel_statistics(found), channel_statistics(given), strict=True):
        torch.testing.assert_close(after, part * before + (1 - part) * before[partner], atol=1e-5, rtol=1e-5)
    assert torch.equal(found[4:], given[4:])
    assert not torch.allclose(found[0], given[0])
    # what lies where stays: the order of places within a channel
    assert torch.equal(found.flatten(2).argsort(), given.flatten(2).argsort())


def test_fixed_statistics_carry_no_gradient():
    given = maps().requires_grad_()
    with_mixed_style(given, torch.arange(5, -1, -1), torch.zeros(6).double(), fixed=True)[0].sum().backward()
    assert given.grad is not None
    assert given.grad[0].abs().min() > 0
    assert given.grad[1:].abs().max() == 0
    given.grad = None
    with_mixed_style(given, torch.arange(5, -1, -1), torch.zeros(6).double(), fixed=False)[0].sum().backward()
    assert given.grad[5].abs().max() > 0  # the style comes from there


def test_other_content_has_the_own_statistics_and_a_gradient_through_them_alone():
    given, partner = maps().requires_grad_(), torch.tensor([1, 2, 3, 4, 5, 0])
    found = with_other_content(given, partner)
    for after, before in zip(channel_statistics(found), channel_statistics(given), strict=True):
        torch.testing.assert_close(after, before, atol=1e-5, rtol=1e-5)
    assert torch.equal(found[0].flatten(1).argsort(), given[1].flatten(1).argsort())
    weights = maps(1)
    (found[0] * weights[0]).sum().backward()
    assert given.grad is not None
    assert given.grad[1:].abs().max() == 0  # nothing reaches the content
    # a gradient through mean and deviation is the same for places of equal value: a line in the value
    for channel in range(4):
        x, slope = given.detach()[0, channel].flatten(), given.grad[0, channel].flatten()
        line = torch.stack([torch.ones_like(x), x], dim=1)
        rest = slope - line @ torch.linalg.lstsq(line, slope[:, None]).solution[:, 0]
        assert rest.abs().max() < 1e-9


def test_partners_come_from_every_other_domain_alike():
    domains = torch.tensor([0] * 50 + [1] * 8 + [2] * 2)
    rng = np.random.default_rng(0)
    drawn = np.stack([partners_elsewhere(domains, rng) for _ in range(400)])
    where = domains.numpy()[drawn]
    assert (where != domains.numpy()).all()
    assert (where[:, :50] == 1).mean() == pytest.approx(0.5, abs=0.02)  # though 8 rows stand against 2
    assert np.bincount(drawn[:, :50][where[:, :50] == 1], minlength=60)[50:58].min() > 1000
    assert partners_elsewhere(torch.zeros(4, dtype=torch.int64), rng).tolist() == [0, 1, 2, 3]


def test_domain_mixup_by_hand():
    rows, domains = torch.arange(6.0)[:, None], torch.tensor([0, 0, 0, 1, 1, 7])
    labels = torch.zeros(6, dtype=torch.int64)
    found, partner, share = domain_mixup(rows, labels, COUNTS, rng=np.random.default_rng(0), domains=domains)
    assert (domains[partner] != domains).all()
    assert len(set(share.tolist())) == 6
    torch.testing.assert_close(found, share[:, None] * rows + (1 - share)[:, None] * rows[partner])
    same, _, own = domain_mixup(rows, labels, COUNTS, rng=np.random.default_rng(0), domains=domains, alpha=0.0)
    assert torch.equal(same, rows)
    assert (own == 1).all()
    alone, _, own = domain_mixup(rows, labels, COUNTS, rng=np.random.default_rng(0), domains=domains * 0)
    assert torch.equal(alone, rows)
    assert (own == 1).all()
    for wrong in ({"alpha": -1.0, "domains": domains}, {}):
        with pytest.raises(UsageError):
            domain_mixup(rows, labels, COUNTS, rng=np.random.default_rng(0), **wrong)


def test_a_stage_hands_the_domains_of_the_batch_to_the_blending_and_refuses_one_domain():
    taught, _, _ = striped(60)
    method = METHODS.build("one_stage(mixing='domain_mixup')")
    with pytest.raises(UsageError, match="one domain"):
        method.fit(taught.only(np.flatnonzero(taught.domains == 0)), WHOLE, np.random.default_rng(0))
    assert np.abs(logits("one_stage(mixing='domain_mixup')") - logits("one_stage()")).max() > 0.01
    np.testing.assert_allclose(logits("one_stage(mixing='domain_mixup(alpha=0.0)')"), logits("one_stage()"), atol=1e-4)


def test_first_blocks_are_the_last_at_each_size_and_never_the_pooled_one():
    small = tiny(size=32, dim=8)
    assert [b for b, _ in first_blocks(small, torch.zeros(1, 3, 32, 32), 2)] == [small.layers[0], small.layers[1]]
    assert [c for _, c in first_blocks(small, torch.zeros(1, 3, 32, 32), 2)] == [12, 24]
    with pytest.raises(UsageError, match="3 sizes"):
        first_blocks(small, torch.zeros(1, 3, 32, 32), 3)
    with pytest.raises(UsageError, match="levels=0"):
        first_blocks(small, torch.zeros(1, 3, 32, 32), 0)
    wide = efficientnet_lite(size=64)
    blocks = wide.get_submodule("net._blocks")
    found = [(list(blocks).index(b), c) for b, c in first_blocks(wide, torch.zeros(1, 3, 64, 64), 3)]
    assert found == [(0, 16), (2, 24), (4, 40)]


def test_a_tower_without_maps_is_refused_and_one_of_another_make_is_not(tmp_path: Path):
    built = [
        Family("tapetum.nets.encoders").build(transformer(tmp_path / name, name))() for name in ("vit", "convnextv2")
    ]
    with pytest.raises(UsageError, match="convolutional"):
        first_blocks(built[0], torch.zeros(1, 3, 32, 32), 1)
    assert [c for _, c in first_blocks(built[1], torch.zeros(1, 3, 32, 32), 2)] == [8, 8]


def test_maps_are_changed_in_training_alone_even_behind_a_norm_that_stays():
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = nn.Sequential(nn.BatchNorm2d(3), nn.AvgPool2d(2))

        def forward(self, x: Tensor) -> Tensor:
            return self.parts(x).mean(dim=(2, 3))

    tower, x = Tower(Normed(), np.zeros(3), np.ones(3)), torch.rand(2, 3, 4, 4)
    plain = tower.eval()(x)
    with changing(tower, [tower.get_submodule("encoder.parts.0")], lambda y: y + 1):
        assert torch.equal(tower.eval()(x), plain)
        torch.testing.assert_close(tower.train()(x), plain + 1)
    assert torch.equal(tower.train()(x), plain)


def test_mix_style_without_mixing_is_cross_entropy_and_with_it_is_not():
    np.testing.assert_array_equal(logits("mix_style(probability=0.0)"), logits("one_stage()"))
    for spec in ("mix_style(probability=1.0)", "mix_style(mix='crossdomain', probability=1.0)"):
        assert np.abs(logits(spec) - logits("one_stage()")).max() > 0.01
    assert not np.array_equal(logits("mix_style(probability=1.0)"), logits("mix_style(probability=1.0, levels=1)"))


@pytest.mark.parametrize("augment", ["", NOTHING])
def test_mix_style_across_domains_has_partners_elsewhere_in_its_own_batch(monkeypatch, augment):
    taught, _, _ = striped(60)
    seen: list[tuple[int, bool]] = []

    def spy(given: Tensor, partner: Tensor, share: Tensor, *, fixed: bool) -> Tensor:
        rows = batches[-1]
        elsewhere = taught.domains[rows] != taught.domains[rows][partner.numpy()]
        seen.append((len(given), bool(elsewhere.all())))
        return with_mixed_style(given, partner, share, fixed=fixed)

    batches: list[np.ndarray] = []
    inner = taught.inputs

    def watched(rows: np.ndarray, epoch: int) -> Tensor:
        batches.append(rows)
        return inner(rows, epoch)

    monkeypatch.setattr(mix_style, "with_mixed_style", spy)
    given = dataclasses.replace(taught, inputs=watched, changed=lambda augment: watched)
    method = METHODS.build("mix_style", mix="crossdomain", probability=1.0, augment=augment)
    method.fit(given, Pace(2, 16), np.random.default_rng(0))
    assert len(seen) == 2 * 2 * 4  # epochs, blocks, batches
    assert all(elsewhere for _, elsewhere in seen)


def test_the_style_head_alone_learns_to_name_and_the_layers_before_it_alone_to_mislead():
    taught, _, _ = striped(60)
    network = new_network(taught, "linear", np.random.default_rng(0))
    tower = network.tower
    assert tower is not None
    ((block, channels),) = first_blocks(tower, taught.given(np.arange(1), -1), 1)
    judge = sag_net.style_head(channels, 8, 3, np.random.default_rng(1))
    kept: list[Tensor] = []

    def keep(given: Tensor) -> Tensor:
        kept[:] = [given]
        return given

    rows, partner = np.arange(12), torch.arange(11, -1, -1)
    before, after = tower.get_submodule("encoder.layers.0"), tower.get_submodule("encoder.layers.1")
    modules = {"before": before, "after": after, "head": network.head, "judge": judge}

    def reached(which: int) -> set[str]:
        with changing(tower, [block], keep):
            tower.train()(taught.given(rows, 0))
        for module in modules.values():
            module.zero_grad()
        sag_net.style_losses(judge, kept[0], partner, taught.told(rows))[which].sum().backward()
        grads = {name: [p.grad for p in m.parameters() if p.grad is not None] for name, m in modules.items()}
        return {name for name, found in grads.items() if any(g.abs().max() > 0 for g in found)}

    assert reached(0) == {"judge"}
    assert reached(1) == {"before"}


def test_a_style_head_that_finds_all_classes_as_likely_is_fooled_best():
    judge = sag_net.style_head(4, 8, 3, np.random.default_rng(1)).double()
    with torch.no_grad():
        fooled = sag_net.style_losses(judge, maps(), torch.arange(6), torch.zeros(6, dtype=torch.int64))[1]
        assert (fooled > np.log(3)).all()
        for parameter in judge[-1].parameters():
            parameter.zero_()
        named, least = sag_net.style_losses(judge, maps(), torch.arange(6), torch.zeros(6, dtype=torch.int64))
    torch.testing.assert_close(least, torch.full((6,), np.log(3)).double())
    torch.testing.assert_close(named, least)


def test_sag_net_is_not_cross_entropy_and_its_weight_counts():
    assert np.abs(logits("sag_net()") - logits("one_stage()")).max() > 0.01
    assert np.abs(logits("sag_net(weight=0.0)") - logits("sag_net(weight=10.0)")).max() > 0.01


def test_gdr_net_with_nothing_on_is_cross_entropy_and_each_part_counts():
    plain = f"artefacts='{NOTHING}', power=0.0"
    np.testing.assert_allclose(logits(f"gdr_net({plain}, start=0.0)"), logits("one_stage()"), atol=1e-4)
    for part in (
        "gdr_net(power=0.0, start=0.0)", f"gdr_net(artefacts='{NOTHING}', start=0.0)", f"gdr_net({plain})",
    ):  # fmt: skip
        assert np.abs(logits(part) - logits("one_stage()")).max() > 0.01, part


def test_the_contrast_of_gdr_net_by_hand():
    """Two looks at three rows: each of the six has all looks of its class as friends, and all others against it."""
    taught, _, _ = striped(60)
    network = new_network(taught, "linear", np.random.default_rng(0))
    rows = np.array([0, 1, 2])
    taught = dataclasses.replace(taught, labels=np.where(np.arange(60) == 1, 1, 0))
    clean, other = taught.given(rows, 0), taught.changed("photometric()")(rows, 0)
    own, found = GdrNet()._parts(network, taught)(other, clean, taught.told(rows))
    with torch.no_grad():
        unit = nn.functional.normalize(network.tower(torch.cat([other, clean])), dim=1).double().numpy()
    labels, near = np.array([0, 1, 0, 0, 1, 0]), np.exp(unit @ unit.T / 0.1)
    share = np.log(near / (near.sum(axis=1) - near.diagonal())[:, None])
    friends = [[j for j in range(6) if j != i and labels[j] == labels[i]] for i in range(6)]
    each = [-share[i, friends[i]].mean() for i in range(6)]
    np.testing.assert_allclose(found.detach().numpy(), np.mean(np.reshape(each, (2, 3)), axis=0), rtol=1e-4)
    np.testing.assert_allclose(own.detach().numpy(), np.log(3), rtol=1e-5)  # the head still knows nothing


def test_the_contrast_falls_and_the_weights_follow_the_root_of_the_cells(monkeypatch):
    taught, _, _ = striped(60)
    taught = taught.only(np.r_[np.flatnonzero(taught.labels == 0)[:16], np.flatnonzero(taught.labels == 1)[:4]])
    taught = dataclasses.replace(taught, domains=np.zeros(20, dtype=np.int64))
    told: list[tuple[int, np.ndarray]] = []

    def parts(self: GdrNet, network, rows_of):
        del self, network, rows_of
        return lambda other, clean, labels: (torch.ones(len(labels)), torch.zeros(len(labels)))

    def together(given, networks, losses, pace, rng, name):
        del given, networks, rng, name
        told.extend((epoch, losses(np.arange(20), epoch).numpy()) for epoch in range(pace.epochs))

    monkeypatch.setattr(GdrNet, "_parts", parts)
    monkeypatch.setattr("tapetum.learn.methods.gdr_net.learn_together", together)
    GdrNet().fit(taught, Pace(epochs=4), np.random.default_rng(0))
    assert [round(float(found.mean()), 6) for _, found in told] == [0.0, 0.25, 0.5, 0.75]
    assert told[3][1][19] / told[3][1][0] == pytest.approx(2)  # cells of 4 and of 16


@pytest.mark.parametrize(
    "wrong",
    [
        "mix_style(mix='domains')", "mix_style(alpha=0.0)", "mix_style(probability=1.5)", "mix_style(levels=3)",
        "sag_net(weight=-1.0)", "sag_net(units=0)", "sag_net(level=3)", "gdr_net(power=-1.0)", "gdr_net(start=2.0)",
        "gdr_net(temperature=0.0)", "gdr_net(contrast=-1.0)", "gdr_net(artefacts='dust()')",
    ],
)  # fmt: skip
def test_wrong_options_are_refused(wrong):
    with pytest.raises(UsageError):
        METHODS.build(wrong).fit(striped(60)[0], WHOLE, np.random.default_rng(0))


def test_what_cannot_be_done_with_these_rows_is_refused():
    taught = striped(60)[0]
    one = taught.only(np.flatnonzero(taught.domains == 0))
    with pytest.raises(UsageError, match="one domain"):
        METHODS.build("mix_style(mix='crossdomain')").fit(one, WHOLE, np.random.default_rng(0))
    with pytest.raises(UsageError, match="epoch"):
        METHODS.build("gdr_net()").fit(taught, Pace(epochs=1), np.random.default_rng(0))
    taught = dataclasses.replace(taught, changed=None)
    with pytest.raises(UsageError, match="changed"):
        METHODS.build("gdr_net()").fit(taught, WHOLE, np.random.default_rng(0))
