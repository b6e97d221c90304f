"""One stage of training, whatever loss, sampler, blending, penalty and head it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tapetum.learn.classifying.plan import Pace, Plan
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.train import train
from tapetum.learn.classifying.trained import Network

__all__ = ["OneStage"]


@dataclass(frozen=True)
class OneStage(Plan):
    """A plan, trained once; with its defaults it is cross-entropy on all rows alike (ERM).

    Args:
        loss, late_loss, sampler, late_sampler, late, augment, mixing, compactness, invariance, penalty_from, head, ema,
            sharpness: see `Plan`.

    Source: Vapnik, NIPS 1991 (empirical risk minimisation); sharpness: Foret et al., ICLR 2021, arXiv 2010.01412.
    Differs: sharpness is measured on the same batch with blending and penalties included.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ()

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Network:
        """Train; see the family's protocol."""
        return train(taught, self, pace, rng)
