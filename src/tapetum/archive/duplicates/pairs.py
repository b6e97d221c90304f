"""Pairs of images that look like one, and the groups that they form.

What was seen at ingest is used where it was kept: then no image is decoded.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float16, Float32

from tapetum.archive.duplicates.confirm import kind_of, similarities
from tapetum.archive.duplicates.search import candidates
from tapetum.archive.duplicates.texture import DIMENSIONS, describe
from tapetum.archive.opened import Archive
from tapetum.archive.pixels import SIGHT_SIDE
from tapetum.archive.store.catalog import Catalog
from tapetum.core.store import atomic_write
from tapetum.core.types import Embeddings

# On one half of ODIR's patients: 4 pairs of 2,042 images reach it, all four one photograph under two numbers.
THRESHOLD = 0.70
LEAST_LIKENESS = 0.72
# On the same half, default encoder: nineteen of twenty crops to 85 % reach it, and more of every other planted copy.
EMBEDDING_THRESHOLD = 0.20
_VERSION = 4
_ALL_PAIRS_UP_TO = 16


@dataclass(frozen=True)
class Pair:
    """Two images of an archive that look like one.

    Attributes:
        first, second: image ids, in order. kind: `exact` (same pixels), `near`, `mirrored` or `turned` (upside down).
        similarity: of the textures, laid upon each other, -1..1. cosine: of centred embeddings, NaN where none.
    """

    first: str
    second: str
    kind: str
    similarity: float
    cosine: float = float("nan")


@dataclass(frozen=True, eq=False)
class Textures:
    """What the search of duplicates needs to know of images.

    Attributes:
        ids: image ids. values: their textures, half precision. digests: of their pixels.
    """

    ids: tuple[str, ...]
    values: Float16[np.ndarray, "n d"]
    digests: tuple[str, ...]


def duplicate_pairs(
    archive: Archive,
    embeddings: Embeddings | None = None,
    *,
    threshold: float = THRESHOLD,
    embedding_threshold: float = EMBEDDING_THRESHOLD,
) -> tuple[Pair, ...]:
    """All pairs of images that look like one.

    Args:
        archive: images that were not looked at during its ingest are decoded once; later calls read the cache.
        embeddings: of the archive's images; any pair but equal ones then stands only if its cosine agrees.
        threshold: least similarity of textures, -1..1.
        embedding_threshold: least cosine of centred features, -1..1.

    Returns:
        Pairs sorted by ids; `exact` where the decoded pixels are equal. Of images under 64 pixels only those are told.
    """
    seen = textures(archive)
    found = _pairs_before(archive, seen, threshold)
    if embeddings is None:
        return found
    of = dict(zip(seen.ids, centred(embeddings, seen.ids), strict=True))
    told = (Pair(p.first, p.second, p.kind, p.similarity, float(of[p.first] @ of[p.second])) for p in found)
    return tuple(p for p in told if p.kind == "exact" or p.cosine >= embedding_threshold)


def pairs_of(seen: Textures, *, threshold: float = THRESHOLD) -> tuple[Pair, ...]:
    """All pairs among images whose textures are known.

    Of images with equal pixels one is compared with the others; of more than 16 equal ones each is paired with the
    first only.

    Args:
        seen: textures and digests.
        threshold: least similarity of textures, -1..1.
    """
    equal: dict[str, list[int]] = defaultdict(list)
    for row, digest in enumerate(seen.digests):
        equal[digest].append(row)
    ids, found = seen.ids, list[Pair]()
    for rows in equal.values():
        several = itertools.combinations(rows, 2) if len(rows) <= _ALL_PAIRS_UP_TO else ((rows[0], r) for r in rows[1:])
        found += [_pair(ids[a], ids[b], "exact", 1.0) for a, b in several]
    one = np.array(sorted(rows[0] for rows in equal.values()), np.int64)
    values = seen.values[one] if len(one) < len(ids) else seen.values
    asked = candidates(values, least=LEAST_LIKENESS)
    alike = similarities(values, asked)
    for k in np.flatnonzero(alike >= threshold):
        a, b = ids[int(one[asked.asking[k]])], ids[int(one[asked.found[k]])]
        found.append(_pair(a, b, kind_of(int(asked.turn[k])), float(alike[k])))
    return tuple(sorted(found, key=lambda p: (p.first, p.second)))


def copies(learned: Archive, learned_ids: Collection[str], tested: Archive) -> frozenset[str]:
    """Images of an archive that look like one that a model learns on, here or in another archive.

    Args:
        learned: where is learned.
        learned_ids: on which of its images.
        tested: the same archive or another one.

    Returns:
        Ids of images of `tested`, none of `learned_ids` among them, that form one group with a learned one.
    """
    if learned.digest == tested.digest:
        found = duplicate_pairs(learned)
    else:
        a, b = textures(learned), textures(tested)
        found = pairs_of(Textures(a.ids + b.ids, np.concatenate([a.values, b.values]), a.digests + b.digests))
    on, asked = set(learned_ids), {r.image_id for r in tested.records}
    crossing = (group for group in groups(found) if not on.isdisjoint(group))
    return frozenset(i for group in crossing for i in group if i in asked and i not in on)


def equal_copies(learned: Archive, learned_ids: Collection[str], tested: Archive) -> frozenset[str]:
    """Images of an archive with the very pixels of one that a model learns on, whatever file they lie in.

    Args:
        learned: where is learned.
        learned_ids: on which of its images.
        tested: the same archive or another one.

    Returns:
        Ids of images of `tested`, none of `learned_ids` among them.
    """
    on, here, there = set(learned_ids), textures(learned), textures(tested)
    pixels = {d for i, d in zip(here.ids, here.digests, strict=True) if i in on}
    return frozenset(i for i, d in zip(there.ids, there.digests, strict=True) if d in pixels and i not in on)


def groups(pairs: Sequence[Pair]) -> tuple[tuple[str, ...], ...]:
    """Images that are one picture, sorted; the medoid of each group, the one most alike to the others, comes first.

    A chain (a like b, b like c, a unlike c) is no group: all members of a group were found alike to its medoid. What is
    left of a chain forms groups of its own.

    Example:
        >>> groups([Pair("a", "b", "near", 0.9), Pair("b", "c", "near", 0.8), Pair("c", "d", "near", 0.9)])
        (('b', 'a'), ('c', 'd'))
    """
    same = _classes([p for p in pairs if p.kind == "exact"])
    members: dict[str, set[str]] = defaultdict(set)
    for image, first in same.items():
        members[first].add(image)
    links: dict[str, dict[str, float]] = defaultdict(dict)
    for p in pairs:
        a, b = same.get(p.first, p.first), same.get(p.second, p.second)
        for image in (a, b):
            links.setdefault(image, {})
        if a != b:
            links[a][b] = links[b][a] = max(p.similarity, links[a].get(b, -1.0))
    left, found = set(links), list[tuple[str, ...]]()
    while left:
        medoid = max(sorted(left), key=lambda a: sum(s for b, s in links[a].items() if b in left))
        taken = {b for b in links[medoid] if b in left and _nearer(b, medoid, links, left)}
        left -= taken | {medoid}
        rest = sorted(i for b in (medoid, *taken) for i in members.get(b, {b}) if i != medoid)
        found += [(medoid, *rest)] if rest else []
    return tuple(sorted(found))


def textures(archive: Archive) -> Textures:
    """Textures and pixel digests of all images, from the catalog where it has them, else from the archive's cache."""
    ids = tuple(r.image_id for r in archive.records)
    known = _kept(archive) | _seen(archive)
    missing = [image_id for image_id in ids if image_id not in known]
    for image_id in missing:
        image = archive.pixels(image_id, min_side=SIGHT_SIDE)
        digest = hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()
        known[image_id] = describe(image).astype(np.float16), digest
    values = np.stack([known[i][0] for i in ids]) if ids else np.zeros((0, DIMENSIONS), np.float16)
    digests = tuple(known[i][1] for i in ids)
    if missing:
        _store(_cache(archive), ids, values, digests)
    return Textures(ids, values, digests)


_Known = dict[str, tuple[Float16[np.ndarray, "d"], str]]


def _seen(archive: Archive) -> _Known:
    """What the catalog keeps of the looks at ingest; nothing where the archive is older or has no catalog."""
    place, found = archive.path / "catalog.sqlite", _Known()
    if not place.is_file():
        return found
    catalog = Catalog(place, as_it_is=True)
    try:
        if catalog.has("sights"):
            for sight in catalog.sights():
                if sight.texture.size == DIMENSIONS:
                    found[sight.image_id] = sight.texture.astype(np.float16), str(sight.facts["pixels"])
    finally:
        catalog.close()
    return found


def _kept(archive: Archive) -> _Known:
    place = _cache(archive)
    if place.is_file():
        try:
            with np.load(place, allow_pickle=False) as loaded:
                rows = zip(loaded["ids"].tolist(), loaded["values"], loaded["digests"].tolist(), strict=True)
                return {image_id: (texture, digest) for image_id, texture, digest in rows}
        except (OSError, ValueError, KeyError):
            pass  # a damaged cache is only slow
    return {}


def _cache(archive: Archive) -> Path:
    return archive.cache / f"texture-v{_VERSION}.npz"


def _store(place: Path, ids: Sequence[str], values: Float[np.ndarray, "n d"], digests: Sequence[str]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, ids=np.array(ids), values=values, digests=np.array(digests))
    atomic_write(place, buffer.getvalue())


def _pairs_before(archive: Archive, seen: Textures, threshold: float) -> tuple[Pair, ...]:
    """Pairs as they were found last time, where the images are the same; else found and kept."""
    place = archive.cache / "pairs.json"
    told = json.dumps([_VERSION, threshold, seen.ids, seen.digests])
    key = hashlib.sha256(told.encode() + seen.values.tobytes()).hexdigest()
    try:
        kept = json.loads(place.read_text(encoding="utf-8"))
        if kept["key"] == key:
            return tuple(Pair(*row) for row in kept["pairs"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # absent or damaged: found anew
    found = pairs_of(seen, threshold=threshold)
    rows = [(p.first, p.second, p.kind, p.similarity) for p in found]
    atomic_write(place, json.dumps({"key": key, "pairs": rows}).encode())
    return found


def centred(embeddings: Embeddings, ids: Sequence[str]) -> Float32[np.ndarray, "n d"]:
    """Features without their mean, of length 1: their products are cosines that different photographs do not share."""
    features = embeddings.rows(ids).features
    features = features - features.mean(axis=0)
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _pair(a: str, b: str, kind: str, similarity: float) -> Pair:
    return Pair(min(a, b), max(a, b), kind, similarity)


def _classes(pairs: Sequence[Pair]) -> dict[str, str]:
    """Each image that a pair names → the first of its connected component."""
    parent: dict[str, str] = {}

    def root(image: str) -> str:
        while parent.setdefault(image, image) != image:
            parent[image] = image = parent[parent[image]]
        return image

    for p in pairs:
        a, b = sorted((root(p.first), root(p.second)))
        parent[b] = a
    return {image: root(image) for image in list(parent)}


def _nearer(image: str, medoid: str, links: Mapping[str, Mapping[str, float]], left: set[str]) -> bool:
    """Whether an image is at least as like the medoid as any that stays outside the medoid's group."""
    outside = (s for b, s in links[image].items() if b in left and b != medoid and b not in links[medoid])
    return links[image][medoid] >= max(outside, default=-1.0)
