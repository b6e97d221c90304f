"""VolMinNet: learn the transition with the network, as the smallest one that explains the labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tapetum.core.errors import UsageError
from tapetum.learn.classifying.plan import Pace
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.train import new_network
from tapetum.learn.classifying.trained import Network
from tapetum.learn.classifying.transition import LEAST, at, given_probs, learn_through

__all__ = ["VolMinNet"]


@dataclass(frozen=True)
class VolMinNet:
    """Cross-entropy of the given label through a learned transition, plus the logarithm of that matrix's determinant.

    Nothing is estimated beforehand. The diagonal is the largest entry of each row, so that classes keep their names.

    Args:
        head: of `nets/heads`. volume: weight of the log determinant. start: logit of the entries off the diagonal at
            first; -2 gives each of them 0.12 beside 1 on the diagonal. transition_rate: pace of the transition, of the
            network's.

    Source: Li et al., ICML 2021, arXiv 2102.02400. Differs: AdamW; the transition learns faster than
    the network, whose runs are short.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("classes",)
    head: str = "hidden"
    volume: float = 1e-4
    start: float = -2.0
    transition_rate: float = 10.0

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Network:
        """Train; see the family's protocol."""
        if self.volume < 0 or self.transition_rate <= 0:
            raise UsageError(f"volume={self.volume}, transition_rate={self.transition_rate}", "0 or above, and above 0")
        if not taught.exclusive:
            raise UsageError("labels that are findings", "one class each")
        transition = Transition(taught.classes, self.start)

        def loss(logits: Float[Tensor, "b k"], labels: Int[Tensor, "b"]) -> Float[Tensor, "b"]:
            matrix = transition()
            told = -at(given_probs(logits, matrix), labels).clamp_min(LEAST).log()
            return told + self.volume * torch.linalg.slogdet(matrix).logabsdet

        network = new_network(taught, self.head, rng)
        return learn_through(
            taught, network, loss, pace, rng, "vol_min_net", beside=transition, beside_rate=self.transition_rate
        )


class Transition(nn.Module):
    """P(given | true) that is learned: 1 on the diagonal, a sigmoid elsewhere, rows divided by their sums."""

    def __init__(self, classes: int, start: float) -> None:
        super().__init__()
        self.off = nn.Parameter(torch.full((classes, classes), start))

    def forward(self) -> Float[Tensor, "k k"]:
        """Rows add up to 1."""
        one = torch.eye(len(self.off))
        return nn.functional.normalize(one + (1 - one) * torch.sigmoid(self.off), p=1, dim=1)
