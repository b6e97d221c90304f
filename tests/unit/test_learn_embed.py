"""Embedding with its cache: what is computed, what is kept, what happens when it breaks."""

from __future__ import annotations

import dataclasses
import hashlib
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from tapetum.core.errors import ArtefactError, DataError, UsageError
from tapetum.core.types import Embeddings, Head, ImageRecord, Laterality, Split
from tapetum.learn.features.embed import (
    decode_side,
    embed,
    embed_pixels,
    embed_tokens,
    load_embeddings,
    save_embeddings,
)
from tapetum.learn.features.embedder import Embedder, parse_encoders
from tapetum.learn.features.rowcache import RowCache
from tapetum.learn.features.runtime import Runner

ONE = "tiny(size=32, dim=8)"
TWO = f"{ONE} + tiny(size=64, dim=12)"


class FakeArchive:
    """Images of even noise under made-up ids; counts decodings and can fail at one image."""

    def __init__(self, folder: Path, count: int) -> None:
        self.cache = folder / "cache"
        self.decoded: list[tuple[str, int]] = []
        self.broken = ""
        self.records = tuple(_record(i) for i in range(count))

    def pixels(self, image_id: str, *, min_side: int) -> np.ndarray:
        if image_id == self.broken:
            raise DataError(f"image {image_id} cannot be decoded")
        self.decoded.append((image_id, min_side))
        rng = np.random.default_rng(int(image_id[:8], 16))
        return rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)


def _record(i: int) -> ImageRecord:
    image_id = hashlib.sha256(str(i).encode()).hexdigest()
    return ImageRecord(
        image_id, f"p{i // 2}", "unknown", Laterality.RIGHT, "fundus", 50, 40, 3, 8, float("nan"), 50.0, "F", "unknown",
        f"{i}.jpg", "", (), Split.TRAIN,
    )  # fmt: skip


@pytest.fixture
def archive(tmp_path: Path) -> FakeArchive:
    return FakeArchive(tmp_path, 10)


def test_rows_blocks_and_patients(archive: FakeArchive) -> None:
    result = embed(archive, TWO, backend="torch", threads=1, batch=4)
    assert result.features.shape == (10, 20)
    assert result.features.dtype == np.float32
    assert result.image_ids == tuple(r.image_id for r in archive.records)
    assert result.patient_ids == ("p0", "p0", "p1", "p1", "p2", "p2", "p3", "p3", "p4", "p4")
    assert dict(result.blocks) == {
        "tiny-32/avg": (0, 4), "tiny-32/max": (4, 8), "tiny-64/avg": (8, 14), "tiny-64/max": (14, 20),
    }  # fmt: skip
    assert result.encoder == "tiny(dim=8, size=32) + tiny(dim=12, size=64)"
    assert (result.features.std(axis=0) > 0).all()


def test_one_decoding_serves_both_sizes(archive: FakeArchive) -> None:
    embed(archive, TWO, backend="torch", threads=1)
    assert sorted(archive.decoded) == sorted((r.image_id, 512) for r in archive.records)


def test_second_run_reads_the_cache_and_is_equal(archive: FakeArchive) -> None:
    first = embed(archive, TWO, backend="torch", threads=1)
    archive.decoded.clear()
    second = embed(archive, TWO, backend="torch", threads=1)
    assert archive.decoded == []
    np.testing.assert_array_equal(first.features, second.features)


def test_encoders_are_cached_one_by_one(archive: FakeArchive) -> None:
    alone = embed(archive, ONE, backend="torch", threads=1)
    both = embed(archive, TWO, backend="torch", threads=1)
    np.testing.assert_array_equal(both.features[:, :8], alone.features)
    archive.decoded.clear()
    swapped = embed(archive, "tiny(size=64, dim=12) + tiny(size=32, dim=8)", backend="torch", threads=1)
    assert archive.decoded == []
    np.testing.assert_array_equal(swapped.features[:, 12:], alone.features)


def test_new_images_cost_only_themselves(archive: FakeArchive, tmp_path: Path) -> None:
    embed(archive, ONE, backend="torch", threads=1)
    larger = FakeArchive(tmp_path, 13)
    result = embed(larger, ONE, backend="torch", threads=1)
    assert {i for i, _ in larger.decoded} == {r.image_id for r in larger.records[10:]}
    assert np.isfinite(result.features).all()


def test_other_weights_and_other_fit_are_other_rows(archive: FakeArchive) -> None:
    a = embed(archive, ONE, backend="torch", threads=1)
    b = embed(archive, "tiny(size=32, dim=8, seed=1)", backend="torch", threads=1)
    c = embed(archive, Embedder(ONE, threads=1, backend="torch", fit="crop"))
    assert not np.allclose(a.features, b.features)
    assert not np.allclose(a.features, c.features)
    assert len(list((archive.cache / "embeddings").iterdir())) == 3


def test_broken_image_is_named_and_finished_rows_are_kept(archive: FakeArchive) -> None:
    archive.broken = archive.records[7].image_id
    with pytest.raises(DataError, match="cannot be decoded"):
        embed(archive, ONE, backend="torch", threads=1, batch=2)
    archive.broken = ""
    archive.decoded.clear()
    embed(archive, ONE, backend="torch", threads=1, batch=2)
    assert [i for i, _ in archive.decoded] != []
    assert {i for i, _ in archive.decoded}.isdisjoint(r.image_id for r in archive.records[:6])


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_damaged_shard_is_said_and_computed_again(archive: FakeArchive, damage: str) -> None:
    first = embed(archive, ONE, backend="torch", threads=1)
    (shard,) = (archive.cache / "embeddings").rglob("*.npz")
    data = bytearray(shard.read_bytes())
    if damage == "flip":
        data[-600] ^= 0xFF
    shard.write_bytes({"cut": bytes(data[:300]), "flip": bytes(data), "empty": b""}[damage])
    archive.decoded.clear()
    with pytest.warns(RuntimeWarning, match="damaged"):
        second = embed(archive, ONE, backend="torch", threads=1)
    assert len(archive.decoded) == 10
    np.testing.assert_array_equal(first.features, second.features)
    assert embed(archive, ONE, backend="torch", threads=1).features.shape == (10, 8)  # and no second warning


def test_shards_are_written_as_the_run_goes(tmp_path: Path) -> None:
    cache = RowCache(tmp_path / "rows", 2)
    for i in range(300):
        cache.add([f"id{i}"], np.full((1, 2), i, dtype=np.float32))
    # 256 rows are on disk before anybody calls flush: what a killed run keeps.
    target = np.full((300, 2), -1, dtype=np.float32)
    found = RowCache(tmp_path / "rows", 2).fill(target, {f"id{i}": [i] for i in range(300)})
    assert len(found) == 256
    np.testing.assert_array_equal(target[:, 0], [*range(256), *[-1] * 44])


def test_shard_of_another_width_is_refused(tmp_path: Path) -> None:
    cache = RowCache(tmp_path / "rows", 2)
    cache.add(["a"], np.zeros((1, 2), dtype=np.float32))
    cache.flush()
    with pytest.warns(RuntimeWarning, match="damaged"):
        assert RowCache(tmp_path / "rows", 3).fill(np.zeros((1, 3), dtype=np.float32), {"a": [0]}) == set()


def test_chosen_images_in_their_order_and_repeated(archive: FakeArchive) -> None:
    ids = [archive.records[i].image_id for i in (5, 2, 5)]
    whole = embed(archive, ONE, backend="torch", threads=1)
    part = embed(archive, ONE, backend="torch", threads=1, image_ids=ids)
    assert part.image_ids == tuple(ids)
    np.testing.assert_array_equal(part.features, whole.features[[5, 2, 5]])


def test_no_images(archive: FakeArchive) -> None:
    assert embed(archive, ONE, backend="torch", threads=1, image_ids=[]).features.shape == (0, 8)


def test_unknown_image_is_refused(archive: FakeArchive) -> None:
    with pytest.raises(DataError, match="not in the archive"):
        embed(archive, ONE, backend="torch", image_ids=["nobody"])


def test_progress_ends_at_all(archive: FakeArchive) -> None:
    seen: list[tuple[int, int]] = []
    embed(archive, ONE, backend="torch", threads=1, batch=4, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 10), (4, 10), (8, 10), (10, 10)]


def test_not_finite_is_refused_and_not_cached(archive: FakeArchive) -> None:
    embedder = Embedder(ONE, threads=1, backend="torch")
    for parameter in embedder.runners[0].encoder.state_dict().values():
        parameter.fill_(float("nan"))
    with pytest.raises(DataError, match="no finite features"):
        embed(archive, embedder)
    assert not list(archive.cache.rglob("*.npz"))


def test_loose_pixels_equal_the_archive(archive: FakeArchive) -> None:
    images = [archive.pixels(r.image_id, min_side=512) for r in archive.records]
    whole = embed(archive, TWO, backend="torch", threads=1)
    np.testing.assert_allclose(
        embed_pixels(images, Embedder(TWO, threads=1, backend="torch"), batch=3), whole.features, atol=1e-6
    )


def test_mean_of_tokens_is_the_named_block(archive: FakeArchive) -> None:
    images = [archive.pixels(r.image_id, min_side=64) for r in archive.records[:2]]
    maps = embed_tokens(images, TWO, threads=1)
    features = embed_pixels(images, Embedder(TWO, threads=1, backend="torch"))
    blocks = Embedder(TWO, threads=1, backend="torch").blocks
    assert [m.grid for m in maps] == [(4, 4), (8, 8)]
    for token_map in maps:
        a, b = blocks[token_map.block]
        assert token_map.tokens.shape == (2, token_map.grid[0] * token_map.grid[1], b - a)
        np.testing.assert_allclose(token_map.tokens.mean(axis=1), features[:, a:b], atol=1e-5)


def test_tokens_of_nothing_are_refused() -> None:
    with pytest.raises(DataError, match="no images"):
        embed_tokens([], ONE)


def test_sums_of_specs() -> None:
    assert [str(s) for s in parse_encoders("a(path='x + y') + b + c(size=3)")] == [
        "a(path='x + y')",
        "b()",
        "c(size=3)",
    ]


@pytest.mark.parametrize("text", ["", "a +", "a - b", "a + a()", "a(1)", "a * b"])
def test_no_sum_of_specs(text: str) -> None:
    with pytest.raises(UsageError):
        parse_encoders(text)


def test_unknown_encoder_names_the_nearest() -> None:
    with pytest.raises(UsageError, match="'tiny'"):
        Embedder("tinny")


def test_equal_names_are_told_apart() -> None:
    blocks = Embedder("tiny(dim=4) + tiny(dim=4, seed=1)", threads=1, backend="torch").blocks
    assert list(blocks) == ["tiny-64/avg", "tiny-64/max", "tiny-64#2/avg", "tiny-64#2/max"]


def test_trained_towers_bring_their_weights(archive: FakeArchive) -> None:
    other = Embedder("tiny(size=32, dim=8, seed=5)", threads=1, backend="torch").runners[0].encoder.state_dict()
    frozen = embed(archive, TWO, backend="torch", threads=1)
    tuned = embed(archive, Embedder(TWO, threads=1, backend="torch", states={0: other}))
    same = embed(archive, "tiny(size=32, dim=8, seed=5)", backend="torch", threads=1)
    np.testing.assert_array_equal(tuned.features[:, :8], same.features)
    np.testing.assert_array_equal(tuned.features[:, 8:], frozen.features[:, 8:])
    with pytest.raises(ArtefactError, match="do not fit"):
        Embedder(TWO, states={1: other})
    with pytest.raises(UsageError, match="places 0 to 1"):
        Embedder(TWO, states={2: other})


def test_nothing_is_exported_when_all_rows_are_there(archive: FakeArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    embed(archive, ONE, threads=1)
    monkeypatch.setattr(Runner, "ready", lambda self: pytest.fail("a network was opened"))
    embed(archive, ONE, threads=1)


def test_decoders_leave_no_silence_behind(archive: FakeArchive) -> None:
    def noisy(image_id: str, *, min_side: int) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            time.sleep(0.002)
            return FakeArchive.pixels(archive, image_id, min_side=min_side)

    archive.pixels = noisy
    before = list(warnings.filters)
    embed(archive, ONE, backend="torch", threads=1, batch=3)
    assert list(warnings.filters) == before


def test_decoding_side_depends_on_the_size_alone() -> None:
    assert [decode_side(s) for s in (64, 224, 384, 512, 513, 1024)] == [512, 512, 512, 512, 1024, 1024]


def _embeddings() -> Embeddings:
    return Embeddings(
        ("a", "b"), ("p", "q"), np.arange(6, dtype=np.float32).reshape(2, 3), "tiny()", {"x": (0, 2), "y": (2, 3)},
        np.ones((2, 4, 3), dtype=np.float16), np.zeros((2, 1), dtype=np.float32),
        Head(np.ones((1, 3), dtype=np.float32), np.zeros(1, dtype=np.float32)),
    )  # fmt: skip


@pytest.mark.parametrize("bare", [False, True])
def test_artefact_comes_back_as_it_went(tmp_path: Path, bare: bool) -> None:
    original = _embeddings()
    if bare:
        original = dataclasses.replace(original, tokens=None, logits=None, head=None)
    save_embeddings(original, tmp_path / "e", {"archive": "ab" * 32})
    back = load_embeddings(tmp_path / "e")
    for field in dataclasses.fields(Embeddings):
        a, b = getattr(original, field.name), getattr(back, field.name)
        if field.name == "head" and a is not None:
            np.testing.assert_array_equal(a.weight, b.weight)
            np.testing.assert_array_equal(a.bias, b.bias)
        elif isinstance(a, np.ndarray):
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype
        else:
            assert a == b, field.name


def test_damaged_artefact_is_refused(tmp_path: Path) -> None:
    save_embeddings(_embeddings(), tmp_path / "e", {})
    (tmp_path / "e" / "features.npy").write_bytes(b"no array")
    with pytest.raises(ArtefactError, match="damaged"):
        load_embeddings(tmp_path / "e")


def test_other_folders_are_no_embeddings(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="no artefact"):
        load_embeddings(tmp_path)
