"""A small graph attention network over a tree."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import elu, leaky_relu, softmax

from tapetum.core.errors import UsageError


class TreeAttention(nn.Module):
    """Nodes of a tree take in what stands beside them: themselves, what is above, what is below.

    Every layer adds to its input the mean over all heads. What all layers have changed is weighted column by column,
    with weights that start at 0: an untrained network gives back what it was given.

    Args:
        parent: of every node the place of the one above it, −1 where there is none.
        columns: of the vectors that come in and go out. layers, heads: at least 1.
        generator: of the first weights; torch's own generator is left as it was.

    Raises:
        UsageError: a size below 1.

    Source: Veličković et al. (GAT), ICLR 2018, arXiv 1710.10903. Differs: all heads are averaged in every layer, each
    layer adds to its input, and the whole change has a weight.

    Example:
        >>> network = TreeAttention(torch.tensor([-1, 0]), 4, layers=2, heads=2, generator=torch.Generator())
        >>> bool((network(torch.ones(2, 4)) == 1).all())
        True
    """

    beside: Tensor

    def __init__(
        self, parent: Int[Tensor, "k"], columns: int, *, layers: int, heads: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        if min(columns, layers, heads) < 1:
            raise UsageError(f"columns={columns}, layers={layers}, heads={heads}", "each at least 1", "layers=2")
        self.register_buffer("beside", _beside(parent))

        def drawn(*shape: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape, generator=generator) / columns**0.5)

        self.maps = nn.ParameterList([drawn(heads, columns, columns) for _ in range(layers)])
        self.queries = nn.ParameterList([drawn(heads, columns) for _ in range(layers)])
        self.keys = nn.ParameterList([drawn(heads, columns) for _ in range(layers)])
        self.change = nn.Parameter(torch.zeros(columns))

    def forward(self, nodes: Float[Tensor, "k c"]) -> Float[Tensor, "k c"]:
        """What the nodes have become."""
        states = nodes
        for number, (weight, query, key) in enumerate(zip(self.maps, self.queries, self.keys, strict=True)):
            mapped = torch.einsum("kc,hcd->hkd", states, weight)
            asks, offers = (torch.einsum("hkd,hd->hk", mapped, by) for by in (query, key))
            towards = leaky_relu(asks[:, :, None] + offers[:, None], 0.2)
            share = softmax(towards.masked_fill(~self.beside, float("-inf")), 2)
            taken = (share @ mapped).mean(0)
            states = states + (taken if number == len(self.maps) - 1 else elu(taken))
        return nodes + self.change * (states - nodes)


def _beside(parent: Int[Tensor, "k"]) -> Bool[Tensor, "k k"]:
    """Which node sees which."""
    found = torch.eye(len(parent), dtype=torch.bool)
    below = (parent >= 0).nonzero()[:, 0]
    found[below, parent[below]] = found[parent[below], below] = True
    return found
