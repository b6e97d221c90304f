"""Tested images in other versions: read once, changed in memory, embedded anew."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import UInt8

from tapetum.archive import Archive
from tapetum.archive.pixels import shrink
from tapetum.bench.trial import Trial
from tapetum.core.types import Embeddings, ImageRecord
from tapetum.learn import Model
from tapetum.learn.features.embedder import Embedder

SIDE, AT_ONCE = 256, 16
Image = UInt8[np.ndarray, "h w 3"]
Change = Callable[[Image, ImageRecord], Image]


def rng_of(seed: int, what: str, record: ImageRecord) -> np.random.Generator:
    """A generator of one image and one change, whatever runs beside them or before."""
    return np.random.default_rng([seed, zlib.crc32(what.encode()), int(record.image_id[:12], 16)])


def read(archive: Archive, record: ImageRecord, side: int) -> Image:
    """The image with a shorter side of `side` pixels, so that a change means the same on each; never enlarged.

    Raises:
        DataError: it cannot be decoded.
    """
    return shrink(archive.pixels(record.image_id, min_side=side), side)


def side_of(embedder: Embedder) -> int:
    """Shorter side at which images are changed: `SIDE`, or the encoder's where that is larger."""
    return max(SIDE, *(p.size for p in embedder.preprocess))


def embedder_of(trial: Trial, model: Model) -> Embedder:
    """The image towers of a model."""
    return model.embedder(threads=trial.config.threads, cache=trial.test_archive.cache / "onnx")


def embed_changed(
    archive: Archive,
    records: Sequence[ImageRecord],
    embedder: Embedder,
    changes: Sequence[Change],
    progress: Callable[[int, int], None] | None = None,
) -> list[Embeddings]:
    """Features of every image after every change; nothing is cached, memory holds a few images at a time.

    Args:
        archive: of the images.
        records: which ones.
        embedder: the towers.
        changes: each gives one version.
        progress: called with versions embedded and versions in all.

    Returns:
        One `Embeddings` for each change, in the order of `records`.

    Raises:
        DataError: an image cannot be decoded.
    """
    side = side_of(embedder)
    rows = np.empty((len(changes), len(records), embedder.dim), np.float32)
    for start in range(0, len(records), AT_ONCE):
        part = records[start : start + AT_ONCE]
        images = [read(archive, record, side) for record in part]
        for number, change in enumerate(changes):
            versions = [change(image, record) for image, record in zip(images, part, strict=True)]
            rows[number, start : start + len(part)] = embedder.pixels(versions, batch=AT_ONCE)
        if progress:
            progress((start + len(part)) * len(changes), len(records) * len(changes))
    ids, patients = (tuple(getattr(r, name) for r in records) for name in ("image_id", "patient_id"))
    return [Embeddings(ids, patients, one, embedder.encoders, embedder.blocks) for one in rows]


def as_it_is(image: Image, record: ImageRecord) -> Image:
    """No change."""
    del record
    return image
