"""Towers that learn with the head: they start where the frozen ones stand, move, and keep their batch norms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tapetum.core.errors import DataError, UsageError
from tapetum.core.types import Split
from tapetum.learn.classifying import pictures
from tapetum.learn.classifying.pictures import Pictures
from tapetum.learn.classifying.plan import Pace
from tapetum.learn.methods.one_stage import OneStage
from toys import COLOURS, ENCODER, clinic


@pytest.fixture(scope="module")
def rows(toy_archive, toy_embeddings):
    ids = [r.image_id for r in toy_archive.in_split(Split.TRAIN)]
    labels = toy_archive.labels(tuple(COLOURS), image_ids=ids)
    return toy_embeddings.rows(ids), labels.argmax(1)


def test_the_tower_starts_where_the_frozen_features_stand(toy_archive, rows):
    taught = Pictures(toy_archive, ENCODER, augment="").taught(*rows, len(COLOURS))
    with torch.no_grad():
        found = taught.tower(taught.given(np.arange(8), 0)).numpy()
    np.testing.assert_allclose(found, taught.features[:8], atol=1e-3)
    assert taught.features.std(axis=0).max() == pytest.approx(1, abs=1e-3)


def test_it_learns_and_the_given_tower_stays(toy_archive, rows):
    made = Pictures(toy_archive, ENCODER, augment="geometric()")
    taught = made.taught(*rows, len(COLOURS))
    before = {name: p.detach().clone() for name, p in taught.tower.named_parameters()}
    network = OneStage().fit(taught, Pace(epochs=8, batch=16, learning_rate=0.02), np.random.default_rng(0))
    for name, p in taught.tower.named_parameters():
        torch.testing.assert_close(p.detach(), before[name])
    moved = [not torch.equal(p.detach(), before[name]) for name, p in network.tower.named_parameters()]
    assert any(moved)
    test = [r.image_id for r in toy_archive.in_split(Split.TEST)]
    truth = toy_archive.labels(tuple(COLOURS), image_ids=test).argmax(1)
    assert (network(made.asked(test)).argmax(1) == truth).mean() > 0.8


def test_rows_can_be_chosen(toy_archive, rows):
    taught = Pictures(toy_archive, ENCODER, augment="").taught(*rows, len(COLOURS))
    some = taught.only(np.array([5, 2]))
    torch.testing.assert_close(some.given(np.array([0, 1]), 0), taught.given(np.array([5, 2]), 0))


def test_pictures_of_several_archives_are_each_found_where_they_lie(toy_archive, toy_embeddings, rows, tmp_path):
    other = clinic(tmp_path / "other", labels={name: name for name in COLOURS}, patients=4, seed=5)
    ids = [*rows[0].image_ids[:3], *(r.image_id for r in other.records[:2]), rows[0].image_ids[3]]
    both = Pictures((toy_archive, other), ENCODER).asked(ids)
    torch.testing.assert_close(both[[0, 1, 2, 5]], Pictures(toy_archive, ENCODER).asked([*ids[:3], ids[5]]))
    torch.testing.assert_close(both[3:5], Pictures(other, ENCODER).asked(ids[3:5]))
    with pytest.raises(DataError):
        Pictures((toy_archive, other), ENCODER).asked(["nowhere"])


def test_a_change_comes_after_the_augmentation_and_draws_the_same(toy_archive, rows):
    taught = Pictures(toy_archive, ENCODER, augment="geometric()").taught(*rows, len(COLOURS)).only(np.array([4, 1, 7]))
    plain, same = taught.inputs, taught.changed("photometric(strength=0.0)")
    bright = taught.changed("photometric(strength=1.0)")
    at = np.array([2, 0])
    torch.testing.assert_close(same(at, 3), plain(at, 3))
    assert not torch.allclose(bright(at, 3), plain(at, 3))
    torch.testing.assert_close(bright(at, -1), plain(at, -1))  # held-out rows stay as they are


def test_batch_norms_keep_their_statistics():
    class Normed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = torch.nn.BatchNorm2d(3)

        def forward(self, x):
            return self.norm(x).mean(dim=(2, 3))

    tower = pictures.Tower(Normed(), np.zeros(3), np.ones(3))
    tower.train()
    tower(torch.randn(4, 3, 8, 8) + 5)
    assert tower.encoder.norm.running_mean.abs().max() == 0
    assert tower.training


def test_several_towers_and_too_many_pictures_are_refused(toy_archive, rows, monkeypatch):
    with pytest.raises(UsageError, match="towers"):
        Pictures(toy_archive, f"{ENCODER} + tiny(size=32, dim=16, seed=1)").taught(*rows, len(COLOURS))
    monkeypatch.setattr(pictures, "MOST", 10)
    with pytest.raises(UsageError, match="GB"):
        Pictures(toy_archive, ENCODER).asked([toy_archive.records[0].image_id])
