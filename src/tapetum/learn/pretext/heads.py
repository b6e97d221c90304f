"""Small heads whose first weights come from a given generator, the global one being left alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention


def linear(into: int, out: int, generator: torch.Generator) -> nn.Linear:
    """A linear layer: uniform weights of variance 2 / (into + out), offsets 0 (Glorot and Bengio, AISTATS 2010)."""
    layer = nn.utils.skip_init(nn.Linear, into, out)
    assert isinstance(layer, nn.Linear)
    bound = math.sqrt(6 / (into + out))
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=generator)
        layer.bias.zero_()
    return layer


def seed_of(generator: torch.Generator) -> int:
    """A seed for draws that follow from a row and an epoch."""
    return int(torch.randint(2**31, (), generator=generator))


class Projection(nn.Module):
    """Linear layers with GELU between them, on columns that are brought to mean 0 and variance 1.

    What a tower gives first is alike for all images but for a little: with that common part left in, all embeddings
    would start in one point. Mean and scale are taken once (`fit`) and stay, so that an image's embedding does not
    depend on the images beside it.

    Args:
        widths: columns before, between and after the layers.
        generator: of the first weights.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, widths: Sequence[int], generator: torch.Generator) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(widths[0]))
        self.register_buffer("scale", torch.ones(widths[0]))
        self.layers = nn.ModuleList(linear(a, b, generator) for a, b in itertools.pairwise(widths))

    @torch.no_grad()
    def fit(self, features: Float[Tensor, "n d"]) -> None:
        """Take mean and scale; a column that hardly varies is not blown up."""
        deviation = features.std(0, correction=0)
        self.mean.copy_(features.mean(0))
        self.scale.copy_(deviation.clamp(min=max(0.01 * float(deviation.mean()), 1e-6)))

    def forward(self, x: Float[Tensor, "*n d"]) -> Float[Tensor, "*n e"]:
        """Rows of the last width."""
        x = (x - self.mean) / self.scale
        for i, layer in enumerate(self.layers):
            x = layer(gelu(x) if i else x)
        return x


class Block(nn.Module):
    """A transformer block, norms first (Vaswani et al., NeurIPS 2017, arXiv 1706.03762).

    Args:
        width: columns of a token, a multiple of `heads`. heads: of the attention. generator: of the first weights.
    """

    def __init__(self, width: int, heads: int, generator: torch.Generator) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.qkv = linear(width, 3 * width, generator)
        self.out = linear(width, width, generator)
        self.up = linear(width, 4 * width, generator)
        self.down = linear(4 * width, width, generator)

    def forward(self, x: Float[Tensor, "b t d"], seen: Tensor | None = None) -> Float[Tensor, "b t d"]:
        """`seen` [b t]: which tokens may be looked at; None = all."""
        b, t, d = x.shape
        q, k, v = self.qkv(self.norms[0](x)).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        mask = None if seen is None else seen[:, None, None, :]
        mixed = scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.out(mixed.transpose(1, 2).reshape(b, t, d))
        return x + self.down(gelu(self.up(self.norms[1](x))))
