"""The frame of a post-hoc score: what every member of `ood` checks before it is fitted and before it scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
from jaxtyping import Bool, Float, Float64

from tapetum.core.errors import UsageError
from tapetum.score.in_distribution import InDistribution, Need
from tapetum.score.query import Query, queries


@dataclass
class PostHoc(ABC):
    """A score that is fitted on images in distribution and tells how far others are from them.

    A member writes `_score`, and `_learn` where it keeps something of its own; `NEEDS` says what the known images must
    come with beside features.
    """

    NEEDS: ClassVar[tuple[Need, ...]] = ()
    known_: InDistribution | None = field(default=None, init=False, repr=False)

    def fit(self, known: InDistribution) -> Self:
        """Fit and return itself; see the family's protocol."""
        for need in self.NEEDS:
            if getattr(known, need) is None:
                raise UsageError(
                    f"{type(self).__name__} needs {' and '.join(self.NEEDS)}, and the known images have no {need}",
                    f"InDistribution(…, {need}=…)",
                    "a score that needs features only: knn, residual",
                )
        self._learn(known)
        self.known_ = known
        return self

    def __call__(self, features: Float[np.ndarray, "m d"]) -> Float64[np.ndarray, "m"]:
        """Scores, higher = more OOD; see the family's protocol."""
        return together([self], features)[0]

    def of(self, query: Query) -> Float64[np.ndarray, "b"]:
        """Scores of a block of images, which keeps what other scores can use, too."""
        return np.asarray(self._score(query, query.known), dtype=np.float64)

    def _learn(self, known: InDistribution) -> None:
        """Work out what the score keeps; nothing unless a member says so."""
        del known

    @abstractmethod
    def _score(self, query: Query, known: InDistribution) -> Float64[np.ndarray, "b"]:
        """Scores of checked features."""


def together(scores: Sequence[PostHoc], features: Float[np.ndarray, "m d"]) -> list[Float64[np.ndarray, "m"]]:
    """Several scores of the same images; what they share is worked out once, a block of images at a time.

    Args:
        scores: fitted on the same `InDistribution`, not only an equal one.
        features: of the images to score.

    Returns:
        What each score would give by itself.

    Raises:
        UsageError: one was not fitted, or on other known images. DataError: as in the family's protocol.

    Example:
        >>> from tapetum.score.ood.knn import Knn
        >>> known = InDistribution(np.eye(2))
        >>> [s.tolist() for s in together([Knn(k=1).fit(known), Knn(k=2).fit(known)], np.array([[3.0, 0.0]]))]
        [[0.0], [1.4142135623730951]]
    """
    known = [score.known_ for score in scores if score.known_ is not None]
    for score in scores:
        if score.known_ is None:
            raise UsageError(f"{type(score).__name__} was not fitted", "fit(InDistribution(…)) first")
        if score.known_ is not known[0]:
            raise UsageError("scores of different known images", "scores fitted on one InDistribution")
    if not scores:
        return []
    found = [[score.of(query) for score in scores] for query in queries(features, known[0])]
    return [np.concatenate(each) for each in zip(*found, strict=True)]


def share(value: float, name: str) -> float:
    """A share strictly between 0 and 1.

    Raises:
        UsageError: it is not.
    """
    if not 0 < value < 1:
        raise UsageError(f"{name}={value}", "a share above 0 and below 1")
    return value


def positive(value: float, name: str) -> float:
    """A number above 0.

    Raises:
        UsageError: it is not.
    """
    if not value > 0:
        raise UsageError(f"{name}={value}", "a number above 0")
    return value


def strongest(
    size: Float64[np.ndarray, "m d"], drop: float
) -> tuple[Bool[np.ndarray, "m d"], Float64[np.ndarray, "m"], Float64[np.ndarray, "m"]]:
    """Which features are kept when a share of the smallest is dropped, the sum of all sizes and that of those kept.

    Features tied with the smallest kept one are kept too, but do not count in the sum.
    """
    keep = max(size.shape[1] - round(size.shape[1] * drop), 1)
    strong = np.partition(size, size.shape[1] - keep, axis=1)[:, -keep:]
    return size >= strong[:, :1], size.sum(axis=1), strong.sum(axis=1)
