"""τ-normalisation: long weights of common classes are shortened after training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from tapetum.core.errors import UsageError
from tapetum.learn.classifying.plan import Pace, Plan
from tapetum.learn.classifying.stages import first_stage, joined
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.trained import Network

__all__ = ["TauNormalisation"]


@dataclass(frozen=True)
class TauNormalisation:
    """One stage, then every class's weights over their length to the power tau, without bias.

    Args:
        tau: 0 = as learned, 1 = all of length 1; nothing between is chosen on data here.
        first: loss of the stage.
        units: of the hidden layer that it learns.

    Raises:
        UsageError: tau outside 0..1.

    Source: Kang et al., ICLR 2020, arXiv 1910.09217, section 4.2, equation 6. Differs: nothing; a published benchmark
    has the power 2 in its place, which makes the common classes' weights the shortest of all.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("classes",)
    tau: float = 0.7
    first: str = "cross_entropy"
    units: int = 256

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Network:
        """Train, then shorten; see the family's protocol."""
        if not 0 <= self.tau <= 1:
            raise UsageError(f"tau={self.tau}", "0 to 1")
        plan = Plan(loss=self.first, head=f"hidden(units={self.units})")
        network, last, _ = first_stage(taught, plan, pace, rng)
        shortened = nn.Linear(last.in_features, last.out_features, bias=False)
        with torch.no_grad():
            length = last.weight.norm(dim=1, keepdim=True).clamp_min(1e-12)
            shortened.weight.copy_(last.weight / length**self.tau)
        return joined(network, shortened)
