"""Images met twice: the same pixels, or the same photograph re-encoded, resized, cropped to its field or mirrored.

Each image becomes a small descriptor: the field of view cut out, the green channel's fine texture (vessels, lesions)
with the local contrast evened out, 32 × 32. Two photographs of different eyes have unrelated texture; a copy keeps
it. All pairs are compared by matrix products in blocks. Embeddings, where there are some, confirm a pair
independently.
"""

from __future__ import annotations

import hashlib
import io
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from tapetum.archive.opened import Archive
from tapetum.archive.pixels import shrink
from tapetum.core.store import atomic_write
from tapetum.core.types import Embeddings

SIDE = 32
DECODED_SIDE = 128
SMALLEST_SIDE = 64
# On 4,023 public fundus photographs: copies in JPEG 50 or at 0.6 of the size score above 0.79 (5th percentile). Of the
# 10 pairs of different patients above 0.70, 9 show one eye under two numbers; below it dirt on one lens prevails.
THRESHOLD = 0.70
EMBEDDING_THRESHOLD = 0.90
_VERSION = 3
_WHITE = 245
_BLOCK = 1024


@dataclass(frozen=True)
class Pair:
    """Two images of an archive that look like one.

    Attributes:
        first, second: image ids, in order. kind: `exact` (same pixels), `near` or `mirrored`.
        similarity: of the descriptors, -1..1. cosine: of centred embeddings, NaN where there are none.
    """

    first: str
    second: str
    kind: str
    similarity: float
    cosine: float = float("nan")


def describe(image: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "d"]:
    """The texture of an image as a unit vector of 32 × 32 numbers; all zero for an image without any texture.

    Example:
        >>> flat = np.full((64, 64, 3), 90, np.uint8)
        >>> float(np.abs(describe(flat)).max())
        0.0
    """
    green = field_of_view(shrink(image, DECODED_SIDE))[..., 1].astype(np.float32)
    larger = green.shape[0] > 2 * SIDE
    green = cv2.resize(green, (2 * SIDE, 2 * SIDE), interpolation=cv2.INTER_AREA if larger else cv2.INTER_LINEAR)
    fine = green - cv2.GaussianBlur(green, (0, 0), 2)
    spread = np.sqrt(cv2.GaussianBlur(fine * fine, (0, 0), 6))
    # Clipped, so that disc and fovea, which lie alike in most photographs, do not outweigh the vessels.
    even = cv2.resize(np.clip(fine / (spread + 1.0), -1, 1), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    axis = (np.arange(SIDE) + 0.5) / SIDE * 2 - 1
    # The rim of the field is alike in all photographs of a camera and would count as likeness.
    inside = np.hypot(axis[:, None], axis[None, :]) < 0.85
    even = np.where(inside, even - even[inside].mean(), 0).astype(np.float32).ravel()
    length = float(np.linalg.norm(even))
    return even / np.float32(length) if length > 1e-3 else np.zeros_like(even)


def field_of_view(image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "r c 3"]:
    """The part of the image inside its dark or white border; the whole image where there is none."""
    bright: Bool[np.ndarray, "h w"] = image.max(axis=2) > 0.12 * np.percentile(image, 97)
    bright &= image.min(axis=2) < _WHITE
    rows = np.flatnonzero(bright.mean(axis=1) > 0.03)
    columns = np.flatnonzero(bright.mean(axis=0) > 0.03)
    if rows.size < 8 or columns.size < 8:
        return image
    return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def descriptors(archive: Archive) -> Float32[np.ndarray, "n d"]:
    """Descriptors of all images in the order of the records; kept in the archive's cache."""
    ids = [r.image_id for r in archive.records]
    place = archive.cache / f"texture-v{_VERSION}.npz"
    known: dict[str, Float32[np.ndarray, "d"]] = {}
    if place.is_file():
        try:
            with np.load(place, allow_pickle=False) as loaded:
                known = dict(zip(loaded["ids"].tolist(), loaded["values"], strict=True))
        except (OSError, ValueError, KeyError):
            known = {}  # a damaged cache is only slow
    missing = [image_id for image_id in ids if image_id not in known]
    for image_id in missing:
        large = _is_large(archive, image_id)
        known[image_id] = (
            describe(archive.pixels(image_id, min_side=DECODED_SIDE)) if large else np.zeros(SIDE * SIDE, "f4")
        )
    values = np.stack([known[i] for i in ids]) if ids else np.zeros((0, SIDE * SIDE), np.float32)
    if missing:
        _store(place, ids, values)
    return values


def duplicate_pairs(
    archive: Archive,
    embeddings: Embeddings | None = None,
    *,
    threshold: float = THRESHOLD,
    embedding_threshold: float = EMBEDDING_THRESHOLD,
) -> tuple[Pair, ...]:
    """All pairs of images that look like one.

    Args:
        archive: its images are decoded once; later calls read the cache.
        embeddings: of the archive's images; a near or mirrored pair then stands only if its cosine agrees.
        threshold: least similarity of descriptors, -1..1.
        embedding_threshold: least cosine of centred features, -1..1.

    Returns:
        Pairs sorted by ids; `exact` where the decoded pixels are equal. Of images under 64 pixels only those are told.
    """
    ids = [r.image_id for r in archive.records]
    values = descriptors(archive)
    centred = _centred(embeddings, ids)
    pairs = _equal_small(archive)
    for i, j, similarity, mirrored in candidate_pairs(values, threshold):
        cosine = float("nan") if centred is None else float(centred[i] @ centred[j])
        same = not mirrored and similarity > 0.999 and _pixels_id(archive, ids[i]) == _pixels_id(archive, ids[j])
        if same or centred is None or cosine >= embedding_threshold:
            kind = "exact" if same else "mirrored" if mirrored else "near"
            pairs.append(Pair(ids[i], ids[j], kind, similarity, cosine))
    return tuple(sorted(pairs, key=lambda p: (p.first, p.second)))


def candidate_pairs(values: Float32[np.ndarray, "n d"], threshold: float) -> Iterator[tuple[int, int, float, bool]]:
    """Rows i < j whose descriptors agree, upright or mirrored: (i, j, similarity, mirrored)."""
    mirror = values.reshape(-1, SIDE, SIDE)[:, :, ::-1].reshape(len(values), -1)
    for start in range(0, len(values), _BLOCK):
        block = values[start : start + _BLOCK]
        upright, flipped = block @ values[start:].T, block @ mirror[start:].T
        best = np.maximum(upright, flipped)
        for a, b in np.argwhere(best >= threshold):
            if b > a:
                yield int(start + a), int(start + b), float(best[a, b]), bool(flipped[a, b] > upright[a, b])


def _is_large(archive: Archive, image_id: str) -> bool:
    record = archive.record(image_id)
    return min(record.width, record.height) >= SMALLEST_SIDE


def _equal_small(archive: Archive) -> list[Pair]:
    """Pairs of equal pixels among the images that are too small to have a texture."""
    groups: dict[str, list[str]] = {}
    for record in archive.records:
        if not _is_large(archive, record.image_id):
            groups.setdefault(_pixels_id(archive, record.image_id), []).append(record.image_id)
    return [Pair(a, b, "exact", 1.0) for ids in groups.values() for a, b in itertools.combinations(ids, 2)]


def _centred(embeddings: Embeddings | None, ids: Sequence[str]) -> Float32[np.ndarray, "n d"] | None:
    if embeddings is None:
        return None
    features = embeddings.rows(ids).features
    features = features - features.mean(axis=0)
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _pixels_id(archive: Archive, image_id: str) -> str:
    image = archive.pixels(image_id, min_side=0)
    return hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()


def _store(place: Path, ids: Sequence[str], values: Float32[np.ndarray, "n d"]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, ids=np.array(ids), values=values)
    atomic_write(place, buffer.getvalue())
