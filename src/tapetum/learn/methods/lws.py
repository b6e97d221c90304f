"""LWS: the directions of the last layer stay, how long each class's weights are is learned from balanced rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
from torch import nn

from tapetum.learn.classifying.plan import Pace, Plan
from tapetum.learn.classifying.stages import Adjusted, first_stage, joined
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.train import train
from tapetum.learn.classifying.trained import Network

__all__ = ["LearnableWeightScaling"]


@dataclass(frozen=True)
class LearnableWeightScaling:
    """Two stages at the same pace; the second learns one factor for each class's logit and nothing else.

    Args:
        first: loss of the first stage.
        sampler: of the second.
        units: of the hidden layer that the first one learns.

    Source: Kang et al., ICLR 2020, arXiv 1910.09217, section 4.2 (LWS). Differs: the bias is multiplied too; features
    as in `crt`.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("classes",)
    first: str = "cross_entropy"
    sampler: str = "class_balanced"
    units: int = 256

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Network:
        """Train both stages; see the family's protocol."""
        plan = Plan(loss=self.first, head=f"hidden(units={self.units})")
        network, last, embedded = first_stage(taught, plan, pace, rng)
        scaled = Network(Adjusted(last))

        def factors(network: Network) -> list[nn.Parameter]:
            return [cast(Adjusted, network.head).scale]

        train(embedded, Plan(sampler=self.sampler), pace, rng, start=scaled, learns=factors)
        return joined(network, scaled.head)
