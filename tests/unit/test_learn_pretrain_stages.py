"""Stages of pretraining: towers refined on images, towers set free, killed runs that go on, settings that exclude."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from tapetum.bench.pages.training import write_run
from tapetum.core.errors import ArtefactError, UsageError
from tapetum.core.types import Split
from tapetum.learn import PretrainConfig, embed, load_model, pretrain, zero_shot
from tapetum.learn.training.checkpoint import Saver, Saving
from tapetum.learn.training.runlog import Watch
from tapetum.nets import build_encoder
from toys import COLOURS, ENCODER, TEXT, clinic

CONFIG = PretrainConfig(
    encoders=ENCODER, text_encoder=TEXT, text="report", prompt_set="name", threads=1, unfreeze="last",
    fine_tuning_epochs=2, fine_tuning_batch=8, fine_tuning_rate=1e-2,
)  # fmt: skip
REFINED = dataclasses.replace(
    CONFIG, unfreeze="none", self_supervision="simclr(hidden=8, dim=8)", self_supervision_epochs=2,
    self_supervision_batch=8,
)  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """24 patients, so that no stage takes long."""
    return clinic(tmp_path_factory.mktemp("stages") / "small", patients=24, labels={name: name for name in COLOURS})


@pytest.fixture(scope="module")
def rows(small):
    return embed(small, ENCODER, threads=1)


@pytest.fixture(scope="module")
def refined(small, rows):
    return pretrain(small, REFINED, embeddings=rows)


def killed_at(monkeypatch, number: int) -> None:
    """The process ends after so many checkpoints."""
    write, calls = Saver.write, []

    def killed(self):
        write(self)
        calls.append(1)
        if len(calls) == number:
            raise KeyboardInterrupt

    monkeypatch.setattr(Saver, "write", killed)


@pytest.mark.parametrize(
    "config",
    [dataclasses.replace(CONFIG, augment="photometric()", chunk=4, ema=0.9, task="contrastive(epochs=2)"), REFINED],
    ids=["fine-tuning", "self-supervision"],
)
def test_a_killed_run_goes_on_bit_for_bit(small, rows, tmp_path, monkeypatch, config):
    saving = Saving(tmp_path, every_steps=2, every_seconds=0)
    whole = pretrain(small, config, embeddings=rows)
    with monkeypatch.context() as patch:
        killed_at(patch, 2)
        with pytest.raises(KeyboardInterrupt):
            pretrain(small, config, embeddings=rows, saving=saving)
    again = pretrain(small, config, embeddings=rows, saving=saving)
    assert again.digest == whole.digest
    other = dataclasses.replace(config, seed=1)
    with pytest.raises(ArtefactError, match="belongs to another run"):
        pretrain(small, other, embeddings=rows, saving=saving)


def test_refined_towers_are_used_and_kept(small, rows, refined, tmp_path):
    before = build_encoder(ENCODER).state_dict()
    assert any(not torch.equal(refined.towers[0][name], tensor) for name, tensor in before.items())
    again = load_model(refined.save(tmp_path / "model"))
    assert again.digest == refined.digest
    mine = embed(small, again.embedder(threads=1))
    assert not np.allclose(mine.features, rows.features)
    assert np.isfinite(zero_shot(again, mine, tuple(COLOURS)).logits).all()
    told = again.log["self_supervision"]["0"]
    assert told["images"] == len(small.in_split(Split.TRAIN))
    assert len(told["train_loss"]) == 2
    assert again.log["penalty"] > 0
    assert math.isclose(min(told["curve"]["rate"][1:]), told["curve"]["rate"][-1])  # it decays
    assert write_run(again, tmp_path / "run") is not None
    assert "learning rate of Self-supervision" in (tmp_path / "run" / "run.html").read_text()


def test_images_that_are_left_out_are_left_out_of_every_stage(small, rows):
    config = dataclasses.replace(REFINED, self_supervision_epochs=1, leave_out=("glaucoma",))
    model = pretrain(small, config, embeddings=rows)
    named = [r for r in small.in_split(Split.TRAIN) if "glaucoma" in r.report]
    assert named
    assert model.log["self_supervision"]["0"]["images"] == len(small.in_split(Split.TRAIN)) - len(named)
    half = pretrain(small, dataclasses.replace(config, leave_out=(), keep=0.5), embeddings=rows)
    assert half.log["self_supervision"]["0"]["images"] == round(len(small.in_split(Split.TRAIN)) / 2)
    other = dataclasses.replace(config, leave_out=(), keep=0.5, reduce="information")
    assert pretrain(small, other, embeddings=rows).log["self_supervision"] != half.log["self_supervision"]


def test_local_features_are_those_of_the_refined_towers(small):
    seen = []
    config = dataclasses.replace(REFINED, self_supervision_epochs=1, task="patch_concept(epochs=1, batch=16, dim=8)")
    pretrain(small, config, rearrange=lambda pairs: seen.append(pairs) or pairs)
    first, last = seen[0].tokens.columns[0]
    pooled = seen[0].tokens.maps[0].astype(np.float32).mean(1)
    np.testing.assert_allclose(pooled, seen[0].features[:, first:last], atol=5e-3, rtol=1e-2)


def test_fine_tuning_starts_from_the_refined_towers(small, rows, refined):
    still = dataclasses.replace(
        REFINED, unfreeze="last", fine_tuning_epochs=1, fine_tuning_batch=8, fine_tuning_rate=1e-12
    )
    model = pretrain(small, still, embeddings=rows)
    for name, tensor in refined.towers[0].items():
        torch.testing.assert_close(model.towers[0][name], tensor, atol=1e-6, rtol=1e-5)
    assert {"self_supervision", "fine_tuning", "penalty"} <= set(model.log)


@pytest.mark.parametrize(
    "change",
    [
        {"augment": "photometric()"}, {"fine_tuning_loss": "siglip"}, {"fine_tuning_decay": 30.0},
        {"fine_tuning_epochs": 1}, {"sampler": "no_duplicate_patients"},
    ],
)  # fmt: skip
def test_every_setting_of_fine_tuning_reaches_it(small, rows, tuned, change):
    other = pretrain(small, dataclasses.replace(CONFIG, **change), embeddings=rows)
    assert any(not torch.equal(other.towers[0][name], tensor) for name, tensor in tuned.towers[0].items())


def test_settings_of_the_loop_stand_in_the_log(small, rows):
    config = dataclasses.replace(
        CONFIG, ema=0.5, fine_tuning_patience=3, fine_tuning_decay=0.2, fine_tuning_epochs=1, fine_tuning_batch=12
    )
    told = pretrain(small, config, embeddings=rows).log["fine_tuning"]
    wanted = {"ema": 0.5, "patience": 3, "weight_decay": 0.2, "epochs": 1, "batch": 12, "learning_rate": 1e-2}
    assert wanted.items() <= told["settings"].items()
    assert len(told["average_loss"]) == 1


@pytest.fixture(scope="module")
def tuned(small, rows):
    return pretrain(small, CONFIG, embeddings=rows)


def test_in_chunks_it_ends_in_the_same_place(small, rows, tuned):
    other = pretrain(small, dataclasses.replace(CONFIG, chunk=3), embeddings=rows)
    for name, tensor in tuned.towers[0].items():
        torch.testing.assert_close(other.towers[0][name], tensor, atol=1e-4, rtol=1e-3)


def test_who_looks_on_is_told_of_both_stages(small, rows):
    told = []

    class Note:
        def stage(self, name):
            told.append(name)

        def step(self, step, steps, loss, rate):
            told.append("step")

        def epoch(self, epoch, history):
            told.append("epoch")

    config = dataclasses.replace(REFINED, unfreeze="last", self_supervision_epochs=1, fine_tuning_epochs=1)
    pretrain(small, config, embeddings=rows, watch=Watch((Note(),)))
    assert [t for t in told if t not in ("step", "epoch")] == ["self-supervision", "fine-tuning"]
    assert told.count("step") > 4


@pytest.mark.parametrize(
    "change",
    [
        {"augment": "photometric()", "unfreeze": "none"},
        {"chunk": 4, "unfreeze": "none"},
        {"ema": 0.9, "unfreeze": "none"},
        {"parallel": "ddp", "unfreeze": "none"},
        {"parallel": "fsdp"},
        {"parallel": "fsdp", "chunk": 4},
        {"parallel": "after"},
        {"parallel": "ddp"},  # not started by torchrun
        {"keep": 0.5},
        {"self_supervision": "simclr", "reduce": "information"},
        {"self_supervision": "simclrr"},
        {"self_supervision": "simclr", "keep": 0.0},
        {"self_supervision": "simclr", "self_supervision_unfreeze": "some"},
        {"augment": "photometrik()"},
        {"fine_tuning_loss": "clipp"},
    ],
)
def test_settings_that_cannot_be_are_refused(small, rows, change):
    with pytest.raises(UsageError):
        pretrain(small, dataclasses.replace(CONFIG, **change), embeddings=rows)
