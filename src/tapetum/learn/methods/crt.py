"""cRT: learn the features from all rows alike, then the last layer anew from balanced ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
from torch import nn

from tapetum.learn.classifying.plan import Pace, Plan
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.train import new_network, train
from tapetum.learn.classifying.trained import Network

__all__ = ["ClassifierRetraining"]


@dataclass(frozen=True)
class ClassifierRetraining:
    """Two stages at the same pace; the second begins with a last layer that knows nothing, and moves nothing else.

    Args:
        first: loss of the first stage. sampler: of the second. units: of the hidden layer that the first one learns.

    Source: Kang et al., ICLR 2020, arXiv 1910.09217, section 4.1. Differs: the features of the first stage are a
    hidden layer on frozen features, unless a tower learns too.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("classes",)
    first: str = "cross_entropy"
    sampler: str = "class_balanced"
    units: int = 256

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Network:
        """Train both stages; see the family's protocol."""
        head = f"hidden(units={self.units})"
        network = train(taught, Plan(loss=self.first, head=head), pace, rng)
        fresh = new_network(taught, head, rng)
        last = cast(nn.Linear, fresh.head.get_submodule("last"))
        network.head.add_module("last", last)
        plan = Plan(sampler=self.sampler, head=head)
        return train(taught, plan, pace, rng, start=network, learns=lambda n: list(last.parameters()))
