"""Free energy of the logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from tapetum.score.in_distribution import InDistribution, Need
from tapetum.score.post_hoc import PostHoc, positive
from tapetum.score.query import Query

__all__ = ["Energy"]


@dataclass
class Energy(PostHoc):
    """The free energy: little evidence for all classes together.

    Softmax: -T·logsumexp(z/T). Sigmoid: minus the sum of T·softplus(z/T) over the findings (JointEnergy).

    Args:
        temperature: T.

    Returns:
        Any range, higher = more OOD.

    Source: Liu et al., NeurIPS 2020; sigmoid: Wang et al., NeurIPS 2021, arXiv 2109.14162. Differs: nothing.
    """

    NEEDS: ClassVar[tuple[Need, ...]] = ("head",)
    temperature: float = 1.0

    def __post_init__(self) -> None:
        positive(self.temperature, "temperature")

    def _score(self, query: Query, known: InDistribution) -> Float64[np.ndarray, "b"]:
        return -known.confidence_of(query.logits, self.temperature)
