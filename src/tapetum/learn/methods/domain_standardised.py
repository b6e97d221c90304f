"""Features standardised by the mean and spread of their own domain; the tested domain by those of its own images."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Float64
from torch import Tensor

from tapetum.core.errors import UsageError
from tapetum.learn.classifying.domain_weights import domain_statistics, refuse_inputs
from tapetum.learn.classifying.moved import Moved, as_rows
from tapetum.learn.classifying.plan import Pace, Plan
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.train import train

__all__ = ["DomainStandardised"]


@dataclass(frozen=True)
class DomainStandardised(Plan):
    """Transductive: reads the images that are to be judged, all of one domain at once, though not their labels.

    The images asked of are held to be one domain, in which classes are as common as where it was learned: where they
    are not, part of what tells the classes is taken away with the mean. A few images give a poor mean, so that it is
    drawn towards that of all domains learned on.

    Args:
        strength: how far a domain's own mean and spread take the place of those of all, 0..1 from below; n images
            count as n · strength against `as_many`.
        as_many: images that the statistics of all domains count as.
        others: see `Plan`.

    Source: after Li et al., Pattern Recognition 2018, arXiv 1603.04779 (AdaBN). Differs: on frozen features, once,
    instead of in every normalising layer; drawn towards the statistics learned on.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("features",)
    TRANSDUCTIVE: ClassVar[bool] = True
    strength: float = 1.0
    as_many: float = 10.0

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Moved:
        """Train; see the family's protocol."""
        refuse_inputs(taught, "domain_standardised")
        if self.strength < 0 or self.as_many < 0 or self.strength + self.as_many == 0:
            raise UsageError(f"strength={self.strength}, as_many={self.as_many}", "at least 0, and not both 0")
        (mean,), (spread,) = domain_statistics(taught.features, np.zeros(len(taught.features), dtype=np.int64))

        def move(inputs: Float[np.ndarray | Tensor, "n d"]) -> Float64[np.ndarray, "n d"]:
            rows = as_rows(inputs)
            (own,), (wide,) = domain_statistics(rows, np.zeros(len(rows), dtype=np.int64))
            count = self.strength * len(rows)
            share = count / (count + self.as_many)
            wide = wide**share * spread ** (1 - share)
            return (rows - share * own - (1 - share) * mean) / wide * spread + mean

        moved = np.empty(taught.features.shape)
        for d in np.unique(taught.domains):
            moved[taught.domains == d] = move(taught.features[taught.domains == d])
        return Moved(train(dataclasses.replace(taught, features=moved), self, pace, rng), move)
