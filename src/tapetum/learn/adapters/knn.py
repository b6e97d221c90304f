"""k nearest neighbours by cosine, weighted by similarity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
from jaxtyping import Float

from tapetum.core.errors import UsageError
from tapetum.learn.fitting.anchors import Anchors
from tapetum.learn.fitting.standardise import Standardiser

__all__ = ["KNN"]


@dataclass
class KNN:
    """The share of positive neighbours among the k nearest, as log odds.

    Args:
        k: number of neighbours, at least 1. temperature: of the weights exp(cosine / temperature), above 0.
        power: exponent of the signed root.

    Returns:
        Log odds of the weighted share of the neighbours that know, with half a pseudo-neighbour on either side so that
        they stay finite; 0 where none knows.

    Raises:
        UsageError: on fitting, k below 1 or temperature not above 0.

    Source: Wu et al., CVPR 2018, arXiv 1805.01978, section 3.4 (weighted vote).
    Differs: features standardised after a signed root first; one vote per finding, unknown labels do not vote.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ()
    k: int = 30
    temperature: float = 0.1
    power: float = 0.5
    standardiser_: Standardiser = field(init=False, repr=False)
    support_: Float[np.ndarray, "n d"] = field(init=False, repr=False)
    labels_: Float[np.ndarray, "n k"] = field(init=False, repr=False)

    def fit(
        self,
        support: Float[np.ndarray, "n d"],
        labels: Float[np.ndarray, "n k"],
        groups: np.ndarray | None = None,
        blocks: Mapping[str, tuple[int, int]] | None = None,
        anchors: Anchors | None = None,
    ) -> Self:
        """Keep the support set; nothing is chosen, so only the rows and labels play a part."""
        del groups, blocks, anchors
        if self.k < 1 or self.temperature <= 0:
            raise UsageError(f"k={self.k}, temperature={self.temperature}", "k ≥ 1, temperature > 0", "knn(k=30)")
        self.standardiser_ = Standardiser.fit(support, self.power)
        self.support_ = _unit(self.standardiser_(support))
        self.labels_ = np.asarray(labels, dtype=np.float64)
        return self

    def __call__(self, query: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m k"]:
        """Log odds per query and finding."""
        cosine = _unit(self.standardiser_(query)) @ self.support_.T
        k = min(self.k, cosine.shape[1])
        nearest = np.argpartition(-cosine, k - 1, axis=1)[:, :k]
        weight = np.exp((np.take_along_axis(cosine, nearest, 1).astype(np.float64) - 1) / self.temperature)
        votes = self.labels_[nearest]
        known = ~np.isnan(votes)
        yes = (weight[..., None] * np.where(known, votes, 0)).sum(1)
        # shares of the same sum, so that queries without a positive neighbour tie exactly, whatever the last bit is
        share = yes / np.maximum((weight[..., None] * known).sum(1), 1e-300)
        voters = known.sum(1)
        return np.log((share * voters + 0.5) / ((1 - share) * voters + 0.5))

    def state(self) -> dict[str, np.ndarray]:
        """Standardisation and the support set."""
        return {**self.standardiser_.state(), "support": self.support_, "labels": self.labels_}

    def restore(self, state: Mapping[str, np.ndarray]) -> Self:
        """Take them back."""
        self.standardiser_ = Standardiser.restore(state)
        self.support_, self.labels_ = state["support"], state["labels"]
        return self


def _unit(rows: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
