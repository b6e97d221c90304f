"""Backward correction: losses mixed so that their mean over wrong labels is the loss of the right one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from tapetum.core.errors import UsageError
from tapetum.learn.classifying.doubt import doubt
from tapetum.learn.classifying.plan import Pace
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.train import new_network
from tapetum.learn.classifying.trained import Network
from tapetum.learn.classifying.transition import at, learn_through

__all__ = ["BackwardCorrection"]


@dataclass(frozen=True)
class BackwardCorrection:
    """The losses of all classes, multiplied by the inverse of an estimated P(given | true), at the given label.

    It may fall below 0, and where the inverse is large it is noisy.

    Args:
        head: of `nets/heads`. by: estimate of the transition, `anchors` or `confident`. smallest: singular values of
            the transition below this share of the largest are not inverted, 0..1.

    Source: Patrini et al., CVPR 2017, arXiv 1609.03683, theorem 1. Differs: the transition is read off labels out of
    fold (`score/noise_rate`); a pseudo-inverse.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("classes",)
    head: str = "hidden"
    by: str = "anchors"
    smallest: float = 0.05

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Network:
        """Train; see the family's protocol."""
        if not 0 <= self.smallest < 1:
            raise UsageError(f"smallest={self.smallest}", "at least 0 and below 1")
        transition = doubt(taught, pace, rng, self.by).transition
        back = torch.from_numpy(np.linalg.pinv(transition, rcond=self.smallest)).float()

        def loss(logits: Float[Tensor, "b k"], labels: Int[Tensor, "b"]) -> Float[Tensor, "b"]:
            return at(-functional.log_softmax(logits, dim=1) @ back.T, labels)

        return learn_through(taught, new_network(taught, self.head, rng), loss, pace, rng, "backward_correction")
