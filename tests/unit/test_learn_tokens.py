"""Local features of an archive: those of the towers, kept on disk, refused before they fill the memory."""

from __future__ import annotations

import numpy as np
import pytest

from tapetum.core.errors import UsageError
from tapetum.core.types import Split
from tapetum.learn import PretrainConfig, load_model, pretrain, zero_shot
from tapetum.learn.features.embedder import Embedder
from tapetum.learn.heatmap import heatmap
from tapetum.learn.pairing.pairs import pairs_of
from tapetum.learn.pairing.tokens import token_bytes, tokens_of
from toys import ENCODER, TEXT

TWO = f"{ENCODER} + tiny(size=64, dim=8)"


@pytest.fixture(scope="module")
def ids(toy_archive):
    return [r.image_id for r in toy_archive.in_split(Split.TRAIN)]


def test_they_are_those_of_the_towers_in_half_precision(toy_archive, ids):
    embedder = Embedder(TWO, threads=1, backend="torch")
    found = tokens_of(toy_archive, embedder, [ids[5], ids[0], ids[5]])
    expected = embedder.tokens([toy_archive.pixels(i, min_side=512) for i in (ids[5], ids[0])])
    for part, whole, grid, columns in zip(found.maps, expected, found.grids, found.columns, strict=True):
        assert part.dtype == np.float16
        np.testing.assert_allclose(part[:2], whole.tokens, rtol=2e-3, atol=2e-3)
        np.testing.assert_array_equal(part[0], part[2])
        assert grid == whole.grid
        assert embedder.blocks[whole.block] == columns
    assert found.of([ids[0]]).maps[0].shape[0] == 1


def test_what_was_computed_is_read_from_the_cache(toy_archive, ids, monkeypatch):
    embedder = Embedder(ENCODER, threads=1, backend="torch")
    first = tokens_of(toy_archive, embedder, ids[:6])
    monkeypatch.setattr(type(embedder.runners[0]), "tokens", None)
    again = tokens_of(toy_archive, embedder, ids[:6][::-1])
    np.testing.assert_array_equal(again.maps[0], first.maps[0][::-1])


def test_too_many_are_refused_before_anything_is_computed(toy_archive, ids):
    embedder = Embedder(TWO, threads=1, backend="torch")
    grids = [runner.spec.grid for runner in embedder.runners]
    needed = 2 * 10 * (grids[0][0] ** 2 * 8 + grids[1][0] ** 2 * 4)  # half of the columns are means
    assert token_bytes(10, embedder) == needed
    with pytest.raises(UsageError, match="tokens of 10 images take"):
        tokens_of(toy_archive, embedder, ids[:10], available=needed - 1)
    assert len(tokens_of(toy_archive, embedder, ids[:10], available=needed).image_ids) == 10


def test_pooled_rows_have_no_tokens(toy_archive, toy_embeddings, ids):
    tokens = tokens_of(toy_archive, Embedder(ENCODER, threads=1, backend="torch"), ids)
    given = {"text": "report", "encode_text": lambda texts: np.eye(len(texts), 8)}
    records = list(toy_archive.in_split(Split.TRAIN))
    with pytest.raises(UsageError, match="single images"):
        pairs_of(toy_archive, toy_embeddings, records, pool="mean", tokens=tokens, **given)
    found = pairs_of(toy_archive, toy_embeddings, records, tokens=tokens, groups=True, **given)
    assert found.tokens.image_ids == found.image_ids
    assert found.groups.place.shape == (len(records), 1)
    assert pairs_of(toy_archive, toy_embeddings, records, **given).tokens is None


@pytest.mark.parametrize(
    "task",
    [
        "multi_granular(epochs=8, dim=16, count=4)",
        "patch_concept(epochs=8, dim=16)",
        "refiner(epochs=2, warm_up=1, dim=16, width=8)",
        "hierarchy_graph(epochs=8, dim=16)",
    ],
)
def test_everything_downstream_works_as_before(toy_archive, toy_embeddings, tmp_path, task):
    config = PretrainConfig(ENCODER, text_encoder=TEXT, task=task, text="report", prompt_set="name", threads=1)
    model = pretrain(toy_archive, config, embeddings=toy_embeddings)
    loaded = load_model(model.save(tmp_path / "model"))
    assert loaded.digest == model.digest
    held = [r.image_id for r in toy_archive.in_split(Split.TEST)]
    scores = zero_shot(loaded, toy_embeddings.rows(held), ["cataract", "glaucoma"])
    assert np.isfinite(scores.logits).all()
    grid, _ = heatmap(loaded, toy_archive.pixels(held[0], min_side=32), "cataract")
    assert np.isfinite(grid).all()
