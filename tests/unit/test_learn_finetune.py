"""Setting towers free: what changes, what is saved, what the tower sees."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from tapetum.core.errors import UsageError
from tapetum.learn import PretrainConfig, embed, load_model, pretrain, zero_shot
from tapetum.learn.embed import decode_side
from tapetum.learn.embedder import Embedder
from tapetum.learn.finetune import fine_tune
from tapetum.learn.gradient import AlignmentLoss
from tapetum.learn.loop import LoopSettings
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

    def __init__(self, archive):
        self.archive, self.asked = archive, []

    def pixels(self, image_id, *, min_side):
        self.asked.append((image_id, min_side))
        return self.archive.pixels(image_id, min_side=min_side)


def parts(archive, embeddings):
    found = []
    pretrain(archive, dataclasses.replace(CONFIG), embeddings=embeddings, rearrange=lambda p: found.append(p) or p)
    from tapetum.core.registry import Family

    return found[0], Family("tapetum.learn.tasks").build("ridge").fit(found[0], np.random.default_rng(0))


def test_the_tower_sees_the_pixels_that_are_embedded_in_the_order_of_the_pairs(toy_archive, toy_embeddings):
    pairs, start = parts(toy_archive, toy_embeddings)
    seen, asked = Seen(toy_archive), []
    loss = AlignmentLoss("clip", 0.95)
    features = []

    def spy(image, text, match, *, scale, bias):
        features.append(image.detach())
        return AlignmentLoss("clip", 0.95).function(image, text, match, scale=scale, bias=bias)

    object.__setattr__(loss, "function", spy)
    reference = start.aligner.encode_image(torch.from_numpy(pairs.features)).detach()
    settings = LoopSettings(epochs=1, batch=8, learning_rate=0.0, weight_decay=0.0)
    fine_tune(
        seen, pairs, start, Embedder(ENCODER, threads=1, backend="torch"), unfreeze="all", loss=loss,
        settings=settings, rng=np.random.default_rng(0),
    )  # fmt: skip
    asked = [i for i, _ in seen.asked]
    assert {side for _, side in seen.asked} == {decode_side(32)}
    place = {image_id: i for i, image_id in enumerate(pairs.image_ids)}
    rows = torch.tensor([place[i] for i in asked])
    encoded = torch.cat([f for f in features if f.shape[1] > 1])  # the level of chance is asked for with one column
    torch.testing.assert_close(encoded, reference[rows], atol=1e-4, rtol=1e-3)


def test_another_share_is_refused(toy_archive, toy_embeddings):
    pairs, start = parts(toy_archive, toy_embeddings)
    with pytest.raises(UsageError):
        fine_tune(
            toy_archive, pairs, start, Embedder(ENCODER, threads=1), unfreeze="none", loss=AlignmentLoss("clip", 0.95),
            settings=LoopSettings(), rng=np.random.default_rng(0),
        )  # fmt: skip
