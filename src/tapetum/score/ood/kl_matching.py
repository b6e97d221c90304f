"""Divergence from the typical predictions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from jaxtyping import Float64
from scipy import special

from tapetum.score.in_distribution import TINY, InDistribution, Need
from tapetum.score.post_hoc import PostHoc
from tapetum.score.query import Query

__all__ = ["KlMatching"]


@dataclass
class KlMatching(PostHoc):
    """Smallest Kullback-Leibler divergence of the predicted probabilities from a class's typical ones.

    The typical probabilities of a class are the mean over the known images called so. Softmax: divergence of two class
    distributions. Sigmoid: sum over the findings of that of two Bernoulli variables; images on which no finding is
    called are a group of their own.

    Returns:
        0 or above, in nats, higher = more OOD.

    Source: Hendrycks et al., ICML 2022, section 3. Differs: the sigmoid form is ours.
    """

    NEEDS: ClassVar[tuple[Need, ...]] = ("head",)
    typical_: Float64[np.ndarray, "g k"] = field(default_factory=lambda: np.empty((0, 0)), init=False, repr=False)

    def _learn(self, known: InDistribution) -> None:
        called, probs = known.called(known.logits), known.probs_of(known.logits)
        self.typical_ = np.stack([probs[called == g].mean(axis=0) for g in np.unique(called)])

    def _score(self, query: Query, known: InDistribution) -> Float64[np.ndarray, "b"]:
        probs = query.probs
        away = _divergences(probs, self.typical_)
        if known.mode == "sigmoid":
            away += _divergences(1 - probs, 1 - self.typical_)
        return away.min(axis=1)


def _divergences(probs: Float64[np.ndarray, "m k"], typical: Float64[np.ndarray, "g k"]) -> Float64[np.ndarray, "m g"]:
    """Sum of p·log(p/q); probabilities of 0 in `typical` are raised so that the sum stays finite."""
    return special.xlogy(probs, probs).sum(axis=1)[:, None] - probs @ np.log(np.maximum(typical, TINY)).T
