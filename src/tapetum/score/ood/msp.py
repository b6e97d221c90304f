"""Maximum softmax probability."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from tapetum.score.in_distribution import InDistribution, Need
from tapetum.score.post_hoc import PostHoc, positive
from tapetum.score.query import Query

__all__ = ["Msp"]


@dataclass
class Msp(PostHoc):
    """Minus the largest probability of the head: an image that no class claims with confidence is suspect.

    Softmax: the largest class probability. Sigmoid: the largest finding probability; an image without any finding then
    looks OOD, so prefer a score of the features where such images are common.

    Args:
        temperature: divides the logits; with cosines as logits and a temperature of its own this is MCM.

    Returns:
        -1..0, higher = more OOD.

    Example:
        >>> from tapetum.core.types import Head
        >>> known = InDistribution(np.eye(2), head=Head(np.eye(2, dtype=np.float32), np.zeros(2, np.float32)))
        >>> Msp().fit(known)(np.array([[0.0, 0.0], [3.0, 0.0]])).round(3).tolist()
        [-0.5, -0.953]

    Source: Hendrycks and Gimpel, ICLR 2017; with text prototypes Ming et al., NeurIPS 2022 (MCM).
    Differs: the sigmoid form is ours after Hendrycks et al., ICML 2022.
    """

    NEEDS: ClassVar[tuple[Need, ...]] = ("head",)
    temperature: float = 1.0

    def __post_init__(self) -> None:
        positive(self.temperature, "temperature")

    def _score(self, query: Query, known: InDistribution) -> Float64[np.ndarray, "b"]:
        return -known.probs_of(query.logits, self.temperature).max(axis=1)
