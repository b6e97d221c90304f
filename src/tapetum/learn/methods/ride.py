"""RIDE: experts that are rewarded for disagreeing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from tapetum.core.errors import UsageError
from tapetum.learn.classifying.experts import train_experts
from tapetum.learn.classifying.plan import LOSSES, Pace, Plan
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.trained import Network

__all__ = ["RoutingDiverseExperts"]


@dataclass(frozen=True)
class RoutingDiverseExperts:
    """Mean loss of the experts minus `diversity` times how far each lies from their mean; mean logits.

    Args:
        loss: of every expert.
        experts: two or more.
        diversity: weight of the divergence of an expert's probabilities from those of the mean logits; 0 = none.
        units: of the hidden layer that they share.

    Raises:
        UsageError: fewer than two experts, or a loss of findings.

    Source: after Wang et al., ICLR 2021, arXiv 2010.01809. Differs: no routing, all experts are always asked; one
    temperature for all classes; experts share the hidden layer; balanced softmax in place of LDAM.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("classes",)
    loss: str = "balanced_softmax"
    experts: int = 3
    diversity: float = 0.2
    units: int = 256

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Network:
        """Train; see the family's protocol."""
        if self.experts < 2:
            raise UsageError(f"experts={self.experts}", "two or more")
        Plan(loss=self.loss).refuse_labels(taught.exclusive)
        return train_experts(taught, self.losses, self.experts, self.units, pace, rng, "ride")

    def losses(
        self, logits: Float[Tensor, "b m k"], labels: Int[Tensor, "b"], counts: Float[Tensor, "k"]
    ) -> Float[Tensor, "b"]:
        """Mean loss minus the mean Kullback-Leibler divergence of the experts' probabilities from their mean's."""
        loss = LOSSES.build(self.loss)
        each = [loss(logits[:, m], labels, counts) for m in range(logits.shape[1])]
        middle = logits.mean(dim=1, keepdim=True).log_softmax(dim=2)
        apart = (middle.exp() * (middle - logits.log_softmax(dim=2))).sum(dim=2).mean(dim=1)
        return sum(each, logits.new_zeros(len(labels))) / len(each) - self.diversity * apart
