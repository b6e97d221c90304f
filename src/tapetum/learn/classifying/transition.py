"""Classes that are given for others: networks that know how often, as rows P(given | true)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tapetum.learn.classifying.plan import Pace
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.together import learn_together, logits_of
from tapetum.learn.classifying.trained import Network

LEAST = 1e-6  # probability below which none is taken the logarithm of
TransitionLoss = Callable[[Float[Tensor, "b k"], Int[Tensor, "b"]], Float[Tensor, "b"]]


def given_probs(logits: Float[Tensor, "b k"], transition: Float[Tensor, "k k"]) -> Float[Tensor, "b k"]:
    """Probabilities of the class that will be given, from logits of the true one."""
    return torch.softmax(logits, dim=1) @ transition


def at(values: Float[Tensor, "b k"], labels: Int[Tensor, "b"]) -> Float[Tensor, "b"]:
    """The value of each row's label."""
    return values.gather(1, labels[:, None])[:, 0]


def learn_through(
    taught: Taught,
    network: Network,
    loss: TransitionLoss,
    pace: Pace,
    rng: np.random.Generator,
    name: str,
    *,
    beside: nn.Module | None = None,
    beside_rate: float = 1.0,
) -> Network:
    """Train one network by a loss of logits and given labels.

    Args:
        taught: the rows.
        network: it is changed.
        loss: per row.
        pace: how long and how fast.
        rng: of the order.
        name: of the method.
        beside: a transition that learns too.
        beside_rate: its pace, of the network's.

    Raises:
        DataError: the loss became not finite.
    """

    def losses(rows: Int[np.ndarray, "b"], epoch: int) -> Float[Tensor, "b"]:
        return loss(logits_of(network, taught.given(rows, epoch)), taught.told(rows))

    learn_together(taught, [network], losses, pace, rng, name, beside=beside, beside_rate=beside_rate)
    return network
