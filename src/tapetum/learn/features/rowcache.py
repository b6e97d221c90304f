"""Rows of numbers under ids, in append-only files: what a killed run has finished is not computed again."""

from __future__ import annotations

import hashlib
import io
import warnings
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from tapetum.core.store import atomic_write

FLUSH_ROWS = 256
# What numpy and zipfile raise on a file that was cut, changed or is no shard at all.
_DAMAGE = (OSError, ValueError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error)


class RowCache:
    """Float32 rows of one width, kept in a folder of `.npz` shards.

    A shard is written whole under a name made from its ids and never changed, so that several processes may write side
    by side. A damaged shard is reported, removed and computed again.

    Args:
        folder: made on the first write.
        dim: columns of a row.
    """

    def __init__(self, folder: Path, dim: int) -> None:
        self.folder = folder
        self.dim = dim
        self._ids: list[str] = []
        self._rows: list[Float32[np.ndarray, "d"]] = []

    def fill(self, target: Float32[np.ndarray, "n d"], place: Mapping[str, Sequence[int]]) -> set[str]:
        """Copy every kept row that is asked for into `target`.

        Args:
            target: written to at the rows that `place` names.
            place: id → rows of `target`.

        Returns:
            The ids that were found.
        """
        found: set[str] = set()
        for path in sorted(self.folder.glob("*.npz")):
            try:
                ids, rows = self._read(path)
            except _DAMAGE as error:
                warnings.warn(
                    f"cache file {path.name} is damaged and computed again: {error}", RuntimeWarning, stacklevel=3
                )
                path.unlink(missing_ok=True)
                continue
            for image_id, row in zip(ids, rows, strict=True):
                if image_id in place:
                    target[place[image_id]] = row
                    found.add(image_id)
        return found

    def add(self, ids: Sequence[str], rows: Float32[np.ndarray, "m d"]) -> None:
        """Keep rows; every 256 of them reach the disk together."""
        self._ids.extend(ids)
        self._rows.extend(rows)
        if len(self._ids) >= FLUSH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write what is not yet on disk."""
        if not self._ids:
            return
        buffer = io.BytesIO()
        np.savez(buffer, ids=np.array(self._ids, dtype=np.str_), rows=np.stack(self._rows))
        name = hashlib.sha256("\n".join(self._ids).encode()).hexdigest()[:16]
        atomic_write(self.folder / f"{name}.npz", buffer.getvalue())
        self._ids, self._rows = [], []

    def _read(self, path: Path) -> tuple[list[str], Float32[np.ndarray, "m d"]]:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as shard:
            ids, rows = shard["ids"], shard["rows"]
        if rows.shape != (len(ids), self.dim) or rows.dtype != np.float32 or not np.isfinite(rows).all():
            raise ValueError(f"rows of shape {rows.shape}, {len(ids)} ids")
        return [str(i) for i in ids], rows
