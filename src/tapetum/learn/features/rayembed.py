"""Embedding at scale: the images of an archive shared out, shard by shard, to the workers of a Ray cluster.

The workers read the archive and compute; this process alone writes, one file per finished shard, into the cache that
`embed` reads. So a job that was killed goes on from its finished shards, and once it has ended `embed` finds every
row.
"""

from __future__ import annotations

import importlib
import logging
import pickle
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from tapetum.archive import Archive, open_archive
from tapetum.core.errors import MissingExtraError, TapetumError, UsageError
from tapetum.core.types import Embeddings, ImageRecord
from tapetum.learn.features.embed import Progress, embed, row_caches
from tapetum.learn.features.embedder import DEFAULT, Embedder

SHARD_IMAGES = 256


def embed_on_ray(
    archive: Archive,
    encoders: str = DEFAULT,
    *,
    threads: int = 0,
    backend: str = "auto",
    batch: int = 16,
    shard: int = SHARD_IMAGES,
    progress: Progress | None = None,
) -> Embeddings:
    """As `embed`, computed by Ray's workers: equal bit by bit with the same backend, threads and kind of processor.

    Connects to the cluster that `RAY_ADDRESS` names or that runs here, else starts one on this machine. The archive
    must lie under the same path everywhere; the workers only read it.

    Args:
        archive: images by id.
        encoders: specs joined by `+`.
        threads: of each worker, 0 = one; there are as many workers as the cluster has cores for.
        backend: as in `embed`; with `"auto"` it is measured here first, and workers of the same kind follow.
        batch: images per call.
        shard: images per shard: what is lost at most, per worker, when the job is killed; a multiple of `batch`, so
            that batches are cut as `embed` cuts them.
        progress: called with images done and images in all.

    Returns:
        Embeddings of all records, from the cache.

    Raises:
        MissingExtraError: Ray is not installed. UsageError: `shard` is no multiple of `batch`, unknown names.
        DataError: an image cannot be decoded, or a feature is not finite; finished shards are kept.
    """
    if batch < 1 or shard < 1 or shard % batch:
        raise UsageError(f"shard={shard}, batch={batch}", "a multiple of batch", f"shard={16 * max(batch, 1)}")
    threads = threads or 1
    embedder = Embedder(encoders, threads=threads, backend=backend, cache=archive.cache / "onnx")
    wanted = _missing(archive, embedder)
    total = len({record.image_id for record in archive.records})
    if progress:
        progress(total - len(wanted), total)
    if wanted:
        data = _ray_data()
        for runner in embedder.runners:
            runner.ready()  # exported and measured once, before many would do it at once
        place = str(archive.path.resolve())
        work = {"archive": place, "encoders": encoders, "threads": threads, "backend": backend, "batch": batch}
        _run(data, archive, embedder, [wanted[i : i + shard] for i in range(0, len(wanted), shard)], work, progress)
    return embed(archive, embedder, batch=batch)


def _run(
    data: Any,
    archive: Archive,
    embedder: Embedder,
    shards: Sequence[Sequence[str]],
    work: Mapping[str, Any],
    progress: Progress | None,
) -> None:
    """Hand the shards out; keep the rows of each as soon as it is done."""
    stores = row_caches(archive, embedder)
    total = len({record.image_id for record in archive.records})
    done = total - sum(map(len, shards))
    ray: Any = importlib.import_module("ray")
    workers = max(1, min(int(ray.cluster_resources().get("CPU", 1)) // work["threads"], len(shards)))
    rows = data.from_items([{"ids": list(ids)} for ids in shards], override_num_blocks=len(shards))
    answers = rows.map(ShardWorker, fn_constructor_kwargs=dict(work), concurrency=workers, num_cpus=work["threads"])
    for answer in answers.iter_rows():
        ids, features, error = pickle.loads(answer["answer"])
        if error is not None:
            raise error
        for store, (start, end) in zip(stores, embedder.columns, strict=True):
            store.add(ids, features[:, start:end])
            store.flush()
        done += len(ids)
        if progress:
            progress(done, total)


class ShardWorker:
    """One of Ray's workers: keeps the towers, embeds shard after shard.

    Args:
        archive: its folder. encoders, threads, backend, batch: as in `embed_on_ray`.
    """

    def __init__(self, archive: str, encoders: str, threads: int, backend: str, batch: int) -> None:
        self._archive = open_archive(archive)
        self._records = {record.image_id: record for record in self._archive.records}
        cache = self._archive.cache / "onnx"
        self._embedder = Embedder(encoders, threads=threads, backend=backend, cache=cache)
        self._batch = batch

    def __call__(self, row: dict[str, Any]) -> dict[str, bytes]:
        """The rows of one shard, or the error that ended it."""
        ids = [str(image_id) for image_id in row["ids"]]
        answer: tuple[list[str], Any, TapetumError | None]
        try:
            with tempfile.TemporaryDirectory(prefix="tapetum-shard-") as folder:
                # A cache of its own: the archive's would be read through for every shard.
                source = _Shard(self._archive, tuple(self._records[i] for i in ids), Path(folder))
                answer = ids, embed(source, self._embedder, batch=self._batch, image_ids=ids).features, None
        except TapetumError as error:
            answer = ids, None, error
        return {"answer": pickle.dumps(answer, protocol=5)}


@dataclass(frozen=True)
class _Shard:
    """Some images of an archive, as `embed` asks for them."""

    archive: Archive
    records: tuple[ImageRecord, ...]
    cache: Path

    def pixels(self, image_id: str, *, min_side: int) -> UInt8[np.ndarray, "h w 3"]:
        """RGB, as the archive decodes it."""
        return self.archive.pixels(image_id, min_side=min_side)


def _missing(archive: Archive, embedder: Embedder) -> list[str]:
    """Images whose rows are not kept for every tower, in the archive's order."""
    ids = list(dict.fromkeys(record.image_id for record in archive.records))
    place = {image_id: [row] for row, image_id in enumerate(ids)}
    scratch = np.empty((len(ids), embedder.dim), dtype=np.float32)
    stores = zip(row_caches(archive, embedder), embedder.columns, strict=True)
    known = [store.fill(scratch[:, start:end], place) for store, (start, end) in stores]
    return [image_id for image_id in ids if any(image_id not in found for found in known)]


def _ray_data() -> Any:
    """Ray Data, connected.

    Raises:
        MissingExtraError: Ray is not installed.
    """
    try:
        # By name: the type checker need not find what only this extra brings.
        ray: Any = importlib.import_module("ray")
        data: Any = importlib.import_module("ray.data")
    except ImportError:
        raise MissingExtraError(
            "engine=ray needs Ray Data", "the extra `ray`", "pip install 'tapetum[ray]', or leave engine= out"
        ) from None
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    context = data.DataContext.get_current()
    context.execution_options.preserve_order = False  # a finished shard waits for no slower one
    context.enable_progress_bars = False
    return data
