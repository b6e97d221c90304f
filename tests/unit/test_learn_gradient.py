"""Training by gradient: what counts as a match, what chance is, who is held out."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
import torch

from tapetum.core.errors import ArtefactError
from tapetum.learn.aligner.gradient import train_aligner
from tapetum.learn.aligner.objective import AlignmentLoss
from tapetum.learn.tasks.contrastive import Contrastive
from tapetum.learn.training.checkpoint import Saving
from tapetum.learn.training.loop import LoopSettings
from tapetum.nets import Aligner
from toys import pairs

WORDS = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.999, math.sqrt(1 - 0.999**2)]])


def test_matches_are_equal_and_near_equal_texts():
    match = AlignmentLoss("clip").match(3 * WORDS)
    expected = [[1, 1, 0, 0.999], [1, 1, 0, 0.999], [0, 0, 1, 0], [0.999, 0.999, 0, 1]]
    torch.testing.assert_close(match, torch.tensor(expected))


def test_chance_of_clip_is_the_log_of_the_batch_even_with_soft_positives():
    assert AlignmentLoss("clip").chance(WORDS) == pytest.approx(math.log(4))


def test_chance_of_siglip_is_the_entropy_of_the_share_of_matches():
    words = torch.eye(4)
    share = 0.25
    entropy = -(share * math.log(share) + (1 - share) * math.log(1 - share))
    assert AlignmentLoss("siglip").chance(words) == pytest.approx(4 * entropy, rel=1e-5)
    assert float(AlignmentLoss("siglip").offset(words)) == pytest.approx(math.log(1 / 3), rel=1e-5)


def test_no_offset_does_better_than_chance():
    loss = AlignmentLoss("siglip")
    nothing, match = torch.zeros(4, 1), loss.match(WORDS)
    values = [
        float(loss.function(nothing, nothing, match, scale=torch.tensor(1.0), bias=torch.tensor(b)).mean())
        for b in np.linspace(-5, 5, 101)
    ]
    assert min(values) >= loss.chance(WORDS) - 1e-6


def test_held_out_patients_are_never_trained_on():
    found, seen = pairs(), []

    def features_of(rows, epoch):
        if torch.is_grad_enabled():
            seen.extend(rows.tolist())
        return torch.from_numpy(found.features[rows])

    settings = LoopSettings(epochs=2, batch=32)
    result = train_aligner(
        Aligner(24, 10, 8, normalise=True), found, AlignmentLoss("clip"), settings, np.random.default_rng(0),
        held_out=0.25, features_of=features_of,
    )  # fmt: skip
    trained = {found.patient_ids[i] for i in seen}
    held = {p for i, p in enumerate(found.patient_ids) if i not in seen}
    assert not trained & held
    assert len(held) == 20
    assert result.log["held_chance"] == pytest.approx(math.log(20))  # 40 rows in two batches of 20
    assert result.log["chance"] == pytest.approx(math.log(30))  # 120 rows in four batches of 30


def test_all_patients_are_trained_on_where_none_is_held_out():
    result = Contrastive(epochs=2, held_out=0.0).fit(pairs(), np.random.default_rng(0))
    assert result.log["held_loss"] == []
    assert result.log["best_epoch"] == -1


def test_a_tower_is_trained_together_with_the_aligner():
    found = pairs()
    tower = torch.nn.Linear(24, 24)
    before = tower.weight.detach().clone()
    inputs = torch.from_numpy(found.features)
    train_aligner(
        Aligner(24, 10, 8, normalise=True), found, AlignmentLoss("clip"), LoopSettings(epochs=2, batch=40),
        np.random.default_rng(0), held_out=0.2, tower=tower, features_of=lambda rows, epoch: tower(inputs[rows]),
    )  # fmt: skip
    assert not torch.equal(tower.weight.detach(), before)


def test_the_images_of_a_batch_without_a_finite_loss_are_named(tmp_path):
    found = pairs()
    inputs = torch.from_numpy(found.features.copy())
    inputs[7] = math.nan
    result = train_aligner(
        Aligner(24, 10, 8, normalise=True), found, AlignmentLoss("clip"), LoopSettings(epochs=2, batch=40),
        np.random.default_rng(0), held_out=0.0, features_of=lambda rows, epoch: inputs[rows], saving=Saving(tmp_path),
    )  # fmt: skip
    rows = json.loads((tmp_path / "bad_batch.json").read_text())["rows"]
    assert 7 in rows
    assert result.log["bad_images"] == [found.image_ids[row] for row in rows]
    assert "not finite" in result.alarms[0]


def test_another_loss_or_other_pairs_do_not_go_on_in_the_same_folder(tmp_path):
    def train(loss, found):
        aligner = Aligner(24, 10, 8, normalise=True)
        settings, rng = LoopSettings(epochs=1, batch=40), np.random.default_rng(0)
        return train_aligner(aligner, found, AlignmentLoss(loss), settings, rng, held_out=0.2, saving=Saving(tmp_path))

    first = train("clip", pairs())
    assert train("clip", pairs()).log["train_loss"] == first.log["train_loss"]
    with pytest.raises(ArtefactError, match="data: "):
        train("siglip", pairs())
    with pytest.raises(ArtefactError, match="data: "):
        train("clip", dataclasses.replace(pairs(), texts=tuple(reversed(pairs().texts))))


def test_equal_texts_of_two_patients_are_soft_positives_in_training():
    """With hard negatives two equal texts fight: the loss that treats them as one text ends nearer to its minimum."""
    found = dataclasses.replace(pairs(texts=2), texts=pairs(texts=2).texts)
    result = Contrastive(epochs=20, batch=64).fit(found, np.random.default_rng(0))
    entropy = math.log(result.log["pairs"] * 0.9 / 3 / 2)  # half of a batch of 48 shares each text
    assert result.log["train_loss"][-1] == pytest.approx(entropy, abs=0.25)
