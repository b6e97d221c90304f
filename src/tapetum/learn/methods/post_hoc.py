"""Logit adjustment after training: the prior that was learned is taken off again."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from tapetum.learn.classifying.plan import Pace, Plan
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.train import train
from tapetum.learn.classifying.trained import Network
from tapetum.learn.classifying.weighing import log_prior

__all__ = ["PostHocAdjustment"]


@dataclass(frozen=True)
class PostHocAdjustment:
    """One stage with a plain loss; prediction uses `logits - tau · log prior`.

    Args:
        tau: 0 = as learned, 1 = the whole prior.
        loss: of the stage.
        head: of `nets/heads`.

    Source: Menon et al., ICLR 2021, arXiv 2007.07314, equation 9. Differs: nothing.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("classes",)
    tau: float = 1.0
    loss: str = "cross_entropy"
    head: str = "linear"

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Network:
        """Train, then adjust; see the family's protocol."""
        network = train(taught, Plan(loss=self.loss, head=self.head), pace, rng)
        prior = log_prior(torch.from_numpy(taught.counts)).numpy()
        return dataclasses.replace(network, offset=network.offset - self.tau * prior)
