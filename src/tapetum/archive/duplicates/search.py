"""Which textures may be copies: an inverted file over low frequencies, asked for every image whole, mirrored, cropped.

Each image asks for "I, cut in this way, am that one". A texture's lowest 16 × 16 cosine coefficients are enough to
compute those of any of its windows by one matrix, so that no question needs the texture itself. Questions go to one
cell of a spherical k-means, where every image lies in its nearest three: the work grows with n^1.5, not n². Up to 4,096
images there is one cell, and nothing can be missed.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from jaxtyping import Float, Float32, Int64

from tapetum.archive.duplicates.texture import RADIUS, SIDE, as_maps

_T = TypeVar("_T")
_R = TypeVar("_R")
Window = tuple[float, float, float, float]  # parts cut off left, top, right, bottom
EXACT_UP_TO = 4096
CELLS, HOMES = 512, 3
_ASKED, _KEPT = 16, 12  # cosine coefficients per axis, of the image that asks and of the one that is asked
_INSIDE = RADIUS < 0.85  # the rim of the field is alike in all photographs of a camera
_BLOCK, _QUESTIONS = 8192, 65536  # textures at a time; questions at a time: few per cell would waste the time
_PER_IMAGE = 8  # of the best answers to one question: a thousand equal frames must not fill the memory


def _windows() -> tuple[Window, ...]:
    found: list[Window] = [(0, 0, 0, 0), (0.04, 0.04, 0.04, 0.04)]
    for total, steps in ((0.08, (0.01, 0.07)), (0.14, (0.015, 0.07, 0.125))):
        found += [(x, y, total - x, total - y) for x in steps for y in steps]
    found += [(0.1, 0, 0, 0), (0, 0.1, 0, 0), (0, 0, 0.1, 0), (0, 0, 0, 0.1)]
    return tuple(found)


WINDOWS = _windows()
_WHOLE_AND_SOME = tuple(range(len(WINDOWS)))
# (mirrored left to right, upside down) and which windows are asked for
TURNS: tuple[tuple[bool, bool, tuple[int, ...]], ...] = (
    (False, False, _WHOLE_AND_SOME),
    (True, False, _WHOLE_AND_SOME[:6] + _WHOLE_AND_SOME[10:11]),
    (True, True, (0,)),
    (False, True, (0,)),
)


@dataclass(frozen=True, eq=False)
class Candidates:
    """Questions that found an answer: image `asking`, turned and cut, may be image `found`.

    Attributes:
        asking, found: rows. turn, window: numbers in `TURNS` and `WINDOWS`. likeness: of low frequencies, -1..1.
    """

    asking: Int64[np.ndarray, "m"]
    found: Int64[np.ndarray, "m"]
    turn: Int64[np.ndarray, "m"]
    window: Int64[np.ndarray, "m"]
    likeness: Float32[np.ndarray, "m"]


def candidates(values: Float[np.ndarray, "n d"], *, least: float) -> Candidates:
    """Pairs of textures that may be copies, each pair once, with the best question.

    Args:
        values: textures; rows of zeros match nothing.
        least: likeness of low frequencies, -1..1.
    """
    asked = _coefficients(values)
    place = _File(_unit(asked @ _operator((0, 0, 0, 0))))
    best = _none()
    for turn, (mirrored, upside_down, windows) in enumerate(TURNS):
        turned = asked * _signs(mirrored, upside_down)
        for window in windows:
            operator = _operator(WINDOWS[window])
            for start in range(0, len(values), _QUESTIONS):
                questions = _asked(turned[start : start + _QUESTIONS], operator)
                rows, found, likeness = place.ask(questions, start, least)
                numbers = np.full(len(rows), turn), np.full(len(rows), window)
                best = _best_of(best, Candidates(rows, found, *numbers, likeness), len(values))
    return best


def _asked(turned: Float32[np.ndarray, "n a"], operator: Float32[np.ndarray, "a k"]) -> Float32[np.ndarray, "n k"]:
    def of(block: Float32[np.ndarray, "b a"]) -> Float32[np.ndarray, "b k"]:
        return _unit(block @ operator)

    return np.concatenate(_in_threads(of, list(_blocks(turned))))


def windowed(maps: Float32[np.ndarray, "n 32 32"], window: Window) -> Float32[np.ndarray, "n 32 32"]:
    """The window of each map, stretched to a whole one."""
    left, top, right, bottom = window
    rows, columns = (_sampling(a, b).astype(np.float32) for a, b in ((top, bottom), (left, right)))
    return np.asarray(rows @ maps @ columns.T)


def turned(maps: Float32[np.ndarray, "n 32 32"], turn: int) -> Float32[np.ndarray, "n 32 32"]:
    """The maps mirrored or turned as `TURNS` says."""
    mirrored, upside_down, _ = TURNS[turn]
    return maps[:, :: -1 if upside_down else 1, :: -1 if mirrored else 1]


class _File:
    """Textures by their nearest centres."""

    def __init__(self, values: Float32[np.ndarray, "n k"]) -> None:
        if len(values) <= EXACT_UP_TO:
            self.centres = np.zeros((1, values.shape[1]), np.float32)
            self.members, self.inside = [np.arange(len(values))], [values]
            return
        self.centres = _centres(values)
        homes = np.concatenate(
            [np.argpartition(-(b @ self.centres.T), HOMES, axis=1)[:, :HOMES] for b in _blocks(values)]
        )
        order = np.argsort(homes.ravel(), kind="stable")
        ends = np.searchsorted(homes.ravel()[order], np.arange(len(self.centres) + 1))
        self.members = [order[a:b] // HOMES for a, b in itertools.pairwise(ends)]
        # Gathered once: every question to a cell needs them side by side.
        self.inside = [values[members] for members in self.members]

    def ask(
        self, questions: Float32[np.ndarray, "q k"], first: int, least: float
    ) -> tuple[Int64[np.ndarray, "m"], Int64[np.ndarray, "m"], Float32[np.ndarray, "m"]]:
        """Rows that ask (numbered from `first`), rows found, likeness."""

        def nearest(block: Float32[np.ndarray, "b k"]) -> Int64[np.ndarray, "b"]:
            return np.argmax(block @ self.centres.T, axis=1)

        def answers(rows: Int64[np.ndarray, "b"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            return self._answers(questions, rows, int(cells[rows[0]]), first, least)

        cells = np.concatenate([np.zeros(0, np.int64), *_in_threads(nearest, list(_blocks(questions)))])
        order = np.argsort(cells, kind="stable")
        ends = np.searchsorted(cells[order], np.arange(len(self.centres) + 1))
        asking = [order[i : min(i + 1024, b)] for a, b in itertools.pairwise(ends) for i in range(a, b, 1024)]
        found = _in_threads(answers, asking)
        empty = np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)
        rows, members, likeness = zip(empty, *found, strict=True)
        return np.concatenate(rows), np.concatenate(members), np.concatenate(likeness)

    def _answers(
        self, questions: Float32[np.ndarray, "q k"], asking: Int64[np.ndarray, "b"], cell: int, first: int, least: float
    ) -> tuple[Int64[np.ndarray, "m"], Int64[np.ndarray, "m"], Float32[np.ndarray, "m"]]:
        """The same for questions to one cell."""
        members = self.members[cell]
        near = questions[asking] @ self.inside[cell].T
        y, x = np.divmod(np.flatnonzero(near.ravel() >= least), len(members))
        crowded = np.flatnonzero(np.bincount(y, minlength=len(asking)) > _PER_IMAGE + 1)
        if len(crowded):
            floor = np.full(len(asking), least, np.float32)
            floor[crowded] = np.partition(near[crowded], -_PER_IMAGE - 1, axis=1)[:, -_PER_IMAGE - 1]
            best = near[y, x] >= floor[y]
            y, x = y[best], x[best]
        other = members[x] != asking[y] + first
        return asking[y[other]] + first, members[x[other]], near[y[other], x[other]]


def _in_threads(work: Callable[[_T], _R], items: Sequence[_T]) -> list[_R]:
    """Results in order; each thread takes one long run of items, since handing over single ones costs more.

    Matrix products and comparisons of arrays let go of Python's lock.
    """
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    number = min(4, available)
    edges = np.linspace(0, len(items), number + 1).astype(int)
    runs = [items[a:b] for a, b in itertools.pairwise(edges)]

    def through(run: Sequence[_T]) -> list[_R]:
        return [work(item) for item in run]

    with ThreadPoolExecutor(number) as workers:
        return [result for done in workers.map(through, runs) for result in done]


def _centres(values: Float32[np.ndarray, "n k"]) -> Float32[np.ndarray, "c k"]:
    """Spherical k-means on a sample; the same every time."""
    rng = np.random.default_rng(0)
    sample = values[rng.permutation(len(values))[: 32 * CELLS]]
    centres = sample[:CELLS].copy()
    for _ in range(4):
        nearest = np.argmax(sample @ centres.T, axis=1)
        sums = np.zeros_like(centres)
        np.add.at(sums, nearest, sample)
        filled = np.linalg.norm(sums, axis=1) > 1e-6
        centres[filled] = sums[filled]
        centres = _unit(centres)
    return centres


def _best_of(first: Candidates, second: Candidates, n: int) -> Candidates:
    """Each pair once, by its best question."""
    if not len(second.asking):
        return first
    fields = [np.concatenate([getattr(c, f) for c in (first, second)]) for f in Candidates.__dataclass_fields__]
    low, high = np.minimum(fields[0], fields[1]), np.maximum(fields[0], fields[1])
    order = np.lexsort((-fields[4], low * n + high))
    key = (low * n + high)[order]
    kept = order[np.flatnonzero(np.concatenate([[True], key[1:] != key[:-1]]))]
    return Candidates(*(f[kept] for f in fields))


def _none() -> Candidates:
    empty = np.zeros(0, np.int64)
    return Candidates(empty, empty, empty, empty, np.zeros(0, np.float32))


def _coefficients(values: Float[np.ndarray, "n d"]) -> Float32[np.ndarray, "n k"]:
    basis = _cosines(_ASKED).astype(np.float32)
    parts = [(basis @ as_maps(b) @ basis.T).reshape(len(b), -1) for b in _blocks(values)]
    return np.concatenate(parts) if parts else np.zeros((0, _ASKED**2), np.float32)


def _operator(window: Window) -> Float32[np.ndarray, "a k"]:
    """From the coefficients of an image to those of its window, as seen inside the circle."""
    left, top, right, bottom = window
    wide, few = _cosines(_ASKED), _cosines(_KEPT)
    rows, columns = wide @ _sampling(top, bottom).T, wide @ _sampling(left, right).T
    seen = np.einsum("ky,lx->klyx", rows, columns).reshape(-1, SIDE, SIDE) * _INSIDE
    seen -= (seen.sum(axis=(1, 2)) / _INSIDE.sum())[:, None, None] * _INSIDE
    return np.einsum("nyx,ky,lx->nkl", seen, few, few, optimize=True).reshape(len(seen), -1).astype(np.float32)


def _signs(mirrored: bool, upside_down: bool) -> Float32[np.ndarray, "k"]:
    """Mirroring turns the sign of the odd cosines."""
    odd = (-1.0) ** np.arange(_ASKED)
    return np.outer(odd if upside_down else odd**2, odd if mirrored else odd**2).ravel().astype(np.float32)


def _cosines(count: int) -> Float[np.ndarray, "k 32"]:
    k = np.arange(count)[:, None]
    return np.cos(np.pi * (np.arange(SIDE) + 0.5) * k / SIDE) * np.where(k == 0, np.sqrt(1 / SIDE), np.sqrt(2 / SIDE))


def _sampling(before: float, after: float) -> Float[np.ndarray, "32 32"]:
    """The matrix that stretches what is left of an axis, cut at both ends, to its whole length."""
    at = np.clip((before + (1 - before - after) * (np.arange(SIDE) + 0.5) / SIDE) * SIDE - 0.5, 0, SIDE - 1)
    lower = np.minimum(at.astype(int), SIDE - 2)
    matrix = np.zeros((SIDE, SIDE))
    matrix[np.arange(SIDE), lower] = 1 - (at - lower)
    matrix[np.arange(SIDE), lower + 1] += at - lower
    return matrix


def _unit(values: Float32[np.ndarray, "n k"]) -> Float32[np.ndarray, "n k"]:
    lengths = np.sqrt(np.einsum("nk,nk->n", values, values))[:, None]
    return values / np.maximum(lengths, np.float32(1e-6))


def _blocks(values: Float[np.ndarray, "n d"]) -> Iterator[Float[np.ndarray, "b d"]]:
    for start in range(0, len(values), _BLOCK):
        yield values[start : start + _BLOCK]
