"""What the scores of `ood` are fitted on, and what several of them take from it; each part is worked out once.

A *head* is the linear classifier on the features. In mode `softmax` its columns are exclusive classes and labels are
`[n]`; in mode `sigmoid` they are findings that occur together and labels are `[n k]`, 0, 1 or NaN (counted as 0 here).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeVar, cast

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int, Real
from scipy import special

from tapetum.core.errors import DataError, UsageError
from tapetum.core.types import Head
from tapetum.score.inputs import finite_scores, known_labels, same_length

Made = TypeVar("Made")
Mode = Literal["softmax", "sigmoid"]
Need = Literal["labels", "head", "negatives"]
TINY = 1e-12
BLOCK = 512  # images at a time: in double precision their features stay in the processor's cache


@dataclass(frozen=True, eq=False)
class InDistribution:
    """Images of the kind that a model is meant for: those it was trained on.

    One object serves any number of scores: means, covariances and decompositions are kept.

    Args:
        features: pooled features, any scale.
        labels: mode `softmax`: the class 0..k-1; mode `sigmoid`: 0, 1 or NaN per finding. None = unknown.
        head: the linear classifier on these features, `weight` `[k d]`, `bias` `[k]`. None = there is none.
        mode: how head and labels are read.
        negatives: where the head's weights are words in the space of the features, other words there that no known
            image is called by. None = there are none.

    Raises:
        DataError: fewer than two images, NaN or infinite features, shapes or labels that do not fit.
        UsageError: another mode.

    Example:
        >>> known = InDistribution(np.array([[0.0, 2.0], [0.0, 4.0], [3.0, 1.0]]), labels=np.array([0, 0, 1]))
        >>> known.group_means.tolist()
        [[0.0, 3.0], [3.0, 1.0]]
    """

    features: Float[np.ndarray, "n d"]
    labels: Real[np.ndarray, "n"] | Real[np.ndarray, "n k"] | None = None
    head: Head | None = None
    mode: Mode = "softmax"
    negatives: Float[np.ndarray, "m d"] | None = None
    _made: dict[object, Any] = field(default_factory=dict[object, Any], init=False, repr=False)

    def __post_init__(self) -> None:
        if self.mode not in ("softmax", "sigmoid"):
            raise UsageError(f"mode={self.mode!r}", "softmax or sigmoid")
        if self.features.ndim != 2 or len(self.features) < 2:
            raise DataError(f"features of shape {self.features.shape}", "[n d] of at least 2 images")
        for first in range(0, len(self.features), BLOCK):
            finite_features(self.features[first : first + BLOCK])
        if self.head is not None and self.head.weight.shape != (len(self.head.bias), self.dim):
            raise DataError(
                f"a head with weights {self.head.weight.shape} and {len(self.head.bias)} biases",
                f"weights [k {self.dim}] and as many biases as classes",
            )
        if self.labels is not None:
            self._check_labels(self.labels)
        if self.negatives is not None and (self.negatives.ndim != 2 or self.negatives.shape[1] != self.dim):
            raise DataError(f"negative words of shape {self.negatives.shape}", f"[m {self.dim}]")

    def _check_labels(self, labels: np.ndarray) -> None:
        same_length(len(self.features), len(labels))
        if labels.ndim != (1 if self.mode == "softmax" else 2):
            raise DataError(f"labels of shape {labels.shape} in mode {self.mode}", "[n] in softmax, [n k] in sigmoid")
        if self.mode == "sigmoid":
            known_labels(labels)
            if self.head is not None and len(self.head.bias) != labels.shape[1]:
                raise DataError(f"{labels.shape[1]} findings, a head of {len(self.head.bias)}", "as many of each")
        else:
            classes = len(self.head.bias) if self.head is not None else int(np.nanmax(labels)) + 1
            if not np.isin(labels, np.arange(classes)).all():
                raise DataError("a label that is no class", f"classes 0 to {classes - 1}")

    @property
    def dim(self) -> int:
        """Length of a feature vector."""
        return self.features.shape[1]

    def once(self, key: object, make: Callable[[InDistribution], Made]) -> Made:
        """What `make` gives for these images, made when it is first asked for by this key."""
        if key not in self._made:
            self._made[key] = make(self)
        return cast("Made", self._made[key])

    def blocks(self) -> Iterator[Float64[np.ndarray, "b d"]]:
        """The features in double precision, a block at a time."""
        for first in range(0, len(self.features), BLOCK):
            yield self.features[first : first + BLOCK].astype(np.float64)

    def sums(self, weights: Real[np.ndarray, "n g"]) -> Float64[np.ndarray, "g d"]:
        """Weighted sums of all features, one for each column of weights."""
        parts = np.split(weights, range(BLOCK, len(weights), BLOCK))
        total = np.zeros((weights.shape[1], self.dim))
        for part, rows in zip(parts, self.blocks(), strict=True):
            total += part.T @ rows
        return total

    @cached_property
    def rows(self) -> Float64[np.ndarray, "n d"]:
        """The features in double precision."""
        return self.features.astype(np.float64)

    @cached_property
    def directions(self) -> Float32[np.ndarray, "n d"]:
        """The features scaled to length 1, in single precision."""
        found = np.empty(self.features.shape, np.float32)
        for first in range(0, len(found), BLOCK):
            found[first : first + BLOCK] = directions(self.features[first : first + BLOCK])
        return found

    @cached_property
    def logits(self) -> Float64[np.ndarray, "n k"]:
        """Of the head, on the images themselves."""
        return np.concatenate([self.logits_of(rows) for rows in self.blocks()])

    def logits_of(
        self, features: Float[np.ndarray, "m d"], factor: Float64[np.ndarray, "m 1"] | float = 1.0
    ) -> Float64[np.ndarray, "m k"]:
        """Of the head, on other images, their features multiplied by a factor each.

        Raises:
            UsageError: there is no head.
        """
        return (features @ self.linear.weight.T.astype(np.float64)) * factor + self.linear.bias

    @property
    def linear(self) -> Head:
        """The head, for those who cannot do without.

        Raises:
            UsageError: there is none.
        """
        if self.head is None:
            raise UsageError("no head", "the linear classifier on the features", "a score that needs features only")
        return self.head

    @property
    def other_words(self) -> Float[np.ndarray, "m d"]:
        """The negative words, for those who cannot do without.

        Raises:
            UsageError: there are none.
        """
        if self.negatives is None:
            raise UsageError("no negatives", "words that no known image is called by", "a score of features: knn")
        return self.negatives

    def probs_of(self, logits: Float[np.ndarray, "m k"], temperature: float = 1.0) -> Float64[np.ndarray, "m k"]:
        """Softmax or sigmoid of logits / temperature, by the mode."""
        scaled = logits / temperature
        return special.softmax(scaled, axis=1) if self.mode == "softmax" else special.expit(scaled)

    def confidence_of(self, logits: Float[np.ndarray, "m k"], temperature: float = 1.0) -> Float64[np.ndarray, "m"]:
        """Minus the free energy: T·logsumexp(z/T), or in mode `sigmoid` the sum of T·softplus(z/T) (JointEnergy)."""
        scaled = logits / temperature
        if self.mode == "softmax":
            return temperature * np.asarray(special.logsumexp(scaled, axis=1))
        return temperature * np.logaddexp(0, scaled).sum(axis=1)

    def called(self, logits: Float[np.ndarray, "m k"]) -> Int[np.ndarray, "m"]:
        """The group called: the largest logit; in mode `sigmoid` k (no finding) where none is above 0."""
        if self.mode == "softmax":
            return np.argmax(logits, axis=1)
        return np.argmax(np.column_stack([logits, np.zeros(len(logits))]), axis=1)

    @cached_property
    def membership(self) -> Float64[np.ndarray, "n g"]:
        """Share of each image in each group; rows add up to 1.

        Mode `softmax`: one column per class. Mode `sigmoid`: one per finding and a last one for images without any; an
        image with several findings belongs to each in equal shares.

        Raises:
            UsageError: there are no labels.
        """
        if self.labels is None:
            raise UsageError("no labels", "labels of the known images", "a score that needs features only")
        if self.mode == "softmax":
            classes = len(self.head.bias) if self.head is not None else int(self.labels.max()) + 1
            return np.eye(classes)[self.labels.astype(np.int64)]
        found = (self.labels == 1).astype(np.float64)
        whole = np.column_stack([found, found.sum(axis=1) == 0])
        return whole / whole.sum(axis=1, keepdims=True)

    @cached_property
    def inhabited(self) -> Bool[np.ndarray, "g"]:
        """Which groups have an image."""
        return self.membership.sum(axis=0) > 0

    @cached_property
    def group_means(self) -> Float64[np.ndarray, "g d"]:
        """Mean of each group's features; the mean of all where a group has no image."""
        size = self.membership.sum(axis=0)
        means = self.sums(self.membership) / np.maximum(size, TINY)[:, None]
        return np.where(self.inhabited[:, None], means, self.mean)

    @cached_property
    def mean(self) -> Float64[np.ndarray, "d"]:
        """Of all features."""
        return self.sums(np.ones((len(self.features), 1)))[0] / len(self.features)

    @cached_property
    def basis(self) -> Float64[np.ndarray, "d r"] | None:
        """Orthonormal directions that the images span about their mean; None = there are more images than features.

        With fewer images than features a covariance is worked out in these coordinates: nothing is lost, and d x d
        numbers are never made.
        """
        if len(self.features) > self.dim:
            return None
        rows = self.rows - self.mean
        return spanned(rows, *inner_spectrum(rows), len(rows))

    def compact(
        self, features: Float[np.ndarray, "m d"]
    ) -> tuple[Float64[np.ndarray, "m r"], Float64[np.ndarray, "m"]]:
        """Coordinates about the mean on the `basis` (or on all axes), and the squared length of what lies outside."""
        centred = features - self.mean
        if self.basis is None:
            return centred, np.zeros(len(centred))
        inside = centred @ self.basis
        return inside, np.maximum(lengths(centred) ** 2 - lengths(inside) ** 2, 0.0)

    def principal_about(self, origin: Float64[np.ndarray, "d"], dims: int) -> Float64[np.ndarray, "d p"]:
        """The directions in which the images lie farthest from a point, farthest first."""
        if self.basis is not None and origin is self.mean:
            return self.basis[:, :dims]
        away, key = self.mean - origin, ("principal", origin.tobytes())
        if self.basis is None:
            made = self.once(key, lambda known: np.linalg.eigh(known.covariance + np.outer(away, away)))
            return made[1][:, ::-1][:, :dims]
        return spanned(self.rows - origin, *self.once(key, lambda known: inner_spectrum(known.rows - origin)), dims)

    @cached_property
    def covariance(self) -> Float64[np.ndarray, "r r"]:
        """Of all features, divided by n, in the coordinates of `compact`."""
        total: Float64[np.ndarray, "r r"] | float = 0.0
        for rows in self.blocks():
            inside = self.compact(rows)[0]
            total = inside.T @ inside + total
        return np.asarray(total) / len(self.features)

    @cached_property
    def within(self) -> Float64[np.ndarray, "r r"]:
        """Covariance within the groups, shared by all, divided by n, in the coordinates of `compact`."""
        away, _ = self.compact(self.group_means)
        return self.covariance - (away * (self.membership.sum(axis=0) / len(self.features))[:, None]).T @ away


def finite_features(features: Real[np.ndarray, "m d"], dim: int | None = None) -> Float64[np.ndarray, "m d"]:
    """Features in double precision.

    Raises:
        DataError: another shape, NaN or infinite values.
    """
    if features.ndim != 2 or (dim is not None and features.shape[1] != dim):
        raise DataError(f"features of shape {features.shape}", f"[n {dim or 'd'}]: those that the score was fitted on")
    values = finite_scores(features)
    if not np.isfinite(values).all():
        raise DataError("infinite features", "finite numbers", "tapetum verify")
    return values


def directions(features: Float[np.ndarray, "m d"]) -> Float32[np.ndarray, "m d"]:
    """Features scaled to length 1; a vector of zeros stays one."""
    return (features / np.maximum(lengths(features), TINY)[:, None]).astype(np.float32)


def lengths(rows: Float[np.ndarray, "m d"]) -> Float64[np.ndarray, "m"]:
    """Euclidean length of each row."""
    return np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))


def shrinkage_of(covariance: Float64[np.ndarray, "r r"], fourth_moment: float, images: int, dim: int) -> float:
    """Ledoit and Wolf's weight of the scaled identity, 0..1.

    Args:
        covariance: of centred rows, divided by their number; in any coordinates that hold all of it.
        fourth_moment: mean of the squared squared length of the rows.
        images: number of rows.
        dim: number of features.

    Source: Ledoit and Wolf, Journal of Multivariate Analysis 2004; the form that scikit-learn uses.
    Differs: takes the covariance as it is, so that nothing is multiplied twice.
    """
    scale = float(np.trace(covariance)) / dim
    squares = float((covariance**2).sum())
    apart = squares - dim * scale**2
    return 1.0 if apart <= 0 else min(max(fourth_moment - squares, 0.0) / images / apart, 1.0)


def inner_spectrum(
    rows: Float64[np.ndarray, "n d"],
) -> tuple[Float64[np.ndarray, "n"], Float64[np.ndarray, "n n"]]:
    """Eigenvalues of the rows' inner products, largest first, and their eigenvectors."""
    squares, vectors = np.linalg.eigh(rows @ rows.T)
    return squares[::-1], vectors[:, ::-1]


def spanned(
    rows: Float64[np.ndarray, "n d"],
    squares: Float64[np.ndarray, "n"],
    vectors: Float64[np.ndarray, "n n"],
    dims: int,
) -> Float64[np.ndarray, "d p"]:
    """The directions in which rows are longest, longest first; fewer than `dims` where they span no more.

    Through the rows' inner products (`inner_spectrum`): for fewer rows than columns.
    """
    squares, vectors = squares[:dims], vectors[:, :dims]
    some = squares > max(squares[0], TINY) * max(rows.shape) * np.finfo(np.float64).eps
    return rows.T @ (vectors[:, some] / np.sqrt(squares[some]))


def principal_dims(dims: int, dim: int, images: int) -> int:
    """How many directions count as principal: those asked for, or with 0 the rule of ViM's authors.

    512 from 768 features on, 1,000 from 1,500 on, else half of them; and never more than half as many as there are
    images (ours), since images fill a space of their own number and nothing would be left over.

    Raises:
        UsageError: negative, or no direction is left.
    """
    if not 0 <= dims < dim:
        raise UsageError(f"dims={dims}", f"0 (a rule) up to {dim - 1}: one direction must be left")
    rule = 1000 if dim >= 1500 else 512 if dim >= 768 else dim // 2
    return dims or max(min(rule, images // 2), 1)


def outside(centred: Float64[np.ndarray, "m d"], basis: Float64[np.ndarray, "d p"]) -> Float64[np.ndarray, "m"]:
    """Length of what lies outside the subspace."""
    return np.sqrt(np.maximum(lengths(centred) ** 2 - lengths(centred @ basis) ** 2, 0.0))
