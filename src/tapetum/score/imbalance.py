"""Which classes are common and rare, and how every class fares in every run and every draw of patients at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Int64, Integer

from tapetum.core.errors import DataError, UsageError
from tapetum.score.inputs import same_length
from tapetum.score.stats.draws import auroc_draws

GROUPS = ("head", "medium", "tail")
HELD_BYTES = 64_000_000  # of weights as floats


def frequency_groups(counts: Float[np.ndarray, "k"], cut: Sequence[int] = ()) -> Int64[np.ndarray, "k"]:
    """Head, medium and tail: 0, 1 or 2 for each class, by its training images.

    Args:
        counts: training images of each class; a class without any is of the tail.
        cut: how many of the commonest classes are head, and how many are head or medium. `()` = thirds of the logarithm
            between the smallest and the largest count; equal counts are all head.

    Raises:
        UsageError: a cut that is not two numbers, rising, between 0 and the number of classes.

    Example:
        >>> frequency_groups(np.array([47.0, 4693, 779, 99])).tolist()
        [2, 0, 1, 2]
        >>> frequency_groups(np.array([47.0, 4693, 779, 99]), (2, 3)).tolist()
        [2, 0, 0, 1]
    """
    if cut:
        if len(cut) != 2 or not 0 <= cut[0] <= cut[1] <= len(counts):
            raise UsageError(f"cut={tuple(cut)}", f"two numbers of classes, rising, 0 to {len(counts)}")
        place = np.argsort(np.argsort(-counts, kind="stable"), kind="stable")
        return np.searchsorted(np.asarray(cut), place, side="right").astype(np.int64)
    logs = np.log(np.maximum(counts, 0.5))
    width = logs.max() - logs.min()
    below = (logs.max() - logs) / width if width > 0 else np.zeros(len(counts))
    return np.minimum(below * 3, 2).astype(np.int64)


def exponential_counts(largest: int, ratio: float, classes: int) -> Int64[np.ndarray, "k"]:
    """Images of each class, commonest first, that fall exponentially from `largest` to `largest / ratio`.

    Args:
        largest: of the commonest class, at least 1.
        ratio: of the commonest to the rarest, at least 1.
        classes: two or more.

    Raises:
        UsageError: a number out of range, or a rarest class without an image.

    Example:
        >>> exponential_counts(5000, 100, 8).tolist()
        [5000, 2590, 1341, 695, 360, 186, 97, 50]

    Source: Cui et al., CVPR 2019, arXiv 1901.05555, section 5.1. Differs: rounded, not cut off.
    """
    if not (largest >= 1 and ratio >= 1 and classes >= 2) or largest / ratio < 1:
        raise UsageError(f"{largest} images, ratio {ratio:g}, {classes} classes", "a ratio from 1 to the largest count")
    places = np.arange(classes) / (classes - 1)
    return np.rint(largest * ratio**-places).astype(np.int64)


@dataclass(frozen=True)
class ClassDraws:
    """Of every draw of patients, every run and every class; NaN where a draw has no image of the class.

    Attributes:
        recall: hits among the images of a class, 0..1. f1: harmonic mean of recall and precision, 0..1.
        auroc: of its probability against all other classes, 0..1, 0.5 by chance. accuracy: of all images, 0..1.
    """

    recall: Float64[np.ndarray, "b r k"]
    f1: Float64[np.ndarray, "b r k"]
    auroc: Float64[np.ndarray, "b r k"]
    accuracy: Float64[np.ndarray, "b r"]


def class_draws(
    logits: Float[np.ndarray, "r n k"], labels: Int[np.ndarray, "n"], weights: Integer[np.ndarray, "b n"]
) -> ClassDraws:
    """How every class fares in every run, on the same draws.

    Args:
        logits: of each run; the largest is the prediction, the softmax ranks images for the AUROC.
        labels: the class of each image, 0..k-1.
        weights: how often each image occurs in each draw; a row of ones is all images once.

    Raises:
        DataError: unequal lengths, a class out of range, or a logit that is not finite.
    """
    runs, count, classes = logits.shape
    same_length(count, len(labels))
    same_length(count, weights.shape[1], "weights per draw")
    if not np.isin(labels, np.arange(classes)).all() or not np.isfinite(logits).all():
        raise DataError(f"labels {np.unique(labels)[:9]}, logits of shape {logits.shape}", "classes 0..k-1, finite")
    truth = np.eye(classes, dtype=np.float32)[labels]
    called = np.eye(classes, dtype=np.float32)[logits.argmax(axis=2)]
    hits = (called * truth).transpose(1, 0, 2).reshape(count, -1)
    predicted = called.transpose(1, 0, 2).reshape(count, -1)
    positives, hit, said = (_summed(weights, m) for m in (truth, hits, predicted))
    hit, said = (m.reshape(-1, runs, classes) for m in (hit, said))
    present = positives[:, None, :] > 0
    all_images = positives.sum(axis=1)
    return ClassDraws(
        _ratio(hit, np.broadcast_to(positives[:, None, :], hit.shape), present),
        _ratio(2 * hit, positives[:, None, :] + said, present),
        _areas(logits, labels, weights),
        hit.sum(axis=2) / all_images[:, None],
    )


def finding_draws(
    logits: Float[np.ndarray, "r n k"], labels: Float[np.ndarray, "n k"], weights: Integer[np.ndarray, "b n"]
) -> ClassDraws:
    """The AUROC of every finding in every run, on the same draws; what asks for classes is NaN.

    Args:
        logits: of each run, higher = more likely.
        labels: 1, 0 or NaN (left out).
        weights: how often each image occurs in each draw.

    Raises:
        DataError: unequal lengths, other labels, or a logit that is not finite.
    """
    runs, _, classes = logits.shape
    areas = [auroc_draws(logits[:, :, c].T, labels[:, c], weights) for c in range(classes)]
    none = np.full((len(weights), runs, classes), np.nan)
    return ClassDraws(none, none, np.stack(areas, axis=2), none[:, :, 0])


def known_mean(values: Float64[np.ndarray, "... k"], chosen: Bool[np.ndarray, "k"] | None = None) -> np.ndarray:
    """Mean over the chosen classes that are defined; NaN where none is.

    Example:
        >>> known_mean(np.array([[0.5, 1.0, np.nan], [np.nan, np.nan, np.nan]])).tolist()
        [0.75, nan]
    """
    kept = values if chosen is None else values[..., chosen]
    known = ~np.isnan(kept)
    number = known.sum(axis=-1)
    total = np.where(known, kept, 0.0).sum(axis=-1)
    return np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)


def _summed(weights: Integer[np.ndarray, "b n"], of: Float[np.ndarray, "n m"]) -> Float64[np.ndarray, "b m"]:
    """Weighted sums; counts below 2^24, so that single precision is exact."""
    step = max(1, HELD_BYTES // (4 * weights.shape[1]))
    parts = [weights[i : i + step].astype(np.float32) @ of for i in range(0, len(weights), step)]
    return np.concatenate(parts).astype(np.float64)


def _ratio(
    above: Float64[np.ndarray, "b r k"], below: Float64[np.ndarray, "b r k"], where: Bool[np.ndarray, "b 1 k"]
) -> Float64[np.ndarray, "b r k"]:
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=np.broadcast_to(where, above.shape))


def _areas(
    logits: Float[np.ndarray, "r n k"], labels: Int[np.ndarray, "n"], weights: Integer[np.ndarray, "b n"]
) -> Float64[np.ndarray, "b r k"]:
    top = logits.max(axis=2, keepdims=True)
    others = logits - (top + np.log(np.exp(logits - top).sum(axis=2, keepdims=True)))
    by_class = [auroc_draws(others[:, :, c].T, labels == c, weights) for c in range(logits.shape[2])]
    return np.stack(by_class, axis=2)
