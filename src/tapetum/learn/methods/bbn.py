"""BBN: one branch learns from all rows, the other from rare classes, and the weight moves from one to the other."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tapetum.core.registry import Family
from tapetum.learn.classifying.experts import train_network
from tapetum.learn.classifying.plan import Pace
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.train import new_network
from tapetum.learn.classifying.trained import Network
from tapetum.nets.heads.hidden import Hidden

__all__ = ["BilateralBranches"]


@dataclass(frozen=True)
class BilateralBranches:
    """Logits are l · one branch of a row + (1 - l) · the other branch of a row of a reversed sampler; l falls from 1.

    l = 1 - (epoch / epochs)²: with whatever number of epochs, the last one nearly belongs to the second branch. When
    asked, both branches see the same row and count one half.

    Args:
        units: of the hidden layer of each branch.

    Source: Zhou et al., CVPR 2020, arXiv 1912.02413, equations 1 to 3. Differs: the branches share a tower, where one
    learns, and no layer of the head. A published benchmark's l ends at 0.76, so that the second branch never leads.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("classes",)
    units: int = 256

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Network:
        """Train; see the family's protocol."""
        heads = [new_network(taught, f"hidden(units={self.units})", rng).head for _ in range(2)]
        head = _Branches(*heads)
        network = Network(head, copy.deepcopy(taught.tower))
        reversed_rows = Family("tapetum.learn.rebalancing").build("square_root(power=-1.0)")
        drawn = np.random.default_rng(int(rng.integers(2**62)))

        def losses(rows: Int[np.ndarray, "b"], epoch: int) -> Float[Tensor, "b"]:
            other = reversed_rows(taught.labels, rng=drawn)[: len(rows)]
            one, two = (
                x if network.tower is None else network.tower(x)
                for x in (taught.given(r, epoch) for r in (rows, other))
            )
            share = self.share(epoch, pace.epochs)
            logits = share * head.first(one) + (1 - share) * head.second(two)
            both = [cross_entropy(logits, taught.told(r), reduction="none") for r in (rows, other)]
            return share * both[0] + (1 - share) * both[1]

        train_network(taught, network, losses, pace, rng, "bbn")
        return network

    @staticmethod
    def share(epoch: int, epochs: int) -> float:
        """How much the branch of all rows counts, 1 at first.

        Example:
            >>> [BilateralBranches.share(e, 50) for e in (0, 25, 49)]
            [1.0, 0.75, 0.0396]
        """
        return round(1 - (epoch / epochs) ** 2, 12)


class _Branches(nn.Module):
    """Two hidden heads side by side; their mean logits."""

    BENDS: ClassVar[bool] = True

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def embed(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b e"]:
        parts = [branch.embed(features) for branch in (self.first, self.second) if isinstance(branch, Hidden)]
        return torch.cat(parts, dim=1)

    def classify(self, embedded: Float[Tensor, "b e"]) -> Float[Tensor, "b k"]:
        halves = zip((self.first, self.second), embedded.chunk(2, dim=1), strict=True)
        parts = [branch.classify(half) for branch, half in halves if isinstance(branch, Hidden)]
        return torch.stack(parts).mean(dim=0)

    def forward(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        return (self.first(features) + self.second(features)) / 2
