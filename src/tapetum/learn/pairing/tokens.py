"""Local features of the images of pairs: computed once, in half precision, refused before they fill the memory."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float16, Int

from tapetum.core.errors import DataError, UsageError
from tapetum.learn.features.embed import ImageSource, decode_side
from tapetum.learn.features.embedder import Embedder
from tapetum.learn.features.rowcache import RowCache
from tapetum.learn.training.memory import free_memory

AT_ONCE = 16
_VERSION = 1  # raise when the same towers would give other tokens
SHARE = 0.5  # of the free memory that tokens may take


@dataclass(frozen=True)
class Tokens:
    """Local features of some images, encoder by encoder.

    Attributes:
        maps: of each encoder the tokens of every image, row by row of its grid.
        columns: of each encoder the first and last + 1 column of the pooled block that is the mean of its tokens.
        grids: rows and columns of each map.
        image_ids: whose they are.
    """

    maps: tuple[Float16[np.ndarray, "n t d"], ...]
    columns: tuple[tuple[int, int], ...]
    grids: tuple[tuple[int, int], ...]
    image_ids: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        widths = [
            (m.shape[1:], (g[0] * g[1], b - a))
            for m, (a, b), g in zip(self.maps, self.columns, self.grids, strict=True)
        ]
        if not widths or any(found != wanted for found, wanted in widths):
            raise UsageError(
                f"token maps (found, by grid and columns): {widths}",
                "one token per place of the grid, as wide as its block",
            )

    def rows(self, rows: Int[np.ndarray, "m"]) -> Tokens:
        """Those of some images."""
        ids = tuple(self.image_ids[i] for i in rows) if self.image_ids else ()
        return Tokens(tuple(m[rows] for m in self.maps), self.columns, self.grids, ids)

    def of(self, image_ids: Sequence[str]) -> Tokens:
        """Those of the images named.

        Raises:
            DataError: an image without tokens.
        """
        place = {name: i for i, name in enumerate(self.image_ids)}
        missing = [name for name in image_ids if name not in place]
        if missing:
            raise DataError(f"{len(missing)} images without tokens, first {missing[0][:12]}", "tokens of every image")
        return self.rows(np.array([place[name] for name in image_ids], dtype=np.intp))


def token_bytes(images: int, embedder: Embedder) -> int:
    """Memory that the tokens of some images take, in bytes."""
    return sum(2 * images * grid[0] * grid[1] * (b - a) for grid, (a, b) in _shapes(embedder))


def tokens_of(archive: ImageSource, embedder: Embedder, image_ids: Sequence[str], *, available: int = 0) -> Tokens:
    """Local features of images of an archive; what was computed before is read from the cache.

    Args:
        archive: images by id.
        embedder: the towers; tokens always run through torch.
        image_ids: which images and in what order.
        available: bytes that may be taken, 0 = half of what this machine has free, where it tells.

    Raises:
        UsageError: they would take more than that.
        DataError: an id is not in the archive, an image cannot be decoded, or a token is not finite.
    """
    needed, available = token_bytes(len(image_ids), embedder), available or int(SHARE * free_memory())
    if available and needed > available:
        raise UsageError(
            f"tokens of {len(image_ids)} images take {needed / 1e9:.2f} GB, {available / 1e9:.2f} GB may be taken",
            "one encoder, a smaller size, or fewer images", "encoders=efficientnet_lite(size=224)",
        )  # fmt: skip
    shapes = _shapes(embedder)
    maps = tuple(np.empty((len(image_ids), g[0] * g[1], b - a), dtype=np.float16) for g, (a, b) in shapes)
    for e, found in enumerate(maps):
        _fill(archive, embedder, e, image_ids, found)
    return Tokens(maps, tuple(c for _, c in shapes), tuple(g for g, _ in shapes), tuple(image_ids))


def _shapes(embedder: Embedder) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Grid and columns of each encoder's tokens."""
    return [
        (runner.spec.grid, embedder.blocks[f"{name}/{runner.spec.token_block}"])
        for name, runner in zip(embedder.names, embedder.runners, strict=True)
    ]


def _fill(archive: ImageSource, embedder: Embedder, e: int, ids: Sequence[str], target: np.ndarray) -> None:
    runner, preprocess = embedder.runners[e], embedder.preprocess[e]
    _, count, width = target.shape
    flat = target.reshape(len(target), count * width)
    whole = json.dumps([dataclasses.asdict(runner.spec), preprocess.digest, "tokens", _VERSION], sort_keys=True)
    key = f"{runner.spec.name}-tokens-{hashlib.sha256(whole.encode()).hexdigest()[:16]}"
    store = RowCache(archive.cache / "embeddings" / key, count * width)
    place: dict[str, list[int]] = {}
    for row, name in enumerate(ids):
        place.setdefault(name, []).append(row)
    known = store.fill(flat, place)
    wanted = [name for name in place if name not in known]
    side = decode_side(preprocess.size)
    for start in range(0, len(wanted), AT_ONCE):
        chosen = wanted[start : start + AT_ONCE]
        rows = runner.tokens(np.stack([preprocess(archive.pixels(name, min_side=side)) for name in chosen]))
        rows = rows.reshape(len(chosen), count * width)
        if not np.isfinite(rows.astype(np.float16)).all():
            raise DataError(f"{embedder.names[e]} gives tokens that are not finite in half precision", "finite numbers")
        store.add(chosen, rows)
        for name, row in zip(chosen, rows, strict=True):
            flat[place[name]] = row
    store.flush()
