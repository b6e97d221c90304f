"""Cosine to the nearest class mean."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from jaxtyping import Float32, Float64

from tapetum.score.in_distribution import InDistribution, Need, directions
from tapetum.score.post_hoc import PostHoc
from tapetum.score.query import Query

__all__ = ["Prototype"]


@dataclass
class Prototype(PostHoc):
    """One minus the largest cosine with a class mean.

    Reads labels, no head; groups as in `mahalanobis`.

    Returns:
        0..2, higher = more OOD.

    Source: Snell, Swersky and Zemel, NeurIPS 2017 (prototypes); as an OOD score after Tack et al., NeurIPS 2020.
    Differs: no training, one prototype per class.
    """

    NEEDS: ClassVar[tuple[Need, ...]] = ("labels",)
    prototypes_: Float32[np.ndarray, "g d"] = field(
        default_factory=lambda: np.empty((0, 0), np.float32), init=False, repr=False
    )

    def _learn(self, known: InDistribution) -> None:
        self.prototypes_ = directions(known.group_means[known.inhabited])

    def _score(self, query: Query, known: InDistribution) -> Float64[np.ndarray, "b"]:
        del known
        return 1 - (query.directions @ self.prototypes_.T).max(axis=1).astype(np.float64)
