"""Refining towers on an archive's images: what is read, what changes, what is kept, what is said of it."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from tapetum.core.errors import ArtefactError, DataError, UsageError
from tapetum.core.registry import Family
from tapetum.core.types import Split
from tapetum.learn import embed
from tapetum.learn.features.embedder import Embedder
from tapetum.learn.pretext import run as run_module
from tapetum.learn.pretext.run import SelfSupervisionConfig, self_supervise
from tapetum.learn.training.checkpoint import Saver, Saving
from tapetum.nets import build_encoder
from toys import ENCODER

FAST = SelfSupervisionConfig("simclr(hidden=16, dim=8)", epochs=2, batch=16, learning_rate=3e-3)
SMALL = {
    "simclr": "simclr(hidden=16, dim=8)", "moco": "moco(hidden=16, dim=8, queue=24)",
    "dino": "dino(hidden=16, dim=8, prototypes=12)", "mae": "mae(width=16, heads=2)",
    "gradient_masked": "gradient_masked(width=16, heads=2)",
    "knowledge_masked": "knowledge_masked(width=16, heads=2)",
}  # fmt: skip
FAMILY = Family("tapetum.learn.self_supervision")


class Wordless:
    """An archive that says nothing but pixels, patients and splits."""

    class Record:
        def __init__(self, record):
            self.image_id, self.patient_id = record.image_id, record.patient_id

    def __init__(self, archive):
        self.archive, self.cache, self.digest, self.name = archive, archive.cache, archive.digest, archive.name
        self.records = tuple(self.Record(r) for r in archive.records)
        self.read = []

    def pixels(self, image_id, *, min_side):
        return self.archive.pixels(image_id, min_side=min_side)

    def in_split(self, split):
        assert split is Split.TRAIN
        return tuple(self.Record(r) for r in self.archive.in_split(split))


@pytest.mark.parametrize("name", FAMILY.names())
def test_the_states_are_taken_by_an_embedder(name, toy_archive):
    config = dataclasses.replace(FAST, objective=SMALL[name], text="report", epochs=1)
    found = self_supervise(toy_archive, ENCODER, config)
    again = Embedder(ENCODER, threads=1, backend="torch", states=found.states)
    before = dict(build_encoder(ENCODER).named_parameters())
    assert all(not torch.equal(found.states[0][n], p.detach()) for n, p in before.items())
    rows = embed(toy_archive, again, image_ids=[r.image_id for r in toy_archive.records[:4]])
    assert np.isfinite(rows.features).all()
    told = found.log["0"]
    assert told["images"] == len(toy_archive.in_split(Split.TRAIN))
    assert len(told["train_loss"]) == 1
    assert told["line"].startswith("loss ")
    assert bool(told["spread"]) == ("tokens" not in FAMILY.member(name).NEEDS)


@pytest.mark.parametrize("name", [n for n in FAMILY.names() if "words" not in FAMILY.member(n).NEEDS])
def test_no_word_and_no_label_is_read(name, toy_archive):
    config = dataclasses.replace(FAST, objective=SMALL[name], epochs=1)
    found = self_supervise(Wordless(toy_archive), ENCODER, config)
    with_words = self_supervise(toy_archive, ENCODER, config)
    assert all(torch.equal(v, with_words.states[0][k]) for k, v in found.states[0].items())


def test_the_masked_words_do_need_them(toy_archive):
    config = dataclasses.replace(FAST, objective=SMALL["knowledge_masked"], text="report", epochs=1)
    with pytest.raises(AttributeError):
        self_supervise(Wordless(toy_archive), ENCODER, config)


def test_other_words_teach_another_tower(toy_archive):
    config = dataclasses.replace(FAST, objective=SMALL["knowledge_masked"], text="report", epochs=1)
    plain = self_supervise(toy_archive, ENCODER, config)
    other = dataclasses.replace(
        toy_archive, records=tuple(dataclasses.replace(r, report="no comment today") for r in toy_archive.records)
    )
    changed = self_supervise(other, ENCODER, config)
    assert not all(torch.equal(v, changed.states[0][k]) for k, v in plain.states[0].items())


def test_only_the_training_patients_are_looked_at(toy_archive):
    asked: list[str] = []

    class Noting(Wordless):
        def pixels(self, image_id, *, min_side):
            asked.append(image_id)
            return super().pixels(image_id, min_side=min_side)

    noting = Noting(toy_archive)
    noting.cache = toy_archive.cache / "noting"
    self_supervise(noting, ENCODER, dataclasses.replace(FAST, epochs=1))
    assert sorted(asked) == sorted(r.image_id for r in toy_archive.in_split(Split.TRAIN))


def test_the_callers_towers_are_left_as_they_are(toy_archive):
    embedder = Embedder(ENCODER, threads=1, backend="torch")
    tower = embedder.runners[0].encoder
    before = {k: v.clone() for k, v in tower.state_dict().items()}
    self_supervise(toy_archive, embedder, dataclasses.replace(FAST, epochs=1))
    assert all(torch.equal(v, before[k]) for k, v in tower.state_dict().items())


def test_it_starts_from_the_states_of_the_towers_that_are_given(toy_archive):
    config = dataclasses.replace(FAST, epochs=1, learning_rate=1e-12)
    state = {k: v + 0.25 for k, v in build_encoder(ENCODER).state_dict().items()}
    found = self_supervise(toy_archive, Embedder(ENCODER, backend="torch", states={0: state}), config)
    for key, value in found.states[0].items():
        torch.testing.assert_close(value, state[key], atol=1e-6, rtol=1e-6)


def test_the_last_quarter_alone_changes(toy_archive):
    found = self_supervise(toy_archive, ENCODER, dataclasses.replace(FAST, unfreeze="last"))
    before = dict(build_encoder(ENCODER).named_parameters())
    changed = [not torch.equal(found.states[0][n], p.detach()) for n, p in before.items()]
    first = len(before) * 3 // 4
    assert not any(changed[:first])
    assert all(changed[first:])


def test_several_towers_each_by_itself_and_steps_counted_over_all(toy_archive):
    steps: list[tuple[int, int]] = []
    both = f"{ENCODER} + tiny(size=32, dim=8, seed=1)"
    found = self_supervise(toy_archive, both, FAST, on_step=lambda s, n, loss, rate: steps.append((s, n)))
    assert sorted(found.states) == [0, 1]
    alone = self_supervise(toy_archive, ENCODER, FAST)
    assert all(torch.equal(v, found.states[0][k]) for k, v in alone.states[0].items())
    assert [s for s, _ in steps] == list(range(len(steps)))
    assert {n for _, n in steps} == {len(steps)}
    curves = [found.log[place]["curve"] for place in ("0", "1")]
    assert [curve["steps"] for curve in curves] == [len(steps) / 2] * 2
    assert all(curve["loss"] for curve in curves)


def test_a_share_of_the_images_is_chosen_by_their_features(toy_archive):
    found = self_supervise(toy_archive, ENCODER, dataclasses.replace(FAST, epochs=1, keep=0.5))
    train = len(toy_archive.in_split(Split.TRAIN))
    assert found.log["0"]["images"] == round(train / 2)


def test_the_moving_average_is_kept(toy_archive):
    found = self_supervise(toy_archive, ENCODER, dataclasses.replace(FAST, ema=0.9))
    assert found.log["0"]["averaged"]
    plain = self_supervise(toy_archive, ENCODER, FAST)
    assert not torch.equal(found.states[0]["layers.0.weight"], plain.states[0]["layers.0.weight"])


@pytest.mark.parametrize("name", ["moco", "dino", "mae", "knowledge_masked"])
def test_killed_and_called_again_it_ends_with_the_same_weights(name, toy_archive, tmp_path, monkeypatch):
    config = dataclasses.replace(FAST, objective=SMALL[name], text="report")
    whole = self_supervise(toy_archive, ENCODER, config)
    write, calls = Saver.write, []

    def killed(self):
        write(self)
        calls.append(1)
        if len(calls) == 5:  # of 8 steps: inside the second epoch
            raise KeyboardInterrupt

    monkeypatch.setattr(Saver, "write", killed)
    saving = Saving(tmp_path, every_steps=1)
    with pytest.raises(KeyboardInterrupt):
        self_supervise(toy_archive, ENCODER, config, saving=saving)
    again = self_supervise(toy_archive, ENCODER, config, saving=saving)
    assert all(torch.equal(v, again.states[0][k]) for k, v in whole.states[0].items())
    told, wanted = dict(again.log["0"]), dict(whole.log["0"])
    rest, curve = told.pop("curve"), wanted.pop("curve")
    np.testing.assert_equal(told, wanted)
    assert rest["loss"] == curve["loss"][5:]  # the steps before the kill were seen by the run that was killed
    assert again.alarms == whole.alarms


def test_another_task_does_not_go_on_from_there(toy_archive, tmp_path):
    saving = Saving(tmp_path)
    self_supervise(toy_archive, ENCODER, dataclasses.replace(FAST, epochs=1), saving=saving)
    other = dataclasses.replace(FAST, epochs=1, objective="simclr(hidden=16, dim=8, temperature=0.5)")
    with pytest.raises(ArtefactError, match="belongs to another run"):
        self_supervise(toy_archive, ENCODER, other, saving=saving)


# --- what is said of it -----------------------------------------------------------------------------------------------


def test_a_collapse_is_told(toy_archive, monkeypatch):
    """Attraction without negatives: all images end as one."""

    def attraction(first, second, *, temperature):
        return 1 - torch.nn.functional.cosine_similarity(first, second)

    healthy = self_supervise(toy_archive, ENCODER, dataclasses.replace(FAST, epochs=4))
    assert not any("collapsed" in alarm for alarm in healthy.alarms)
    monkeypatch.setattr("tapetum.learn.self_supervision.simclr.nt_xent", attraction)
    config = dataclasses.replace(FAST, epochs=30, learning_rate=1e-2, head_rate=1e-2)
    found = self_supervise(toy_archive, ENCODER, config)
    assert found.log["0"]["spread"][-1] < run_module.COLLAPSED < healthy.log["0"]["spread"][-1]
    assert any(
        "embeddings of simclr" in alarm and "collapsed" in alarm and "tiny-32" in alarm for alarm in found.alarms
    )


def test_features_that_lost_their_spread_are_told(toy_archive, monkeypatch):
    stds = iter([1.0, 0.05])
    monkeypatch.setattr(run_module, "_rms_deviation", lambda features: next(stds))
    found = self_supervise(toy_archive, ENCODER, dataclasses.replace(FAST, epochs=1))
    assert any("the features collapsed: their standard deviation fell from 1 to 0.05" in a for a in found.alarms)


def test_a_loss_at_chance_is_told(toy_archive):
    config = dataclasses.replace(FAST, objective=SMALL["mae"], epochs=1, learning_rate=1e-9, head_rate=1e-9)
    found = self_supervise(toy_archive, ENCODER, config)
    assert any("did not leave chance" in alarm for alarm in found.alarms)


def test_a_batch_that_is_not_finite_is_named(toy_archive, monkeypatch):
    original = run_module._Tower.loss_of
    calls = []

    def broken(self, rows, epoch):
        calls.append(rows)
        loss = original(self, rows, epoch)
        return loss * math.nan if len(calls) == 4 else loss  # the first call measures memory

    monkeypatch.setattr(run_module._Tower, "loss_of", broken)
    found = self_supervise(toy_archive, ENCODER, FAST)
    ids = [r.image_id for r in toy_archive.in_split(Split.TRAIN)]
    assert found.log["0"]["bad_images"] == [ids[row] for row in calls[3]]
    assert any("not finite" in alarm and "step 2" in alarm for alarm in found.alarms)


def test_a_run_that_would_not_fit_is_refused_before_it_begins(toy_archive, monkeypatch):
    monkeypatch.setattr("tapetum.learn.training.memory.free_memory", lambda: 1000)
    with pytest.raises(UsageError, match="training would take"):
        self_supervise(toy_archive, ENCODER, FAST)


@pytest.mark.parametrize(
    "changed",
    [
        {"objective": "simclrr"}, {"objective": "simclr(tau=1)"}, {"unfreeze": "none"}, {"epochs": 0}, {"batch": 0},
        {"learning_rate": 0.0}, {"head_rate": -1.0}, {"augment": "geometrics()"}, {"keep": 0.0}, {"keep": 1.5},
        {"keep": 0.5, "reduce": "hash"}, {"objective": "knowledge_masked", "text": "reports"},
    ],
)  # fmt: skip
def test_wrong_settings_are_refused(changed, toy_archive):
    with pytest.raises(UsageError):
        self_supervise(toy_archive, ENCODER, dataclasses.replace(FAST, **changed))


def test_one_image_is_refused(toy_archive):
    with pytest.raises(DataError, match="1 images"):
        self_supervise(toy_archive, ENCODER, FAST, image_ids=[toy_archive.records[0].image_id])


def test_reports_without_a_word_are_refused(toy_archive):
    empty = dataclasses.replace(
        toy_archive, records=tuple(dataclasses.replace(r, report="") for r in toy_archive.records)
    )
    config = dataclasses.replace(FAST, objective=SMALL["knowledge_masked"], text="report")
    with pytest.raises(DataError, match=r"no image of .* has a text"):
        self_supervise(empty, ENCODER, config)
