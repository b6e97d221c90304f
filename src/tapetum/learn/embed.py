"""Embed once, use everywhere: pooled features of every image of an archive, cached row by row.

One line of encoders gives one row per image: `"efficientnet_lite(size=224) + efficientnet_lite(size=384)"`. Rows are
kept below `archive.cache` under a key of encoder, preprocessing and weights, so that a second run costs nothing, new
images cost only themselves, and a run that was killed goes on where it was.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from tapetum.core.errors import ArtefactError, DataError, UsageError
from tapetum.core.registry import Spec
from tapetum.core.store import Meta, new_artefact, read_meta
from tapetum.core.types import Embeddings, Head, ImageRecord
from tapetum.learn.preprocess import Preprocess
from tapetum.learn.rowcache import RowCache
from tapetum.learn.runtime import Runner, core_count
from tapetum.nets import build_encoder

DEFAULT = "efficientnet_lite(size=224) + efficientnet_lite(size=384)"
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


@dataclass(frozen=True)
class TokenMap:
    """Local features of one encoder.

    Attributes:
        block: the block of `Embeddings.blocks` that is the mean of these tokens.
        grid: rows and columns; tokens are listed row by row.
    """

    block: str
    tokens: Float32[np.ndarray, "n t d"]
    grid: tuple[int, int]


class Embedder:
    """One or several encoders, ready to run; their outputs stand side by side.

    Args:
        encoders: specs joined by `+`.
        threads: per encoder call; 0 takes every core of this process.
        backend: `"onnxruntime"` or `"torch"`.
        cache: folder for exported networks; None exports anew for this object.
        fit: `"pad"` or `"crop"`, see `Preprocess`.

    Attributes:
        encoders: the specs in canonical form. blocks: `"efficientnet_lite-224/avg"` → columns. dim: all columns.

    Raises:
        UsageError: the text is no sum of specs, or a name or option is unknown.
    """

    def __init__(
        self,
        encoders: str = DEFAULT,
        *,
        threads: int = 0,
        backend: str = "onnxruntime",
        cache: Path | None = None,
        fit: str = "pad",
    ) -> None:
        specs = parse_encoders(encoders)
        self.encoders = " + ".join(map(str, specs))
        self.runners = tuple(
            Runner(build_encoder(spec), backend=backend, threads=threads or core_count(), cache=cache) for spec in specs
        )
        self.preprocess = tuple(
            Preprocess(r.spec.size, r.spec.mean, r.spec.std, fit, r.spec.resample) for r in self.runners
        )
        self.names = _distinct([r.spec.name for r in self.runners])
        ends = list(itertools.accumulate((r.spec.dim for r in self.runners), initial=0))
        self.columns = tuple(itertools.pairwise(ends))
        self.dim = ends[-1]
        self.blocks: Mapping[str, tuple[int, int]] = {
            f"{name}/{block}": (start + a, start + b)
            for name, runner, (start, _) in zip(self.names, self.runners, self.columns, strict=True)
            for block, (a, b) in runner.spec.blocks.items()
        }

    def pixels(self, images: Sequence[UInt8[np.ndarray, "_ _ 3"]], *, batch: int = 16) -> Float32[np.ndarray, "n d"]:
        """Pooled features of loose images, one row each."""
        rows = np.empty((len(images), self.dim), dtype=np.float32)
        for start in range(0, len(images), batch):
            chosen = images[start : start + batch]
            for runner, preprocess, (a, b) in zip(self.runners, self.preprocess, self.columns, strict=True):
                rows[start : start + batch, a:b] = runner(np.stack([preprocess(image) for image in chosen]))
        return rows

    def tokens(self, images: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> tuple[TokenMap, ...]:
        """Local features of a few loose images, one map per encoder."""
        if not images:
            raise DataError("no images", "at least one")
        return tuple(
            TokenMap(
                f"{name}/{runner.spec.token_block}",
                np.concatenate([runner.tokens(preprocess(image)[None]) for image in images]),
                runner.spec.grid,
            )
            for name, runner, preprocess in zip(self.names, self.runners, self.preprocess, strict=True)
        )


def parse_encoders(text: str) -> tuple[Spec, ...]:
    """Specs of `"a(x=1) + b"`, in the order written.

    Raises:
        UsageError: the text is no sum of specs, or names one spec twice.

    Example:
        >>> [str(s) for s in parse_encoders("tiny(size=32) + tiny")]
        ['tiny(size=32)', 'tiny()']
    """
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except SyntaxError:
        raise UsageError(f"cannot read the encoders {text!r}", "specs joined by +", DEFAULT) from None
    parts: list[ast.expr] = []
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        parts.append(node.right)
        node = node.left
    specs = tuple(Spec.parse(ast.unparse(part)) for part in [node, *reversed(parts)])
    names = [str(spec) for spec in specs]
    if len(set(names)) < len(names):
        raise UsageError(f"an encoder stands twice in {text!r}", "each spec once")
    return specs


def embed(
    archive: ImageSource,
    encoders: str | Embedder = DEFAULT,
    *,
    threads: int = 0,
    backend: str = "onnxruntime",
    batch: int = 16,
    progress: Progress | None = None,
    image_ids: Sequence[str] | None = None,
) -> Embeddings:
    """Pooled features of an archive's images; what was computed before is read from the cache.

    Args:
        archive: images by id.
        encoders: specs joined by `+`, or an `Embedder` that is kept for several calls.
        threads: per encoder call; 0 takes every core of this process.
        backend: `"onnxruntime"` (falls back to torch with a warning) or `"torch"`; the cache is shared by both.
        batch: images per call.
        progress: called with images done and images in all.
        image_ids: which images and in what order; None takes all of `archive.records`.

    Returns:
        Embeddings with the blocks of all encoders side by side, float32.

    Raises:
        DataError: an id is not in the archive, an image cannot be decoded, or a feature is not finite.
        UsageError: unknown encoder, option or backend.
    """
    patients = {record.image_id: record.patient_id for record in archive.records}
    ids = tuple(patients) if image_ids is None else tuple(image_ids)
    unknown = [i for i in ids if i not in patients]
    if unknown:
        raise DataError(f"{len(unknown)} images are not in the archive, first {unknown[0][:12]}", "ids of its records")
    if isinstance(encoders, str):
        encoders = Embedder(encoders, threads=threads, backend=backend, cache=archive.cache / "onnx")
    stores = [
        RowCache(archive.cache / "embeddings" / _rows_key(runner, preprocess), runner.spec.dim)
        for runner, preprocess in zip(encoders.runners, encoders.preprocess, strict=True)
    ]
    features = np.full((len(ids), encoders.dim), np.nan, dtype=np.float32)
    place: dict[str, list[int]] = {}
    for row, image_id in enumerate(ids):
        place.setdefault(image_id, []).append(row)
    known = [store.fill(features[:, a:b], place) for store, (a, b) in zip(stores, encoders.columns, strict=True)]
    todo = [image_id for image_id in place if any(image_id not in done for done in known)]
    if progress is not None:
        progress(len(place) - len(todo), len(place))
    try:
        done = len(place) - len(todo)
        for chosen, inputs in _decoded(archive, encoders, todo, known, batch):
            for e, (names, x) in inputs.items():
                rows = encoders.runners[e](x)
                _refuse_non_finite(rows, names, encoders.names[e])
                a, b = encoders.columns[e]
                for name, row in zip(names, rows, strict=True):
                    features[place[name], a:b] = row
                stores[e].add(names, rows)
            done += len(chosen)
            if progress is not None:
                progress(done, len(place))
    finally:
        for store in stores:
            store.flush()
    return Embeddings(ids, tuple(patients[i] for i in ids), features, encoders.encoders, encoders.blocks)


def embed_pixels(
    images: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    encoders: str | Embedder = DEFAULT,
    *,
    threads: int = 0,
    backend: str = "onnxruntime",
    batch: int = 16,
) -> Float32[np.ndarray, "n d"]:
    """Pooled features of loose images; for many calls keep an `Embedder`, which exports its encoders only once.

    Args:
        images: 8-bit RGB of any size.
        encoders: specs joined by `+`, or an `Embedder`.
        threads: per encoder call; 0 takes every core of this process.
        backend: `"onnxruntime"` or `"torch"`.
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


def _rows_key(runner: Runner, preprocess: Preprocess) -> str:
    """Everything that a row depends on but the image itself; the backend is left out, since both agree."""
    whole = [dataclasses.asdict(runner.spec), preprocess.digest, _ROWS_VERSION]
    digest = hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()
    return f"{runner.spec.name}-{digest[:16]}"


def _decode_side(size: int) -> int:
    """The `min_side` to decode at: a function of this encoder's size alone, so that a cached row never depends on which
    encoders ran beside it, yet shared by all usual sizes, so that one decoding serves them.
    """
    return -(-size // _DECODE_STEP) * _DECODE_STEP


def _decoded(
    archive: ImageSource, embedder: Embedder, todo: Sequence[str], known: Sequence[set[str]], batch: int
) -> Iterator[tuple[Sequence[str], dict[int, tuple[list[str], Float32[np.ndarray, "b 3 s s"]]]]]:
    """Batches of ids with the stacked inputs of each encoder that lacks them; decoded a little ahead in two threads."""

    def prepare(image_id: str) -> dict[int, Float32[np.ndarray, "3 s s"]]:
        sides = {e: _decode_side(p.size) for e, p in enumerate(embedder.preprocess) if image_id not in known[e]}
        decoded = {side: archive.pixels(image_id, min_side=side) for side in sorted(set(sides.values()))}
        return {e: embedder.preprocess[e](decoded[side]) for e, side in sides.items()}

    chunks = [todo[i : i + batch] for i in range(0, len(todo), batch)]
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


def _distinct(names: Sequence[str]) -> tuple[str, ...]:
    """Names with `#2`, `#3` … where one occurs again."""
    seen: dict[str, int] = {}
    result: list[str] = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return tuple(result)
