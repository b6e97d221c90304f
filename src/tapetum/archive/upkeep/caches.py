"""Derived files below `.cache`: rows under image ids, kept or dropped without knowing what computed them."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tapetum.core.store import atomic_write

MODELS = "onnx"  # exported encoders: made of weights alone
_DAMAGE = (OSError, ValueError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error)


def shards(cache: Path) -> tuple[Path, ...]:
    """All files of rows below a cache, sorted."""
    return tuple(sorted(p for p in cache.rglob("*.npz") if p.is_file()))


def has_other_rows(shard: Path, keep: Callable[[str], bool]) -> bool:
    """Whether a shard holds rows that are not to be kept, or cannot be read."""
    try:
        with np.load(shard, allow_pickle=False) as arrays:
            return not all(keep(str(i)) for i in arrays["ids"])
    except _DAMAGE:
        return True


def drop_rows(shard: Path, keep: Callable[[str], bool]) -> None:
    """Write a shard anew without the rows that are not to be kept; one that cannot be read or ends empty is deleted.

    The new shard is on disk before the old one goes: a kill in between leaves rows twice, which costs nothing.
    """
    try:
        with np.load(shard, allow_pickle=False) as arrays:
            ids = [str(i) for i in arrays["ids"]]
            kept = [n for n, i in enumerate(ids) if keep(i)]
            rows = {name: arrays[name][kept] for name in arrays.files}
    except (*_DAMAGE, IndexError):
        shard.unlink(missing_ok=True)
        return
    if kept:
        buffer = io.BytesIO()
        np.savez(buffer, **rows)
        name = hashlib.sha256("\n".join(ids[n] for n in kept).encode()).hexdigest()[:16]
        new = shard.with_name(f"{name}.npz")
        atomic_write(new, buffer.getvalue())
        if new == shard:
            return
    shard.unlink(missing_ok=True)


def unknown_files(cache: Path) -> tuple[Path, ...]:
    """Cached files that are neither rows nor models: whose they are cannot be told."""
    return tuple(
        sorted(
            p
            for p in cache.rglob("*")
            if p.is_file() and p.suffix != ".npz" and p.relative_to(cache).parts[0] != MODELS
        )
    )
