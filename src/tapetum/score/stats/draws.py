"""Bootstrap draws as integer weights, and the AUROC of many draws at once.

A draw with replacement is a weight per image: how often its patient was drawn. The scores are sorted once; then one
sweep over the images, from the lowest score up, carries the negatives' weight of all draws side by side. No draw is
ever sorted.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from jaxtyping import Float, Float64, Int, Integer, Real

from tapetum.core.errors import UsageError
from tapetum.score.inputs import finite_scores, known_labels, same_length
from tapetum.score.ranking import Ranking, rank

BLOCK_BYTES = 100_000_000  # of weights held at once: the sweep pays once per block and image
CACHED_DRAWS = 16  # counted together, so that the counters stay in the cache


def cluster_codes(clusters: Sequence[Hashable] | np.ndarray) -> Int[np.ndarray, "n"]:
    """Number the clusters 0, 1, … so that equal ids have equal numbers."""
    return np.unique(np.asarray(clusters), return_inverse=True)[1].astype(np.int64)


def cluster_weights(
    clusters: Sequence[Hashable] | np.ndarray, draws: int, rng: np.random.Generator
) -> Iterator[Integer[np.ndarray, "b n"]]:
    """Resample whole patients with replacement; both eyes and all visits of a patient come and go together.

    Args:
        clusters: the patient of each image.
        draws: how many draws in all.
        rng: its state alone decides the draws, not the size of the blocks.

    Yields:
        Blocks of draws: how often each image occurs in each. Stored image by image, which `auroc_draws` relies on.

    Raises:
        UsageError: fewer than one draw, or no images.
    """
    codes = cluster_codes(clusters)
    if draws < 1 or not len(codes):
        raise UsageError(f"{draws} draws from {len(codes)} images", "at least one of each")
    size = int(codes.max()) + 1
    most = max(64, BLOCK_BYTES // len(codes))
    for start in range(0, draws, most):
        block = min(most, draws - start)
        counts = np.empty((size, block), np.uint8)
        for first in range(0, block, CACHED_DRAWS):
            part = min(CACHED_DRAWS, block - first)
            counted = _count(size, part, rng)
            if counted.max() > np.iinfo(counts.dtype).max:
                counts = counts.astype(np.int32)
            counts[:, first : first + part] = counted.T
        yield counts[codes].T


def jackknife_weights(clusters: Sequence[Hashable] | np.ndarray) -> Iterator[Integer[np.ndarray, "b n"]]:
    """Leave each patient out once, in the order of `cluster_codes`.

    Yields:
        Blocks in the form of `cluster_weights`: 0 for the images of the patient left out, else 1.

    Raises:
        UsageError: no images.
    """
    codes = cluster_codes(clusters)
    if not len(codes):
        raise UsageError("no images", "at least one")
    size, most = int(codes.max()) + 1, max(64, BLOCK_BYTES // len(codes))
    for start in range(0, size, most):
        yield (codes[:, None] != np.arange(start, min(size, start + most))).astype(np.uint8).T


def auroc_draws(
    scores: Real[np.ndarray, "n"] | Real[np.ndarray, "n m"],
    labels: Real[np.ndarray, "n"],
    weights: Integer[np.ndarray, "b n"],
) -> Float64[np.ndarray, "b"] | Float64[np.ndarray, "b m"]:
    """AUROC of every draw, ties exact; several columns of scores share labels and draws.

    Args:
        scores: any range, higher = more likely positive.
        labels: 0, 1 or NaN (left out).
        weights: how often each image occurs in each draw, as from `cluster_weights`.

    Returns:
        0..1, NaN for a draw without both classes.

    Raises:
        DataError: NaN among the scores, unequal lengths, or other labels.

    Example:
        >>> auroc_draws(np.array([0.1, 0.4, 0.3]), np.array([0.0, 0.0, 1.0]), np.array([[1, 1, 1], [2, 1, 1]])).round(3)
        array([0.5  , 0.667])
    """
    same_length(len(scores), len(labels))
    same_length(len(scores), weights.shape[1], "weights per draw")
    values, truth = finite_scores(scores), known_labels(labels)
    by_image = np.ascontiguousarray(weights.T)
    if values.ndim == 1:
        return _sweep(rank(values, truth), by_image)
    return np.stack([_sweep(rank(column, truth), by_image) for column in values.T], axis=1)


def _count(size: int, draws: int, rng: np.random.Generator) -> Int[np.ndarray, "b c"]:
    """How often each of `size` clusters is drawn, in each of `draws` draws of `size`."""
    drawn = rng.integers(0, size, size=(draws, size), dtype=np.int32)
    places = drawn + np.arange(draws)[:, None] * size
    return np.bincount(places.ravel(), minlength=size * draws).reshape(draws, size)


def _sweep(ranking: Ranking, weights: Integer[np.ndarray, "n b"]) -> Float64[np.ndarray, "b"]:
    """Mann-Whitney counts of all draws in one pass from the lowest score up.

    `twice` holds 2 × the pairs in the right order, ties counted once: an integer below 2^53.
    """
    draws = weights.shape[1]
    negatives, positives = ranking.negatives.tolist(), ranking.positives.tolist()
    passed, of_positives = np.zeros(draws, np.int64), np.zeros(draws, np.int64)
    twice, product, doubled = np.zeros(draws), np.empty(draws), np.empty(draws, np.int64)
    done = 0
    for first, last, below, upto in _ties(ranking):
        for row in negatives[done:below]:
            passed += weights[row]
        np.copyto(doubled, passed)
        for row in negatives[below:upto]:
            passed += weights[row]
        doubled += passed
        done = upto
        for row in positives[first:last]:
            of_positives += weights[row]
            np.multiply(weights[row], doubled, out=product)
            twice += product
    for row in negatives[done:]:
        passed += weights[row]
    pairs = of_positives.astype(np.float64) * passed
    return np.divide(twice, 2 * pairs, out=np.full(draws, np.nan), where=pairs > 0)


def _ties(ranking: Ranking) -> list[tuple[int, int, int, int]]:
    """Runs of positives that stand at the same place: first, last + 1, negatives below, negatives up to."""
    below, upto = ranking.below, ranking.upto
    if not len(below):
        return []
    starts = np.flatnonzero(np.concatenate([[True], (np.diff(below) > 0) | (np.diff(upto) > 0)]))
    ends = np.append(starts[1:], len(below))
    return list(zip(starts.tolist(), ends.tolist(), below[starts].tolist(), upto[starts].tolist(), strict=True))


def mean_draws(values: Float[np.ndarray, "n"], weights: Integer[np.ndarray, "b n"]) -> Float64[np.ndarray, "b"]:
    """Weighted mean of the known values in every draw; NaN for a draw without any."""
    known = ~np.isnan(values)
    chosen = weights.T[known].T.astype(np.float64)
    total = chosen.sum(axis=1)
    return np.divide(chosen @ values[known].astype(np.float64), total, out=np.full(len(total), np.nan), where=total > 0)
