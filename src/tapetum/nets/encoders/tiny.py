"""A small random convolutional network: for tests and for showing the way without weights."""

from __future__ import annotations

import itertools
import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tapetum.core.errors import UsageError
from tapetum.nets.spec import EncoderSpec, state_digest

__all__ = ["tiny"]

_STRIDE = 8


class _Tiny(nn.Module):
    def __init__(self, size: int, dim: int, seed: int) -> None:
        super().__init__()
        half = dim // 2
        widths = (3, 12, 24, half)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in itertools.pairwise(widths))
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for layer in self.layers:
                assert isinstance(layer, nn.Conv2d)
                layer.weight.normal_(0, math.sqrt(2 / (layer.in_channels * 9)), generator=generator)
                # A spread of offsets keeps units apart on images that are mostly black.
                assert layer.bias is not None
                layer.bias.normal_(0, 0.1, generator=generator)
        self.spec = EncoderSpec(
            name=f"tiny-{size}",
            size=size,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            dim=dim,
            grid=(size // _STRIDE, size // _STRIDE),
            blocks={"avg": (0, half), "max": (half, dim)},
            token_dim=half,
            token_block="avg",
            weights_digest=state_digest(self),
            resample="bilinear",
        )

    def _map(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b e i j"]:
        for layer in self.layers:
            x = torch.nn.functional.leaky_relu(layer(x), 0.1)
        return x

    def forward(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        y = self._map(x)
        return torch.cat([y.mean((2, 3)), y.amax((2, 3))], dim=1)

    def tokens(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b t e"]:
        return self._map(x).flatten(2).transpose(1, 2)


def tiny(*, size: int = 64, dim: int = 32, seed: int = 0) -> _Tiny:
    """Three random convolutions, pooled by average and by maximum; no training, no weights on disk.

    Args:
        size: side of the input in pixels, a multiple of 8.
        dim: columns of the output, even; half average, half maximum.
        seed: of the weights; equal seeds give equal networks.

    Returns:
        An encoder with the blocks `avg` and `max`.

    Raises:
        UsageError: size is no multiple of 8, or dim is odd or below 2.

    Example:
        >>> tiny(dim=8).spec.blocks["max"]
        (4, 8)

    Source: our own. Differs: follows no publication; random features carry colour and edges, nothing learned.
    """
    if size < _STRIDE or size % _STRIDE:
        raise UsageError(f"size={size} for tiny", "a multiple of 8", "size=64")
    if dim < 2 or dim % 2:
        raise UsageError(f"dim={dim} for tiny", "an even number, at least 2", "dim=32")
    return _Tiny(size, dim, seed).eval()
