"""Norm of the gradient towards the uniform distribution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float64

from tapetum.score.in_distribution import InDistribution, Need
from tapetum.score.post_hoc import PostHoc, positive
from tapetum.score.query import Query

__all__ = ["Gradnorm"]


@dataclass
class Gradnorm(PostHoc):
    """Minus the L1 norm of the last layer's gradient when the head is asked to be undecided.

    The layer is linear, so the gradient is an outer product and its norm |x|₁·|dL/dz|₁. Softmax: L is the cross-entropy
    to the uniform distribution, dL/dz = (p - 1/k)/T. Sigmoid: the mean binary cross-entropy to 1/2,
    dL/dz = (p - 1/2)/(kT).

    Args:
        temperature: T.

    Returns:
        0 or below, higher = more OOD.

    Source: Huang, Geng and Li, NeurIPS 2021, section 3. Differs: in closed form; averaged over classes, as in
    pytorch-ood, which scales all scores alike; the sigmoid form is ours.
    """

    NEEDS: ClassVar[tuple[Need, ...]] = ("head",)
    temperature: float = 1.0

    def __post_init__(self) -> None:
        positive(self.temperature, "temperature")

    def _score(self, query: Query, known: InDistribution) -> Float64[np.ndarray, "b"]:
        probs = known.probs_of(query.logits, self.temperature)
        k = probs.shape[1]
        pull = np.abs(probs - 1 / k) if known.mode == "softmax" else np.abs(probs - 0.5) / k
        return -query.sizes.sum(axis=1) * pull.sum(axis=1) / self.temperature
