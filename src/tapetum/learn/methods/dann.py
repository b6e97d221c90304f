"""DANN: features that tell the class and not the domain, by a discriminator that is answered with the wrong sign."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from tapetum.core.errors import UsageError
from tapetum.core.registry import Family
from tapetum.learn.classifying.domain_weights import refuse_one_domain
from tapetum.learn.classifying.plan import Pace, Plan
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.together import learn_together
from tapetum.learn.classifying.train import new_network
from tapetum.learn.classifying.trained import Network
from tapetum.nets.heads import ClassHead

__all__ = ["Dann"]

STEEPNESS = 10.0  # of the ramp


@dataclass(frozen=True)
class Dann:
    """A discriminator learns to name the domain from what the last layer reads; the layers before it, to hinder it.

    Where classes differ in frequency between domains, hiding the domain costs some of the class.

    Args:
        weight: of the reversed gradient; it ramps up from 0 over the epochs.
        loss: of `learn/losses`. head: with a hidden layer, unless a tower learns. units: of the discriminator.

    Source: Ganin et al., JMLR 2016, arXiv 1505.07818, section 5.2.2. Differs: domains learned on are told apart, and no
    image of the tested one is seen; AdamW.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("domains",)
    weight: float = 1.0
    loss: str = "cross_entropy"
    head: str = "hidden(units=64)"
    units: int = 64

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Network:
        """Train; see the family's protocol."""
        refuse_one_domain(taught, "dann")
        Plan(self.loss).refuse_labels(taught.exclusive)
        network = new_network(taught, self.head, rng)
        head = cast(ClassHead, network.head)
        if not head.BENDS and network.tower is None:
            raise UsageError(f"dann with head={self.head!r}", "a head with a hidden layer", "head='hidden'")
        if self.weight < 0:
            raise UsageError(f"weight={self.weight}", "at least 0")
        where = torch.from_numpy(np.unique(taught.domains, return_inverse=True)[1])
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        with torch.no_grad():
            width = head.embed(_features(network, taught.given(np.arange(1), 0))).shape[1]
        judge = _discriminator(width, self.units, int(where.max()) + 1, generator)
        loss: Callable[..., Any] = Family("tapetum.learn.losses").build(self.loss)
        counts = torch.from_numpy(taught.counts).float()

        def losses(rows: Int[np.ndarray, "b"], epoch: int) -> Float[Tensor, "b"]:
            embedded = head.embed(_features(network, taught.given(rows, epoch)))
            named = judge(_reversed(embedded, self.weight * ramp(epoch / pace.epochs)))
            own: Tensor = loss(head.classify(embedded), taught.told(rows), counts)
            return own + functional.cross_entropy(named, where[rows], reduction="none")

        learn_together(taught, [network], losses, pace, rng, "dann", beside=judge)
        return network


def ramp(share: float) -> float:
    """Weight of the reversed gradient after a share of the training, from 0 to 1.

    Example:
        >>> ramp(0.0), round(ramp(1.0), 3)
        (0.0, 1.0)
    """
    return 2 / (1 + math.exp(-STEEPNESS * share)) - 1


def _features(network: Network, given: Tensor) -> Tensor:
    return given if network.tower is None else network.tower(given)


def _reversed(rows: Float[Tensor, "b e"], weight: float) -> Float[Tensor, "b e"]:
    """The rows themselves, whose gradient is handed back times -weight."""
    return (1 + weight) * rows.detach() - weight * rows


def _discriminator(width: int, units: int, domains: int, generator: torch.Generator) -> nn.Module:
    judge = nn.Sequential(nn.Linear(width, units), nn.ReLU(), nn.Linear(units, domains))
    with torch.no_grad():
        for layer in (judge[0], judge[2]):
            last = cast(nn.Linear, layer)
            spread = math.sqrt(2 / last.in_features)
            last.weight.copy_(torch.randn(last.weight.shape, generator=generator) * spread)
            last.bias.zero_()
    return judge
