"""Networks that learn side by side in the one loop and from each other; or one, with something beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from scipy.special import softmax
from torch import Tensor, nn

from tapetum.learn.classifying.plan import Pace
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.classifying.train import new_network, paces, run_stage
from tapetum.learn.classifying.trained import IMAGES, ROWS, Network
from tapetum.learn.training.loop import Order
from tapetum.learn.training.optimiser import ParameterGroup

Losses = Callable[[Int[np.ndarray, "b"], int], Float[Tensor, "b"]]


def new_networks(taught: Taught, head: str, rng: np.random.Generator, number: int = 2) -> tuple[Network, ...]:
    """Untrained networks that begin with different weights, as far as the head draws any."""
    return tuple(new_network(taught, head, rng) for _ in range(number))


def logits_of(network: Network, given: Tensor) -> Float[Tensor, "b k"]:
    """Logits that a loss can be taken of."""
    return network.head(given if network.tower is None else network.tower(given))


def learn_together(
    taught: Taught,
    networks: Sequence[Network],
    losses: Losses,
    pace: Pace,
    rng: np.random.Generator,
    name: str,
    *,
    beside: nn.Module | None = None,
    beside_rate: float = 1.0,
    before: Callable[[int], None] | None = None,
    draw: Order | None = None,
) -> None:
    """Train all networks at once; the last epoch stays.

    Args:
        taught: the rows.
        networks: they are changed.
        losses: row numbers and the epoch → loss per row, the sum over networks where there are several.
        pace: how long and how fast.
        rng: of the order.
        name: of the method, for whoever reads an error.
        beside: further parameters, which do not decay.
        beside_rate: their pace, of the networks' own.
        before: called before each epoch with its number from 0.
        draw: rows of the next epoch; None = all of them, mixed.

    Raises:
        DataError: the loss became not finite.
    """
    parts = [m for n in networks for m in (n.tower, n.head) if m is not None]
    whole = nn.ModuleList([*parts, *([] if beside is None else [beside])])
    for parameter in whole.parameters():
        parameter.requires_grad_(True)
    free = [[p for m in (n.tower, n.head) if m for p in m.parameters()] for n in networks]
    groups = [g for n, own in zip(networks, free, strict=True) for g in paces(n, own, pace.offset_rate)]
    if beside is not None:
        groups.append(ParameterGroup(list(beside.parameters()), beside_rate, weight_decay=0.0))
    begun = 0

    def order(rows: Int[np.ndarray, "n"], source: np.random.Generator) -> Int[np.ndarray, "n"]:
        nonlocal begun
        if before:
            before(begun)
        begun += 1
        whole.train()
        return draw(rows, source) if draw else source.permutation(rows)

    run_stage(whole, losses, taught, pace.settings(), rng, groups, order, name)


def read_rows(taught: Taught, network: Network, rows: Int[np.ndarray, "m"]) -> Float64[np.ndarray, "m k"]:
    """Probabilities of some rows taught, as the network is now and as the rows are in epoch 0."""
    size = IMAGES if network.tower is not None else ROWS
    parts = [network(taught.given(rows[start : start + size], 0)) for start in range(0, len(rows), size)]
    return softmax(np.concatenate(parts), axis=1)


def row_mean(losses: Float[Tensor, "m"], rows: Int[np.ndarray | Tensor, "m"], batch: int) -> Float[Tensor, "b"]:
    """Losses of some rows of a batch as losses of all, whose mean is the mean of the some: 0 for the others."""
    spread = torch.zeros(batch, dtype=losses.dtype)
    return spread.index_put((torch.as_tensor(rows),), losses * (batch / max(len(rows), 1)))
