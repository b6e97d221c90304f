"""Entropy of the predicted probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64
from scipy import special

from tapetum.score.in_distribution import InDistribution, Need
from tapetum.score.post_hoc import PostHoc
from tapetum.score.query import Query

__all__ = ["Entropy"]


@dataclass
class Entropy(PostHoc):
    """How undecided the head is.

    Softmax: entropy of the class probabilities. Sigmoid: sum of the entropies of the findings.

    Returns:
        0..log k (softmax) or 0..k·log 2 (sigmoid), in nats, higher = more OOD.

    Source: Shannon, 1948; as an OOD score Chan, Rottmann and Gottschalk, ICCV 2021. Differs: nothing is retrained.
    """

    NEEDS: ClassVar[tuple[Need, ...]] = ("head",)

    def _score(self, query: Query, known: InDistribution) -> Float64[np.ndarray, "b"]:
        probs = query.probs
        found = special.entr(probs)
        return (found if known.mode == "softmax" else found + special.entr(1 - probs)).sum(axis=1)
