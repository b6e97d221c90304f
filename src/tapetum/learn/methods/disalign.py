"""DisAlign: logits are scaled and moved, more where an image asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tapetum.learn.classifying.plan import Pace, Plan
from tapetum.learn.classifying.stages import first_stage, joined
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.train import train
from tapetum.learn.classifying.trained import Network

__all__ = ["DistributionAlignment"]


@dataclass(frozen=True)
class DistributionAlignment:
    """Two stages at the same pace; the second learns how logits are aligned, from rows weighed against their class.

    Args:
        power: of the weights n^-power of the second stage.
        first: loss of the first stage.
        units: of the hidden layer that the first one learns.

    Source: Zhang et al., CVPR 2021, arXiv 2103.16370, equations 6 to 8. Differs: features as in `crt`.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("classes",)
    power: float = 1.2
    first: str = "cross_entropy"
    units: int = 256

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Network:
        """Train both stages; see the family's protocol."""
        plan = Plan(loss=self.first, head=f"hidden(units={self.units})")
        network, last, embedded = first_stage(taught, plan, pace, rng)
        aligned = Network(_Aligned(last))

        def alignment(network: Network) -> list[nn.Parameter]:
            head = cast(_Aligned, network.head)
            return [head.factor, head.offset, *head.confidence.parameters()]

        loss = f"inverse_frequency(power={self.power})"
        train(embedded, Plan(loss=loss), pace, rng, start=aligned, learns=alignment)
        return joined(network, aligned.head)


class _Aligned(nn.Module):
    """s · (factor · z + offset) + (1 - s) · z, s a confidence between 0 and 1 that depends on the row."""

    BENDS: ClassVar[bool] = False

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear, self.confidence = linear, nn.Linear(linear.in_features, 1)
        self.factor = nn.Parameter(torch.ones(linear.out_features))
        self.offset = nn.Parameter(torch.zeros(linear.out_features))
        nn.init.zeros_(self.confidence.bias)
        nn.init.constant_(self.confidence.weight, 0.1 / linear.in_features**0.5)

    def embed(self, features: Float[Tensor, "b e"]) -> Float[Tensor, "b e"]:
        return features

    def classify(self, embedded: Float[Tensor, "b e"]) -> Float[Tensor, "b k"]:
        logits, s = self.linear(embedded), torch.sigmoid(self.confidence(embedded))
        return s * (self.factor * logits + self.offset) + (1 - s) * logits

    def forward(self, features: Float[Tensor, "b e"]) -> Float[Tensor, "b k"]:
        return self.classify(features)
