"""MiSLAS: features from blended rows, then a last layer that is told to be less sure of common classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tapetum.learn.classifying.plan import Pace, Plan
from tapetum.learn.classifying.stages import Adjusted, first_stage, joined
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.train import train
from tapetum.learn.classifying.trained import Network

__all__ = ["MixupLabelAwareSmoothing"]


@dataclass(frozen=True)
class MixupLabelAwareSmoothing:
    """Two stages at the same pace: mixup, then label-aware smoothing of balanced rows with factors that learn.

    Args:
        mixing: of the first stage.
        loss: of the second.
        units: of the hidden layer that the first one learns.

    Source: Zhong et al., CVPR 2021, arXiv 2104.00466. Differs: no batch normalisation whose statistics could be
    learned again; features as in `crt`.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("classes",)
    mixing: str = "mixup"
    loss: str = "label_aware_smoothing"
    units: int = 256

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Network:
        """Train both stages; see the family's protocol."""
        plan = Plan(mixing=self.mixing, head=f"hidden(units={self.units})")
        network, last, embedded = first_stage(taught, plan, pace, rng)
        start = Network(Adjusted(last))
        train(embedded, Plan(loss=self.loss, sampler="class_balanced"), pace, rng, start=start)
        return joined(network, start.head)
