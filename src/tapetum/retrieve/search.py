"""Search an archive by words or by an image, through a model that has both in one space.

For research and second-reader support, not a cleared device: a similar case is no diagnosis.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tapetum.archive import Archive, decode
from tapetum.core.errors import DataError, UsageError
from tapetum.learn import Model, embed
from tapetum.retrieve.index import Index

_SNIPPET = 100


@dataclass(frozen=True)
class Hit:
    """One image that was found.

    Attributes:
        score: cosine in -1..1, higher = fits better. report: the beginning of its report.
    """

    image_id: str
    patient_id: str
    laterality: str
    score: float
    source: str
    report: str


def search(
    archive: Archive,
    model: Model,
    *,
    text: str = "",
    image: Path | None = None,
    k: int = 10,
    threads: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Hit]:
    """The images of an archive that fit some words, or are like an image; nothing is fitted.

    Args:
        archive: its images are searched.
        model: an aligner, which has images and words in one space.
        text: words to look for.
        image: or an image file to find the like of; exactly one of both.
        k: how many images.
        threads: 0 = all cores.
        progress: called with images embedded and images in all.

    Returns:
        Hits, best first; fewer than `k` where the archive has fewer images.

    Raises:
        UsageError: neither or both of text and image, or a model that knows no words. DataError: an unreadable image.
    """
    if bool(text.strip()) == bool(image):
        raise UsageError("search needs words or an image", "--text '…' or --image FILE")
    embedder = model.embedder(threads=threads, cache=archive.cache / "onnx")
    if image is None:
        query = model.encode_text([text])
    else:
        try:
            pixels = decode(image.read_bytes(), min_side=max(p.size for p in embedder.preprocess))
        except OSError as error:
            raise DataError(f"{image} cannot be read: {error.strerror or error}", "an image file") from None
        query = model.encode_image(embedder.pixels([pixels]))
    found = embed(archive, embedder, progress=progress)
    index = Index(model.encode_image(found.features), found.image_ids, found.patient_ids)
    hits = index.search(query, k)
    return [_hit(archive, i, float(s)) for i, s in zip(hits.image_ids[0], hits.scores[0], strict=True) if i]


def _hit(archive: Archive, image_id: str, score: float) -> Hit:
    r = archive.record(image_id)
    report = textwrap.shorten(r.report, _SNIPPET, placeholder=" …")
    return Hit(image_id, r.patient_id, r.laterality.value, score, r.source, report)
