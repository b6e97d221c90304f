"""Forward correction: predict the true class, and compare what would be given for it with what was given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tapetum.learn.classifying.doubt import doubt
from tapetum.learn.classifying.plan import Pace
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.train import new_network
from tapetum.learn.classifying.trained import Network
from tapetum.learn.classifying.transition import LEAST, at, given_probs, learn_through

__all__ = ["ForwardCorrection"]


@dataclass(frozen=True)
class ForwardCorrection:
    """Cross-entropy of the given label under the network's probabilities times an estimated P(given | true).

    Args:
        head: of `nets/heads`. by: estimate of the transition, `anchors` or `confident`.

    Source: Patrini et al., CVPR 2017, arXiv 1609.03683, theorem 2. Differs: the transition is read off labels out of
    fold (`score/noise_rate`) instead of the posterior of one image for each class.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("classes",)
    head: str = "hidden"
    by: str = "anchors"

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Network:
        """Train; see the family's protocol."""
        transition = torch.from_numpy(doubt(taught, pace, rng, self.by).transition).float()

        def loss(logits: Float[Tensor, "b k"], labels: Int[Tensor, "b"]) -> Float[Tensor, "b"]:
            return -at(given_probs(logits, transition), labels).clamp_min(LEAST).log()

        return learn_through(taught, new_network(taught, self.head, rng), loss, pace, rng, "forward_correction")
