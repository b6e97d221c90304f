"""Energy of a sparse head."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from tapetum.core.errors import UsageError
from tapetum.score.in_distribution import InDistribution, Need
from tapetum.score.post_hoc import PostHoc, share
from tapetum.score.query import Query

__all__ = ["Dice"]

CENTRED = 1e-4  # of the spread of the features: means below it are rounding errors in single precision


@dataclass
class Dice(PostHoc):
    """Energy of a head that keeps only the weights that contribute most on the known images.

    Softmax and sigmoid: as in `energy`.

    Args:
        sparsity: share of the weights set to 0, those of the smallest mean contribution (mean feature · weight).

    Returns:
        Any range, higher = more OOD.

    Raises:
        UsageError: on fitting, a sparsity outside 0..1, or centred features, of which no weight contributes on average.

    Source: Sun and Li, ECCV 2022. Differs: nothing.
    """

    NEEDS: ClassVar[tuple[Need, ...]] = ("head",)
    sparsity: float = 0.7
    weight_: Float64[np.ndarray, "k d"] = field(default_factory=lambda: np.empty((0, 0)), init=False, repr=False)
    bias_: Float64[np.ndarray, "k"] = field(default_factory=lambda: np.empty(0), init=False, repr=False)

    def __post_init__(self) -> None:
        share(self.sparsity, "sparsity")

    def _learn(self, known: InDistribution) -> None:
        head = known.linear
        if float(np.sqrt((known.mean**2).mean())) <= CENTRED * float(known.features.std()):
            raise UsageError(
                "the known features have a mean of 0: dice would rank weights by rounding errors",
                "features as the network gives them, not standardised", "another score, for example energy",
            )  # fmt: skip
        given = known.mean * head.weight
        self.weight_ = np.where(given > np.quantile(given, self.sparsity), head.weight, 0.0)
        self.bias_ = head.bias.astype(np.float64)

    def _score(self, query: Query, known: InDistribution) -> Float64[np.ndarray, "b"]:
        return -known.confidence_of(query.features @ self.weight_.T + self.bias_)
