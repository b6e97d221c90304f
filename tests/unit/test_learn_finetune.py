"""Setting towers free: what changes, what is saved, what the tower sees."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch

from tapetum.core.errors import UsageError
from tapetum.learn import PretrainConfig, embed, load_model, pretrain, zero_shot
from tapetum.learn.aligner.finetune import fine_tune
from tapetum.learn.aligner.objective import AlignmentLoss
from tapetum.learn.features.embed import decode_side
from tapetum.learn.features.embedder import Embedder
from tapetum.learn.training.checkpoint import Saver, Saving
from tapetum.learn.training.loop import LoopSettings
from tapetum.nets import build_encoder
from toys import COLOURS, ENCODER, TEXT

CONFIG = PretrainConfig(
    encoders=ENCODER, text_encoder=TEXT, text="report", prompt_set="name", threads=1, fine_tuning_epochs=1,
    fine_tuning_batch=16, fine_tuning_rate=1e-2,
)  # fmt: skip
FINDINGS = tuple(COLOURS)


@pytest.fixture(scope="module", params=["last", "all"])
def tuned(request, toy_archive, toy_embeddings):
    config = dataclasses.replace(CONFIG, unfreeze=request.param)
    return request.param, pretrain(toy_archive, config, embeddings=toy_embeddings)


def test_the_right_share_of_the_tower_changes(tuned):
    share, model = tuned
    before = dict(build_encoder(ENCODER).named_parameters())
    changed = [not torch.equal(model.towers[0][name], p.detach()) for name, p in before.items()]
    first = 0 if share == "all" else len(before) * 3 // 4
    assert not any(changed[:first])
    assert all(changed[first:])


def test_saved_and_loaded_it_predicts_the_same(tuned, toy_archive, tmp_path):
    _, model = tuned
    again = load_model(model.save(tmp_path / "model"))
    assert again.digest == model.digest
    features = [embed(toy_archive, m.embedder(threads=1)) for m in (model, again)]
    np.testing.assert_array_equal(features[0].features, features[1].features)
    ours, theirs = (zero_shot(m, f, FINDINGS) for m, f in zip((model, again), features, strict=True))
    np.testing.assert_array_equal(ours.logits, theirs.logits)


def test_its_rows_are_not_those_of_the_frozen_tower(tuned, toy_archive, toy_embeddings):
    _, model = tuned
    assert not np.allclose(embed(toy_archive, model.embedder(threads=1)).features, toy_embeddings.features)


def test_the_log_tells_of_both_stages(tuned):
    _, model = tuned
    assert "penalty" in model.log
    assert "held-out" in model.log["fine_tuning"]["line"]


class Seen:
    """An archive that notes what was asked of it."""

    def __init__(self, archive, cache):
        self.archive, self.asked, self.cache, self.records = archive, [], cache, archive.records

    def pixels(self, image_id, *, min_side):
        self.asked.append((image_id, min_side))
        return self.archive.pixels(image_id, min_side=min_side)


def parts(archive, embeddings):
    found = []
    pretrain(archive, dataclasses.replace(CONFIG), embeddings=embeddings, rearrange=lambda p: found.append(p) or p)
    from tapetum.core.registry import Family

    return found[0], Family("tapetum.learn.tasks").build("ridge").fit(found[0], np.random.default_rng(0))


def tune(archive, pairs, start, *, epochs=1, **more):
    """Fine-tune with a rate of 0; what the loss was given: image side, rows of the pairs by their text features."""
    loss, features = AlignmentLoss("clip"), []

    def spy(image, text, match, *, scale, bias):
        if image.shape[1] > 1:  # the level of chance is asked for with one column
            features.append((image.detach(), torch.is_grad_enabled()))
        return AlignmentLoss("clip").function(image, text, match, scale=scale, bias=bias)

    object.__setattr__(loss, "function", spy)
    settings = LoopSettings(epochs=epochs, batch=8, learning_rate=0.0, weight_decay=0.0)
    fine_tune(
        archive, pairs, start, Embedder(ENCODER, threads=1, backend="torch"), unfreeze="all", loss=loss,
        settings=settings, rng=np.random.default_rng(0), **more,
    )  # fmt: skip
    return features


def test_the_tower_sees_the_pixels_that_are_embedded(toy_archive, toy_embeddings, tmp_path):
    pairs, start = parts(toy_archive, toy_embeddings)
    seen = Seen(toy_archive, tmp_path)
    reference = start.aligner.encode_image(torch.from_numpy(pairs.features)).detach()
    encoded = torch.cat([f for f, _ in tune(seen, pairs, start)])
    # Every row once, in some order: each encoded image is the reference of one image and of no other.
    nearest = (encoded @ reference.T).argmax(1)
    assert sorted(nearest.tolist()) == list(range(len(reference)))
    torch.testing.assert_close(encoded, reference[nearest], atol=1e-4, rtol=1e-3)
    assert sorted(i for i, _ in seen.asked) == sorted(pairs.image_ids)
    assert {side for _, side in seen.asked} == {decode_side(32)}


def test_each_image_is_decoded_once_and_held_out_ones_are_not_augmented(toy_archive, toy_embeddings, tmp_path):
    pairs, start = parts(toy_archive, toy_embeddings)
    seen = Seen(toy_archive, tmp_path)
    features = tune(seen, pairs, start, epochs=2, augment="photometric()")
    assert len(seen.asked) == len(pairs.image_ids)
    reference = start.aligner.encode_image(torch.from_numpy(pairs.features)).detach()

    def away(trained):
        found = torch.cat([f for f, grad in features if grad == trained])
        return (1 - (found @ reference.T).amax(1)).max()

    assert away(False) < 1e-4
    assert away(True) > 1e-2


def test_another_share_is_refused(toy_archive, toy_embeddings):
    pairs, start = parts(toy_archive, toy_embeddings)
    with pytest.raises(UsageError):
        fine_tune(
            toy_archive, pairs, start, Embedder(ENCODER, threads=1), unfreeze="none", loss=AlignmentLoss("clip"),
            settings=LoopSettings(), rng=np.random.default_rng(0),
        )  # fmt: skip


def test_killed_and_called_again_it_ends_with_the_same_weights(toy_archive, toy_embeddings, tmp_path, monkeypatch):
    pairs, start = parts(toy_archive, toy_embeddings)
    settings = LoopSettings(epochs=2, batch=24, learning_rate=1e-2, ema=0.9)

    def tuned(folder):
        saving = Saving(folder, every_steps=1) if folder else None
        fitted, states = fine_tune(
            toy_archive, pairs, copy.deepcopy(start), Embedder(ENCODER, threads=1, backend="torch"), unfreeze="all",
            loss=AlignmentLoss("clip"), settings=settings, rng=np.random.default_rng(0), augment="photometric()",
            chunk=8, saving=saving,
        )  # fmt: skip
        return {**states[0], **fitted.aligner.state_dict()}, fitted

    whole, fitted = tuned(None)
    write, calls = Saver.write, []

    def killed(self):
        write(self)
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Saver, "write", killed)
    with pytest.raises(KeyboardInterrupt):
        tuned(tmp_path)
    again, _ = tuned(tmp_path)
    assert all(torch.equal(again[name], tensor) for name, tensor in whole.items())
    assert "activations" in fitted.log["fine_tuning"]["memory"]
