"""Exact cosine search, in chunks so that memory stays bounded.

For research and second-reader support, not a cleared device: a similar case is no diagnosis.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int

from tapetum.core.errors import DataError, UsageError

QUERIES_AT_ONCE = 256
ROWS_AT_ONCE = 65_536


@dataclass(frozen=True)
class Hits:
    """The nearest images of each query, best first.

    Attributes:
        image_ids: `""` where fewer images are left than were asked for.
        scores: cosine in -1..1, higher = more alike, NaN where no image is left.
    """

    image_ids: tuple[tuple[str, ...], ...]
    scores: Float32[np.ndarray, "q k"]


class Index:
    """Unit vectors with the ids that say whose they are.

    Args:
        vectors: one row per image, any length but 0; stored at length 1.
        image_ids: row by row.
        patient_ids: row by row.

    Raises:
        DataError: lengths that differ, no rows, a NaN, or a vector of length 0.

    Example:
        >>> index = Index(np.eye(3, dtype=np.float32), ("x", "y", "z"), ("p", "p", "q"))
        >>> index.search(np.array([[1.0, 0.5, 0.1]], dtype=np.float32), 2, exclude_patients=("p",)).image_ids
        (('z', ''),)
    """

    def __init__(self, vectors: Float[np.ndarray, "n d"], image_ids: Sequence[str], patient_ids: Sequence[str]) -> None:
        if not len(vectors) == len(image_ids) == len(patient_ids) or not len(vectors):
            raise DataError(
                f"{len(vectors)} vectors, {len(image_ids)} images, {len(patient_ids)} patients", "one of each per row"
            )
        self.vectors = unit(vectors)
        self.image_ids = tuple(image_ids)
        self.patient_ids = tuple(patient_ids)
        self._codes = {name: code for code, name in enumerate(dict.fromkeys(patient_ids))}
        self._patients = np.array([self._codes[name] for name in patient_ids], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.image_ids)

    def search(
        self, queries: Float[np.ndarray, "q d"], k: int, *, exclude_patients: Sequence[str] | None = None
    ) -> Hits:
        """The `k` images most like each query; of equal ones, the first in the index.

        Args:
            queries: any length but 0.
            k: how many, at least 1.
            exclude_patients: per query, the patient whose images are not to be found (its own); `""` excludes nobody.

        Returns:
            Best first.

        Raises:
            DataError: another width, a NaN, a vector of length 0, or not one patient per query.
            UsageError: k below 1.
        """
        if k < 1:
            raise UsageError(f"k={k}", "at least 1")
        if queries.ndim != 2 or queries.shape[1] != self.vectors.shape[1]:
            raise DataError(f"queries of shape {queries.shape}", f"[q {self.vectors.shape[1]}]")
        if exclude_patients is not None and len(exclude_patients) != len(queries):
            raise DataError(f"{len(exclude_patients)} patients for {len(queries)} queries", "one per query")
        without = np.array([self._codes.get(p, -1) for p in exclude_patients or [""] * len(queries)], dtype=np.int64)
        wanted = unit(queries)
        scores = np.full((len(queries), k), np.nan, np.float32)
        names: list[tuple[str, ...]] = []
        for first in range(0, len(queries), QUERIES_AT_ONCE):
            part = slice(first, first + QUERIES_AT_ONCE)
            rows, found = self._best(wanted[part], without[part], k)
            scores[part, : found.shape[1]] = np.where(rows >= 0, found, np.nan)
            padded = np.pad(rows, ((0, 0), (0, k - rows.shape[1])), constant_values=-1)
            names += [tuple(self.image_ids[i] if i >= 0 else "" for i in row) for row in padded.tolist()]
        return Hits(tuple(names), scores)

    def _best(
        self, queries: Float32[np.ndarray, "q d"], without: Int[np.ndarray, "q"], k: int
    ) -> tuple[Int[np.ndarray, "q m"], Float32[np.ndarray, "q m"]]:
        """Merge the best of each chunk of the index; row -1 where none is left."""
        rows, best = np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32)
        for start, chunk, patients in self._chunks():
            score = queries @ chunk.T
            score[patients[None, :] == without[:, None]] = -np.inf
            near = _top(score, k)
            rows = np.concatenate([rows, near + start], axis=1)
            best = np.concatenate([best, np.take_along_axis(score, near, axis=1)], axis=1)
            keep = np.argsort(-best, axis=1, kind="stable")[:, :k]
            rows, best = np.take_along_axis(rows, keep, axis=1), np.take_along_axis(best, keep, axis=1)
        return np.where(np.isinf(best), -1, rows), best

    def _chunks(self) -> Iterator[tuple[int, Float32[np.ndarray, "m d"], Int[np.ndarray, "m"]]]:
        for start in range(0, len(self), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            yield start, self.vectors[part], self._patients[part]


def unit(vectors: Float[np.ndarray, "n d"]) -> Float32[np.ndarray, "n d"]:
    """Rows at length 1, float32.

    Raises:
        DataError: a NaN or infinite value, or a row of length 0.
    """
    length = np.linalg.norm(vectors.astype(np.float64), axis=1)
    wrong = ~(np.isfinite(length) & (length > 0))
    if wrong.any():
        raise DataError(
            f"{int(wrong.sum())} of {len(vectors)} vectors are 0 or not finite, first row {int(np.argmax(wrong))}",
            "finite vectors that point somewhere",
            "embed these images again",
        )
    return (vectors / length[:, None]).astype(np.float32)


def _top(scores: Float32[np.ndarray, "q m"], k: int) -> Int[np.ndarray, "q j"]:
    """Columns of the `k` largest in ascending order of column; at the edge the first of equal ones."""
    if scores.shape[1] <= k:
        return np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    edge = -np.partition(-scores, k - 1, axis=1)[:, k - 1]
    above = scores > edge[:, None]
    tied = scores == edge[:, None]
    room = k - above.sum(axis=1)
    chosen = above | (tied & (np.cumsum(tied, axis=1) <= room[:, None]))
    return np.nonzero(chosen)[1].reshape(len(scores), k)
