"""What a Ray worker does with a shard, without Ray; the whole job: tests/integration/test_ray_embed.py."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest

from tapetum.archive import IngestConfig, ingest, open_archive
from tapetum.core.errors import DataError, MissingExtraError, UsageError
from tapetum.learn.features.embed import embed
from tapetum.learn.features.rayembed import ShardWorker, embed_on_ray
from tapetum.phantom import ClinicConfig, make_clinic

TOWERS = "tiny(size=32) + tiny(size=32, seed=1)"


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ray")
    clinic = make_clinic(folder / "c", ClinicConfig(patients=3, size=64))
    ingest([clinic.path], folder / "c.tap", IngestConfig(pack="fundus", name="c"))
    return open_archive(folder / "c.tap")


def worker(archive):
    return ShardWorker(str(archive.path), TOWERS, threads=1, backend="torch-eager", batch=2)


def test_the_rows_of_a_shard_are_those_of_embed(archive):
    ids = [r.image_id for r in archive.records][2:6]
    found, rows, error = pickle.loads(worker(archive)({"ids": ids})["answer"])
    assert (found, error) == (ids, None)
    assert not list((archive.cache / "embeddings").rglob("*.npz")), "workers write nothing into the archive"
    local = embed(archive, TOWERS, threads=1, backend="torch-eager", batch=2)
    np.testing.assert_array_equal(rows, local.features[2:6])


def test_an_image_that_cannot_be_read_comes_back_as_an_error(archive, monkeypatch):
    def broken(*_, **__):
        raise DataError("cannot decode it")

    one = worker(archive)
    monkeypatch.setattr(type(archive), "pixels", broken)
    _, rows, error = pickle.loads(one({"ids": [archive.records[0].image_id]})["answer"])
    assert rows is None
    assert isinstance(error, DataError)
    assert "cannot decode it" in str(error)


def test_where_every_row_is_kept_no_cluster_is_needed(archive, monkeypatch):
    local = embed(archive, TOWERS, threads=1, backend="torch-eager")
    monkeypatch.setitem(sys.modules, "ray", None)
    told = []
    found = embed_on_ray(archive, TOWERS, backend="torch-eager", progress=lambda *n: told.append(n))
    np.testing.assert_array_equal(found.features, local.features)
    assert told == [(6, 6)]


def test_without_ray_the_command_is_named(archive, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'tapetum\[ray\]'"):
        embed_on_ray(archive, "tiny(size=32, seed=2)", backend="torch-eager")


@pytest.mark.parametrize(("shard", "batch"), [(10, 4), (0, 4), (4, 0)])
def test_shards_are_whole_batches(archive, shard, batch):
    with pytest.raises(UsageError, match="a multiple of batch"):
        embed_on_ray(archive, TOWERS, shard=shard, batch=batch)
