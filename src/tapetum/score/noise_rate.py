"""How many labels are wrong, estimated from out-of-fold probabilities and never given; with intervals over patients.

Two estimates that err to different sides. The confident joint counts an image of two classes that overlap as a wrong
label, and so says too much wherever the model is weak. Anchors look only at the images that the model is surest of, and
so miss wrong labels that stand near the border between classes. `docs/explanation/label-noise.md` says how far.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int
from scipy import optimize

from tapetum.core.errors import UsageError
from tapetum.core.types import Interval
from tapetum.score.given import Given, class_thresholds, confident_class, mean_member
from tapetum.score.inputs import same_length
from tapetum.score.stats.bounds import Clusters, drawn_interval
from tapetum.score.stats.draws import cluster_weights

Weights = Float64[np.ndarray, "n"]
ANCHORS = 0.3  # of a class's labels: chosen on made-up data, see docs/explanation/label-noise.md


@dataclass(frozen=True)
class NoiseEstimate:
    """Given and true classes together.

    Attributes:
        joint: `[k k]`, rows the given class, columns the true one; adds up to 1. NaN where a class was given to none.
    """

    joint: Float64[np.ndarray, "k k"]

    @property
    def rate(self) -> float:
        """Share of wrong labels, 0..1."""
        return float(self.joint.sum() - np.trace(self.joint))

    @property
    def wrong(self) -> Float64[np.ndarray, "k"]:
        """Share of wrong ones among the labels of each given class, 0..1."""
        given = self.joint.sum(axis=1)
        return np.clip(_divided(given - np.diag(self.joint), given), 0.0, 1.0)

    @property
    def transition(self) -> Float64[np.ndarray, "k k"]:
        """P(given | true): rows the true class, columns the given one; NaN for a class that is nobody's true one."""
        true = self.joint.sum(axis=0)
        return _divided(self.joint.T, np.broadcast_to(true[:, None], self.joint.shape))


def confident_counts(
    probs: Float[np.ndarray, "*e n k"], labels: Given, weights: Weights | None = None
) -> Float64[np.ndarray, "k k"]:
    """Images counted by given class (rows) and by the class of which the model is confident (columns).

    An image is confident of the most probable class among those that it gives at least the mean probability which
    images with that label give it; images confident of none are not counted. Every class counts at least one image as
    rightly labelled.

    Args:
        probs: out of fold, rows add up to 1; epochs or networks are averaged.
        labels: the given class, 0 to k - 1.
        weights: how often each image counts; once if None.

    Raises:
        DataError: NaN, logits, rows that do not add up to 1, or a label that is no column.

    Source: Northcutt, Jiang and Chuang, JAIR 2021, equations 1 and 2. Differs: nothing (cleanlab 2.9 takes the most
    probable class of all, confident or not, wherever two are confident).
    """
    return _counts(*mean_member(probs, labels), weights)


def by_confident_joint(
    probs: Float[np.ndarray, "*e n k"], labels: Given, weights: Weights | None = None
) -> NoiseEstimate:
    """The confident counts with every row scaled to the number of labels given.

    Args:
        probs: out of fold, rows add up to 1; epochs or networks are averaged.
        labels: the given class, 0 to k - 1.
        weights: how often each image counts; once if None.

    Raises:
        DataError: see `confident_counts`.

    Example:
        >>> probs = np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.3, 0.7], [0.1, 0.9]])
        >>> by_confident_joint(probs, np.array([0, 0, 0, 1, 1])).joint.round(2).tolist()
        [[0.4, 0.2], [0.0, 0.4]]

    Source: Northcutt, Jiang and Chuang, JAIR 2021, equation 3. Differs: counts are not rounded.
    """
    return _confident(*mean_member(probs, labels), weights)


def by_anchors(
    probs: Float[np.ndarray, "*e n k"], labels: Given, weights: Weights | None = None, *, share: float = ANCHORS
) -> NoiseEstimate:
    """What was given to the images that the model is surest of, taken to hold for the whole of each class.

    Only the order of the probabilities counts, not their calibration.

    Args:
        probs: out of fold, rows add up to 1; epochs or networks are averaged.
        labels: the given class, 0 to k - 1.
        weights: how often each image counts; once if None.
        share: anchors of a class, relative to the number of its labels, above 0, at most 1.

    Raises:
        DataError: see `confident_counts`. UsageError: share out of range.

    Example:
        >>> probs = np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.3, 0.7], [0.1, 0.9]])
        >>> by_anchors(probs, np.array([0, 0, 0, 1, 1]), share=1.0).transition.round(2).tolist()
        [[0.67, 0.33], [0.5, 0.5]]

    Source: after Patrini et al., CVPR 2017, and T-Revision (Xia et al., NeurIPS 2019), which read the transition off
    the posterior of the surest image. Differs: observed labels of many sure images instead of one posterior.
    """
    if not 0 < share <= 1:
        raise UsageError(f"share={share:g}", "above 0, at most 1")
    values, given = mean_member(probs, labels)
    often = np.ones(len(given)) if weights is None else weights
    return _anchored(np.argsort(-values, axis=0, kind="stable"), given, often, share)


ESTIMATORS: Mapping[str, Callable[..., NoiseEstimate]] = {"confident": by_confident_joint, "anchors": by_anchors}


@dataclass(frozen=True)
class NoiseIntervals:
    """Estimated shares of wrong labels with intervals over patients.

    Attributes:
        rate: of all labels. wrong: of the labels of each given class.
    """

    rate: Interval
    wrong: tuple[Interval, ...]


def noise_rate_intervals(
    probs: Float[np.ndarray, "*e n k"],
    labels: Given,
    clusters: Clusters,
    *,
    rng: np.random.Generator,
    draws: int = 2000,
    by: str = "confident",
) -> NoiseIntervals:
    """The estimated shares of wrong labels with intervals over draws of patients.

    The probabilities stay as they are: that another training would give others is not in the interval, nor is the error
    of the estimate's premises.

    Args:
        probs: out of fold, rows add up to 1; epochs or networks are averaged.
        labels: the given class, 0 to k - 1.
        clusters: the patient of each image.
        rng: the generator; the same state gives the same draws.
        draws: of patients.
        by: `confident` or `anchors`.

    Returns:
        0..1, 0 = no wrong label; draws in which a class is given to none are left out.

    Raises:
        DataError: see `confident_counts`. UsageError: draws below 1, or another estimate.
    """
    if by not in ESTIMATORS:
        raise UsageError(f"by={by!r}", " or ".join(ESTIMATORS))
    values, given = mean_member(probs, labels)
    same_length(len(given), len(clusters), "clusters")
    orders = np.argsort(-values, axis=0, kind="stable")

    def estimate(weights: Weights) -> Float64[np.ndarray, "k+1"]:
        found = _confident(values, given, weights) if by == "confident" else _anchored(orders, given, weights, ANCHORS)
        return np.array([found.rate, *found.wrong])

    weighted = (w.astype(np.float64) for block in cluster_weights(clusters, draws, rng) for w in block)
    drawn = np.stack([estimate(w) for w in weighted])
    whole = estimate(np.ones(len(given)))
    rate, *wrong = (
        drawn_interval(float(e), d, clusters, level=0.95, note=f", by {by}")
        for e, d in zip(whole, drawn.T, strict=True)
    )
    return NoiseIntervals(rate, tuple(wrong))


def _counts(
    probs: Float64[np.ndarray, "n k"], given: Int[np.ndarray, "n"], weights: Weights | None
) -> Float64[np.ndarray, "k k"]:
    k = probs.shape[1]
    sure = confident_class(probs, class_thresholds(probs, given, weights))
    some = sure >= 0
    counts = np.bincount(given[some] * k + sure[some], None if weights is None else weights[some], k * k)
    counts = counts.astype(np.float64).reshape(k, k)
    np.fill_diagonal(counts, np.maximum(np.diag(counts), 1.0))
    return counts


def _confident(
    probs: Float64[np.ndarray, "n k"], given: Int[np.ndarray, "n"], weights: Weights | None
) -> NoiseEstimate:
    counts, labels = _counts(probs, given, weights), _label_counts(probs, given, weights)
    joint = counts / counts.sum(axis=1, keepdims=True) * labels[:, None]
    return NoiseEstimate(_undefined(joint / labels.sum(), labels))


def _anchored(
    orders: Int[np.ndarray, "n k"], given: Int[np.ndarray, "n"], weights: Weights, share: float
) -> NoiseEstimate:
    """By the images in falling order of the probability of each class."""
    k = orders.shape[1]
    labels = np.bincount(given, weights, k)
    transition = np.empty((k, k))
    for c, order in enumerate(orders.T):
        often = weights[order]
        room = max(1.0, share * labels[c]) - (np.cumsum(often) - often)
        taken = np.clip(room, 0.0, often)
        transition[c] = np.bincount(given[order], taken, k) / taken.sum()
    true, _ = optimize.nnls(transition.T, labels / labels.sum())
    joint = (true / true.sum())[None, :] * transition.T
    return NoiseEstimate(_undefined(joint, labels))


def _label_counts(
    probs: Float64[np.ndarray, "n k"], given: Int[np.ndarray, "n"], weights: Weights | None
) -> Float64[np.ndarray, "k"]:
    return np.bincount(given, weights, probs.shape[1]).astype(np.float64)


def _undefined(joint: Float64[np.ndarray, "k k"], labels: Float64[np.ndarray, "k"]) -> Float64[np.ndarray, "k k"]:
    return joint if (labels > 0).all() else np.full(joint.shape, np.nan)


def _divided(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
