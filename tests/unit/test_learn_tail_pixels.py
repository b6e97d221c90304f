"""SnapMix, activation maps and further augmentation where a tower learns; RSG and FlexRS on rows."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from tapetum.core.errors import UsageError
from tapetum.core.types import Split
from tapetum.learn.classifying import train as training
from tapetum.learn.classifying.activation import maps_of
from tapetum.learn.classifying.pictures import Pictures
from tapetum.learn.classifying.plan import Pace, Plan
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.trained import Network
from tapetum.learn.methods import flex_rs, rsg
from tapetum.learn.methods.one_stage import OneStage
from tapetum.learn.mixing import snapmix as snapmix_module
from tapetum.learn.mixing.snapmix import snapmix
from tapetum.nets.heads.linear import Linear
from toys import COLOURS, ENCODER

PACE = Pace(epochs=3, batch=16, learning_rate=0.02)


@pytest.fixture(scope="module")
def seen(toy_archive, toy_embeddings):
    """Pictures of the toy clinic, with a tower that learns."""
    ids = [r.image_id for r in toy_archive.in_split(Split.TRAIN)]
    labels = toy_archive.labels(tuple(COLOURS), image_ids=ids).argmax(1)
    return Pictures(toy_archive, ENCODER).taught(toy_embeddings.rows(ids), labels, len(COLOURS))


def toy(seed=0, counts=(60, 20, 6)):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(3), counts))
    centres = np.random.default_rng(9).normal(size=(3, 8))
    rows = (1.5 * centres[labels] + rng.normal(size=(len(labels), 8))).astype(np.float32)
    return Taught(rows, labels, 3, np.arange(len(labels)) // 2)


# --- maps ------------------------------------------------------------------------------------------------------------


def linear(taught, seed=0):
    head = Linear(taught.features.shape[1], taught.classes)
    with torch.no_grad():
        head.last.weight.normal_(generator=torch.Generator().manual_seed(seed))
    return head


def test_a_linear_heads_map_is_its_weights_times_the_tokens(seen):
    """Zhou et al. by hand: of the columns that are the mean of the tokens, in the units that the head reads."""
    head, images = linear(seen), seen.given(np.arange(5), 0)
    labels = torch.tensor([0, 1, 2, 1, 0])
    found = maps_of(seen.tower, head)(images, labels)
    encoder = seen.tower.encoder
    first, last = encoder.spec.blocks[encoder.spec.token_block]
    rows, columns = encoder.spec.grid
    with torch.no_grad():
        tokens = encoder.tokens(images)
    for i, label in enumerate(labels):
        weights = head.last.weight[label, first:last] / seen.tower.scale[first:last]
        plain = (tokens[i] @ weights).reshape(1, 1, rows, columns).detach()
        large = torch.nn.functional.interpolate(plain, size=images.shape[2:], mode="bilinear", align_corners=False)[
            0, 0
        ]
        large = large - large.min()
        torch.testing.assert_close(found[i], large / large.sum())
    torch.testing.assert_close(found.sum(dim=(1, 2)), torch.ones(5))


def test_a_network_that_knows_nothing_looks_everywhere(seen):
    """At first a linear head is 0: the shares of SnapMix are then those of the area, as in CutMix."""
    images = seen.given(np.arange(3), 0)
    found = maps_of(seen.tower, Linear(seen.features.shape[1], 3))(images, torch.zeros(3, dtype=torch.int64))
    torch.testing.assert_close(found, torch.full_like(found, 1 / found[0].numel()))


def test_asking_for_a_map_leaves_no_gradient_and_no_mode_behind(seen):
    head, images = linear(seen), seen.given(np.arange(3), 0)
    seen.tower.train()
    maps_of(seen.tower, head)(images, torch.tensor([0, 1, 2]))
    assert seen.tower.training
    assert all(p.grad is None for p in (*head.parameters(), *seen.tower.parameters()))


# --- SnapMix ---------------------------------------------------------------------------------------------------------


def test_snapmix_by_hand(monkeypatch):
    """Own box 2 x 2 at the top left, the other's 4 x 4 at the bottom right, of pictures of 4 and 8 by 8 places."""
    boxes = iter([(slice(0, 2), slice(0, 2)), (slice(4, 8), slice(4, 8))])
    monkeypatch.setattr(snapmix_module, "box", lambda *given: next(boxes))
    images = torch.arange(2 * 3 * 64, dtype=torch.float32).reshape(2, 3, 8, 8)
    looked = torch.zeros(2, 8, 8)
    looked[0, 0, 0], looked[0, 7, 7] = 0.75, 0.25  # three quarters of the first picture lie where it is covered
    looked[1, 4, 5], looked[1, 0, 7] = 0.1, 0.9  # a tenth of the second lies in what is taken
    rng = np.random.default_rng(3)
    found, partner, share = snapmix(images, torch.tensor([0, 1]), torch.ones(2), rng=rng, maps=lambda x, y: looked)
    assert partner.tolist() == [1, 0]
    torch.testing.assert_close(share, torch.tensor([[0.25, 0.1], [1.0, 0.25]]))
    piece = images[1, :, 4:8, 4:8].reshape(3, 2, 2, 2, 2).mean(dim=(2, 4))
    torch.testing.assert_close(found[0, :, 0:2, 0:2], piece)
    torch.testing.assert_close(found[0, :, 2:], images[0, :, 2:])


def test_both_labels_are_learned_by_their_own_shares(seen, monkeypatch):
    """The loss of a blended row is own share x own loss + other share x other loss, though they make no whole."""
    monkeypatch.setattr(training, "TOWER_PACE", 0.0)
    rows = np.arange(6)

    class Shares:
        def __call__(self, inputs, labels, counts):
            return inputs, np.roll(np.arange(6), 1), torch.tensor([[0.5, 0.2]]).expand(6, 2)

    whole = training._Whole(seen.tower, linear(seen))
    stage = training._Stage(seen, Plan(mixing="snapmix"), PACE, whole, np.random.default_rng(0), None, None)
    stage.built["mixing", "snapmix"] = Shares()
    with torch.no_grad():
        found = stage.losses(rows, 0)
        logits = whole(seen.given(rows, 0))[1]
    told = seen.told(rows)
    cross = [torch.nn.functional.cross_entropy(logits, t, reduction="none") for t in (told, told[np.roll(rows, 1)])]
    torch.testing.assert_close(found, 0.5 * cross[0] + 0.2 * cross[1])


@pytest.mark.parametrize("loss", ["cross_entropy", "balanced_softmax"])
def test_snapmix_learns_where_a_tower_learns(seen, loss):
    fitted = OneStage(mixing="snapmix", loss=loss).fit(seen, PACE, np.random.default_rng(0))
    assert np.isfinite(fitted(seen.given(np.arange(4), -1))).all()


@pytest.mark.parametrize(("part", "why"), [({"mixing": "snapmix"}, "mixing"), ({"augment": "rand_augment"}, "augment")])
def test_what_needs_pictures_refuses_frozen_features(part, why):
    with pytest.raises(UsageError, match=why):
        OneStage(**part).fit(toy(), PACE, np.random.default_rng(0))


def test_snapmix_without_maps_is_an_error_and_never_cutmix():
    with pytest.raises(UsageError, match="maps"):
        snapmix(torch.rand(4, 3, 8, 8), torch.zeros(4, dtype=torch.int64), torch.ones(1), rng=np.random.default_rng(0))


def test_augmentation_that_is_asked_for_comes_on_top(seen):
    asked = []

    def watch(augment):
        asked.append(augment)
        return seen.changed(augment)

    watched = dataclasses.replace(seen.only(np.arange(24)), changed=watch)
    OneStage(augment="rand_augment(count=1) + erase()").fit(watched, Pace(1, 12), np.random.default_rng(0))
    assert asked == ["rand_augment(count=1) + erase()"]
    with pytest.raises(UsageError, match="unknown"):
        OneStage(augment="randaugment").fit(watched, PACE, np.random.default_rng(0))


# --- RSG -------------------------------------------------------------------------------------------------------------


def generator(frequent=(True, False), centres=((0.0, 0.0), (10.0, 0.0)), number=1):
    made = rsg.Generator(torch.tensor(centres), number, 4, torch.tensor(frequent), torch.Generator().manual_seed(0))
    with torch.no_grad():
        made.map.weight.copy_(torch.tensor([[0.0, -1.0], [1.0, 0.0]]))  # a quarter turn
    return made


def test_a_made_row_is_a_rare_one_and_the_moved_way_of_a_common_one():
    rows = torch.tensor([[1.0, 2.0], [10.0, 1.0], [3.0, 0.0]])
    labels = torch.tensor([0, 1, 0])
    made, told, _ = generator().made(rows, labels, torch.Generator().manual_seed(0))
    assert told.tolist() == [1, 1]
    # The ways (1, 2) and (3, 0) from the centre 0, turned by a quarter: (-2, 1) and (0, 3), both from the one rare row.
    torch.testing.assert_close(made, torch.tensor([[8.0, 2.0], [10.0, 4.0]]))


def test_the_vector_loss_by_hand():
    """A way of length 2 that became one of length 3, at right angles to the rare way; a judge that cannot decide."""
    module = generator()
    with torch.no_grad():
        for parameter in module.judge.parameters():
            parameter.zero_()
    found = module.vector_loss(
        torch.tensor([[5.0, 5.0]]), torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 3.0]]), torch.tensor([[4.0, 0.0]])
    )
    assert found.item() == pytest.approx(np.log(2) + 1 + 1)
    along = module.vector_loss(
        torch.tensor([[5.0, 5.0]]), torch.tensor([[2.0, 0.0]]), torch.tensor([[2.0, 0.0]]), torch.tensor([[7.0, 0.0]])
    )
    assert along.item() == pytest.approx(np.log(2))


def test_the_judge_does_not_learn_from_the_vector_loss_and_the_map_does():
    module = generator()
    rows, labels = torch.tensor([[1.0, 2.0], [10.0, 1.0]]), torch.tensor([0, 1])
    module.made(rows, labels, torch.Generator().manual_seed(0))[2].backward()
    assert all(p.grad is None for p in module.judge.parameters())
    assert module.map.weight.grad.abs().sum() > 0


def test_the_centre_loss_by_hand():
    """One centre a class: mean over rows of mean squared distance; pairs add the cross-entropy of a judge of 0."""
    module = generator()
    with torch.no_grad():
        for parameter in module.judge.parameters():
            parameter.zero_()
    rows, labels = torch.tensor([[1.0, 1.0], [10.0, 2.0]]), torch.tensor([0, 1])
    assert module.centre_loss(rows, labels, pairs=False).item() == pytest.approx((1 + 2) / 2)
    assert module.centre_loss(rows, labels, pairs=True).item() == pytest.approx((1 + 2) / 2 + np.log(2))


def test_without_rare_or_without_frequent_rows_nothing_is_made():
    rows, rng = torch.rand(3, 2), torch.Generator().manual_seed(0)
    for label in (0, 1):
        made, told, loss = generator().made(rows, torch.full((3,), label), rng)
        assert (len(made), len(told), loss) == (0, 0, None)


def test_rows_are_made_only_at_the_end(monkeypatch):
    """Of ten epochs the last two, and never with start=1: then nothing but the loss of centres is added."""
    epochs, plain = [], rsg.Generator.made
    monkeypatch.setattr(rsg.Generator, "made", lambda self, *given: epochs.append(1) or plain(self, *given))
    taught, pace = toy(), Pace(epochs=10, batch=200)
    rsg.RareSampleGeneration().fit(taught, pace, np.random.default_rng(0))
    assert len(epochs) == 2
    rsg.RareSampleGeneration(start=1.0).fit(taught, pace, np.random.default_rng(0))
    assert len(epochs) == 2


@pytest.mark.parametrize("option", [{"centres": 0}, {"start": 1.5}, {"vector": -1.0}, {"loss": "asymmetric"}])
def test_rsg_refuses_what_cannot_be(option):
    with pytest.raises(UsageError):
        rsg.RareSampleGeneration(**option).fit(toy(), PACE, np.random.default_rng(0))


# --- FlexRS ----------------------------------------------------------------------------------------------------------


def test_recall_is_of_patients_whom_the_judge_never_saw():
    """Published code draws by the accuracy on validation patients, and so learns from those who judge. Judges who know
    by heart what they learned, and are wrong about all else, are asked about the other fold alone."""
    taught = toy()
    fold = (taught.groups % 2).astype(np.int64)

    class ByHeart(torch.nn.Module):
        """Right about rows with a first column of its own fold's sign, wrong about all others."""

        def __init__(self, own):
            super().__init__()
            self.own = own

        def forward(self, x):
            labels, where = x[:, 0].long(), x[:, 1].long()
            said = torch.where(where == self.own, labels, (labels + 1) % 3)
            return torch.nn.functional.one_hot(said, 3).float()

    rows = np.column_stack([taught.labels, fold]).astype(np.float32)
    known = Taught(rows, taught.labels, 3, taught.groups)
    learned_all = [Network(ByHeart(1)), Network(ByHeart(0))]  # judge 0 learned fold 1 by heart, and judge 1 fold 0
    found = flex_rs.out_of_fold_recall(known, learned_all, fold)
    np.testing.assert_allclose(found, 1 / (taught.counts + 2))
    right = flex_rs.out_of_fold_recall(known, learned_all[::-1], fold)
    np.testing.assert_allclose(right, (taught.counts + 1) / (taught.counts + 2))


def test_no_judge_is_taught_its_own_fold(monkeypatch):
    """Gradients of a judge from a batch of its own fold alone are none at all."""
    steps = []

    def learn(taught, networks, losses, pace, rng, name, *, before, draw):
        fold = flex_rs.patient_folds(taught.groups, 2, np.random.default_rng(5))
        for number, judge in enumerate(networks[1:]):
            losses(np.flatnonzero(fold == number), 0).sum().backward()
            steps.append(judge.head.last.weight.grad)
            for network in networks:
                network.head.zero_grad()

    monkeypatch.setattr(flex_rs, "learn_together", learn)
    flex_rs.FlexibleSampling(folds=2).fit(toy(), PACE, np.random.default_rng(5))
    assert steps == [None, None] or all(s is None or not s.any() for s in steps)


def test_a_class_that_is_missed_is_drawn_more_often(monkeypatch):
    drawn = []

    def learn(taught, networks, losses, pace, rng, name, *, before, draw):
        rows = np.arange(len(taught.labels))
        for epoch in range(2):
            before(epoch)
            drawn.append(np.bincount(taught.labels[draw(rows, np.random.default_rng(epoch))], minlength=3))

    monkeypatch.setattr(flex_rs, "learn_together", learn)
    monkeypatch.setattr(flex_rs, "out_of_fold_recall", lambda *given: np.array([0.9, 0.9, 0.05]))
    flex_rs.FlexibleSampling().fit(toy(), PACE, np.random.default_rng(0))
    assert drawn[0][2] < 15 < 40 < drawn[1][2]  # 6 of 86 rows at first, then 18 shares of 18 + 80 / 0.9 · 0.05


@pytest.mark.parametrize("option", [{"folds": 1}, {"folds": 99}, {"loss": "asymmetric"}])
def test_flex_rs_refuses_what_cannot_be(option):
    with pytest.raises(UsageError):
        flex_rs.FlexibleSampling(**option).fit(toy(), PACE, np.random.default_rng(0))
