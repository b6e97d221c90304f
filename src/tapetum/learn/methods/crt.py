"""cRT: learn the features from all rows alike, then the last layer anew from balanced ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tapetum.learn.classifying.plan import Pace, Plan
from tapetum.learn.classifying.stages import first_stage, joined
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.train import train
from tapetum.learn.classifying.trained import Network

__all__ = ["ClassifierRetraining"]


@dataclass(frozen=True)
class ClassifierRetraining:
    """Two stages at the same pace; the second begins with a last layer that knows nothing, and moves nothing else.

    Args:
        first: loss of the first stage.
        loss: of the second.
        sampler: of the second.
        units: of the hidden layer that the first one learns.

    Source: Kang et al., ICLR 2020, arXiv 1910.09217, section 4.1. Differs: the features of the first stage are a
    hidden layer on frozen features, unless a tower learns too; the second stage sees rows without augmentation.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("classes",)
    first: str = "cross_entropy"
    loss: str = "cross_entropy"
    sampler: str = "class_balanced"
    units: int = 256

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Network:
        """Train both stages; see the family's protocol."""
        plan = Plan(loss=self.first, head=f"hidden(units={self.units})")
        network, _, embedded = first_stage(taught, plan, pace, rng)
        return joined(network, train(embedded, Plan(loss=self.loss, sampler=self.sampler), pace, rng).head)
