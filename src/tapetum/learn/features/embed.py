"""Embed once, use everywhere: pooled features of every image of an archive, cached row by row.

One line of encoders gives one row per image: `"efficientnet_lite(size=224) + tiny(size=64)"`. Rows are
kept below `archive.cache` under a key of encoder, preprocessing and weights, so that a second run costs nothing, new
images cost only themselves, and a run that was killed goes on where it was.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from tapetum.core.errors import ArtefactError, DataError
from tapetum.core.store import Meta, new_artefact, read_meta
from tapetum.core.types import Embeddings, Head, ImageRecord
from tapetum.learn.features.embedder import DEFAULT, Embedder, TokenMap
from tapetum.learn.features.preprocess import Preprocess
from tapetum.learn.features.rowcache import RowCache
from tapetum.learn.features.runtime import Runner

Progress = Callable[[int, int], None]
_ROWS_VERSION = 1  # raise when the same spec would give other rows
_DECODE_STEP = 512


@runtime_checkable
class ImageSource(Protocol):
    """What is asked of an archive; `pixels` is called from several threads."""

    @property
    def records(self) -> tuple[ImageRecord, ...]:
        """All images."""
        ...

    @property
    def cache(self) -> Path:
        """Folder for derived files."""
        ...

    def pixels(self, image_id: str, *, min_side: int) -> UInt8[np.ndarray, "h w 3"]:
        """RGB, decoded so that no side is smaller than `min_side` unless the image is."""
        ...


def embed(
    archive: ImageSource,
    encoders: str | Embedder = DEFAULT,
    *,
    threads: int = 0,
    backend: str = "auto",
    batch: int = 16,
    progress: Progress | None = None,
    image_ids: Sequence[str] | None = None,
) -> Embeddings:
    """Pooled features of an archive's images; what was computed before is read from the cache.

    Args:
        archive: images by id.
        encoders: specs joined by `+`, or an `Embedder` that is kept for several calls.
        threads: per encoder call; 0 takes every core.
        backend: `"auto"` (measured once, see `Runner`), or a member of `BACKENDS`; the cache is shared by all.
        batch: images per call.
        progress: called with images done and images in all.
        image_ids: which images and in what order; None takes all of `archive.records`.

    Returns: embeddings with the blocks of all encoders side by side, float32.

    Raises:
        DataError: an id is not in the archive, an image cannot be decoded, or a feature is not finite.
        UsageError: unknown encoder, option or backend.
    """
    patients = {record.image_id: record.patient_id for record in archive.records}
    ids = _known_ids(patients, image_ids)
    if isinstance(encoders, str):
        encoders = Embedder(encoders, threads=threads, backend=backend, cache=archive.cache / "onnx")
    stores = row_caches(archive, encoders)
    features = np.full((len(ids), encoders.dim), np.nan, dtype=np.float32)
    place: dict[str, list[int]] = {}
    for row, image_id in enumerate(ids):
        place.setdefault(image_id, []).append(row)
    known = [store.fill(features[:, a:b], place) for store, (a, b) in zip(stores, encoders.columns, strict=True)]
    wanted = [image_id for image_id in place if any(image_id not in done for done in known)]
    tell = progress or _silent
    done = len(place) - len(wanted)
    tell(done, len(place))
    for e, runner in enumerate(encoders.runners):
        if any(image_id not in known[e] for image_id in wanted):
            runner.ready()  # its warnings belong before the decoding, see below
    try:
        # Decoders silence warnings in two threads at once, and Python 3.11 keeps one list of filters for all threads:
        # what held before is put back here.
        with warnings.catch_warnings():
            for chosen, inputs in _decoded(archive, encoders, wanted, known, batch):
                for e, (names, x) in inputs.items():
                    rows = encoders.runners[e](x)
                    _refuse_non_finite(rows, names, encoders.names[e])
                    _place(features[:, slice(*encoders.columns[e])], rows, names, place)
                    stores[e].add(names, rows)
                done += len(chosen)
                tell(done, len(place))
    finally:
        for store in stores:
            store.flush()
    return Embeddings(ids, tuple(patients[i] for i in ids), features, encoders.encoders, encoders.blocks)


def embed_pixels(
    images: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    encoders: str | Embedder = DEFAULT,
    *,
    threads: int = 0,
    backend: str = "auto",
    batch: int = 16,
) -> Float32[np.ndarray, "n d"]:
    """Pooled features of loose images; for many calls keep an `Embedder`, which exports its encoders only once.

    Args:
        images: 8-bit RGB of any size.
        encoders: specs joined by `+`, or an `Embedder`.
        threads: per encoder call; 0 takes every core of this process.
        backend: `"auto"` (measured once, see `Runner`), or a member of `BACKENDS`.
        batch: images per call.

    Returns:
        One row per image, columns as in `Embedder.blocks`.

    Raises:
        DataError: an array is not 8-bit RGB. UsageError: unknown encoder, option or backend.
    """
    if isinstance(encoders, str):
        encoders = Embedder(encoders, threads=threads, backend=backend)
    return encoders.pixels(images, batch=batch)


def embed_tokens(
    images: Sequence[UInt8[np.ndarray, "_ _ 3"]], encoders: str | Embedder = DEFAULT, *, threads: int = 0
) -> tuple[TokenMap, ...]:
    """Local features of a few images, for heat-maps; always through torch, never cached.

    Args:
        images: 8-bit RGB of any size, at least one.
        encoders: specs joined by `+`, or an `Embedder`.
        threads: per encoder call; 0 takes every core of this process.

    Returns:
        One map per encoder; its grid covers the square that `Preprocess.resized` shows.

    Raises:
        DataError: no image, or an array is not 8-bit RGB. UsageError: unknown encoder or option.
    """
    if isinstance(encoders, str):
        encoders = Embedder(encoders, threads=threads, backend="torch")
    return encoders.tokens(images)


def save_embeddings(embeddings: Embeddings, path: Path, parents: Mapping[str, str]) -> None:
    """Write the Embeddings artefact: `features.npy`, `embeddings.json`, and the optional arrays beside them.

    Args:
        embeddings: what to write.
        path: a new folder, or one that holds an artefact.
        parents: role → digest of what they were made from, for example `{"archive": archive.digest}`.

    Raises:
        ArtefactError: `path` exists and is no artefact.
    """
    named = {"tokens": embeddings.tokens, "logits": embeddings.logits}
    if embeddings.head is not None:
        named |= {"head_weight": embeddings.head.weight, "head_bias": embeddings.head.bias}
    index = {
        "encoder": embeddings.encoder,
        "blocks": {name: list(columns) for name, columns in embeddings.blocks.items()},
        "image_ids": embeddings.image_ids,
        "patient_ids": embeddings.patient_ids,
    }
    with new_artefact(
        path, Meta("embeddings", parents=dict(parents), config={"encoders": embeddings.encoder})
    ) as folder:
        np.save(folder / "features.npy", embeddings.features, allow_pickle=False)
        for name, array in named.items():
            if array is not None:
                np.save(folder / f"{name}.npy", array, allow_pickle=False)
        (folder / "embeddings.json").write_text(json.dumps(index) + "\n", encoding="utf-8")


def load_embeddings(path: Path) -> Embeddings:
    """Read an Embeddings artefact.

    Raises:
        ArtefactError: no such artefact, another kind or schema, or a file of it is missing or damaged.
    """
    read_meta(path, "embeddings")
    try:
        index = json.loads((path / "embeddings.json").read_text(encoding="utf-8"))
        arrays = {file.stem: np.load(file, allow_pickle=False) for file in sorted(path.glob("*.npy"))}
        head = Head(arrays["head_weight"], arrays["head_bias"]) if "head_weight" in arrays else None
        return Embeddings(
            tuple(index["image_ids"]),
            tuple(index["patient_ids"]),
            arrays["features"],
            index["encoder"],
            {name: (int(a), int(b)) for name, (a, b) in index["blocks"].items()},
            arrays.get("tokens"),
            arrays.get("logits"),
            head,
        )
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise ArtefactError(
            f"{path} is damaged: {error!r}", "an Embeddings artefact", f"tapetum verify {path}"
        ) from error


def _silent(done: int, of: int) -> None:
    del done, of


def row_caches(archive: ImageSource, encoders: Embedder) -> list[RowCache]:
    """Where the rows of each encoder are kept."""
    return [
        RowCache(archive.cache / "embeddings" / _rows_key(runner, preprocess), runner.spec.dim)
        for runner, preprocess in zip(encoders.runners, encoders.preprocess, strict=True)
    ]


def _known_ids(patients: Mapping[str, str], image_ids: Sequence[str] | None) -> tuple[str, ...]:
    ids = tuple(patients) if image_ids is None else tuple(image_ids)
    unknown = [i for i in ids if i not in patients]
    if unknown:
        raise DataError(f"{len(unknown)} images are not in the archive, first {unknown[0][:12]}", "ids of its records")
    return ids


def _place(
    target: Float32[np.ndarray, "n d"],
    rows: Float32[np.ndarray, "b d"],
    names: Sequence[str],
    place: Mapping[str, Sequence[int]],
) -> None:
    for name, row in zip(names, rows, strict=True):
        target[place[name]] = row


def _rows_key(runner: Runner, preprocess: Preprocess) -> str:
    """Everything that a row depends on but the image itself; the backend is left out, since both agree."""
    whole = [dataclasses.asdict(runner.spec), preprocess.digest, _ROWS_VERSION]
    digest = hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()
    return f"{runner.spec.name}-{digest[:16]}"


def decode_side(size: int) -> int:
    """The `min_side` to decode at: a function of this encoder's size alone, so that a cached row never depends on which
    encoders ran beside it, yet shared by all usual sizes, so that one decoding serves them.
    """
    return -(-size // _DECODE_STEP) * _DECODE_STEP


def _decoded(
    archive: ImageSource, embedder: Embedder, wanted: Sequence[str], known: Sequence[set[str]], batch: int
) -> Iterator[tuple[Sequence[str], dict[int, tuple[list[str], Float32[np.ndarray, "b 3 s s"]]]]]:
    """Batches of ids with the stacked inputs of each encoder that lacks them; decoded a little ahead in two threads."""

    def prepare(image_id: str) -> dict[int, Float32[np.ndarray, "3 s s"]]:
        sides = {e: decode_side(p.size) for e, p in enumerate(embedder.preprocess) if image_id not in known[e]}
        decoded = {side: archive.pixels(image_id, min_side=side) for side in sorted(set(sides.values()))}
        return {e: embedder.preprocess[e](decoded[side]) for e, side in sides.items()}

    chunks = [wanted[i : i + batch] for i in range(0, len(wanted), batch)]
    with ThreadPoolExecutor(max_workers=2) as pool:
        # Two batches wait at most: the memory of the inputs stays bounded.
        ahead = [[pool.submit(prepare, i) for i in chunk] for chunk in chunks[:2]]
        try:
            for c, chunk in enumerate(chunks):
                prepared = [future.result() for future in ahead.pop(0)]
                if c + 2 < len(chunks):
                    ahead.append([pool.submit(prepare, i) for i in chunks[c + 2]])
                inputs: dict[int, tuple[list[str], Float32[np.ndarray, "b 3 s s"]]] = {}
                for e in range(len(embedder.runners)):
                    rows = [(i, x[e]) for i, x in zip(chunk, prepared, strict=True) if e in x]
                    if rows:
                        inputs[e] = [i for i, _ in rows], np.stack([x for _, x in rows])
                yield chunk, inputs
        finally:
            for future in itertools.chain.from_iterable(ahead):
                future.cancel()


def _refuse_non_finite(rows: Float32[np.ndarray, "b d"], names: Sequence[str], encoder: str) -> None:
    bad = ~np.isfinite(rows).all(axis=1)
    if bad.any():
        raise DataError(f"{encoder} gives no finite features for image {names[int(np.argmax(bad))]}", "finite numbers")
