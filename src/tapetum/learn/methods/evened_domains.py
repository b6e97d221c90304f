"""Cells of domain and class that weigh alike, so that where an image comes from says nothing of what it shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tapetum.core.errors import UsageError
from tapetum.learn.classifying.domain_weights import evened, refuse_findings
from tapetum.learn.classifying.plan import Pace, Plan
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.train import train
from tapetum.learn.classifying.trained import Network

__all__ = ["EvenedDomains"]


@dataclass(frozen=True)
class EvenedDomains(Plan):
    """One stage in which a cell of n rows weighs as n ** (1 - power); with one domain, classes are evened.

    Args:
        power: 0 = as they are, 1 = every cell of domain and class alike.
        others: see `Plan`.

    Source: Che et al., MICCAI 2023, arXiv 2307.04378 (GDRNet), the weights of its loss. Differs: weights alone, with
    counts of the rows at hand; the contrast between an image and its changed copy needs the pixels.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("classes",)
    power: float = 1.0

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Network:
        """Train; see the family's protocol."""
        refuse_findings(taught, "evened_domains")
        if self.power < 0:
            raise UsageError(f"power={self.power}", "at least 0")
        return train(taught, self, pace, rng, weights=evened(taught, self.power))
