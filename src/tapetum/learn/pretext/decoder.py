"""A light decoder: from the tokens of the seen patches to something said of the masked ones."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tapetum.core.errors import UsageError
from tapetum.learn.pretext.heads import Block, linear
from tapetum.learn.pretext.masks import picked


class Decoder(nn.Module):
    """Seen tokens at their places, one learned token at all others, transformer blocks, a linear layer.

    Args:
        into: columns of a token. width: of the decoder, a multiple of 4 and of `heads`. depth: blocks, at least 1.
        heads: of the attention. side: patches along a side of the image. out: numbers said of a patch.
        generator: of the first weights.

    Raises:
        UsageError: depth or width does not fit.
    """

    places: Tensor

    def __init__(
        self, into: int, width: int, depth: int, heads: int, side: int, out: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        if depth < 1 or heads < 1 or width < 4 or width % 4 or width % heads:
            raise UsageError(
                f"a decoder of width={width}, depth={depth}, heads={heads}", "a width that 4 and the heads divide",
                "mae(width=128, depth=1, heads=4)",
            )  # fmt: skip
        self.norm = nn.LayerNorm(into)
        self.enter = linear(into, width, generator)
        self.masked = nn.Parameter(0.02 * torch.randn(width, generator=generator))
        self.register_buffer("places", wave_positions(side, width), persistent=False)
        self.blocks = nn.ModuleList(Block(width, heads, generator) for _ in range(depth))
        self.last = nn.LayerNorm(width)
        self.leave = linear(width, out, generator)

    def forward(
        self, tokens: Float[Tensor, "b v e"], seen: Int[Tensor, "b v"], masked: Int[Tensor, "b m"]
    ) -> Float[Tensor, "b m o"]:
        """What is said of the masked patches."""
        entered = self.enter(self.norm(tokens))
        whole = self.masked.expand(len(tokens), len(self.places), -1)
        whole = whole.scatter(1, seen[..., None].expand(-1, -1, entered.shape[2]), entered) + self.places
        for block in self.blocks:
            whole = block(whole)
        return self.leave(self.last(picked(whole, masked)))


def wave_positions(side: int, width: int) -> Float[Tensor, "t d"]:
    """Fixed positions: sines and cosines of the row, then of the column.

    Args:
        side: places along a side.
        width: columns, a multiple of 4.

    Example:
        >>> wave_positions(2, 4)[1].round(decimals=2)
        tensor([0.0000, 1.0000, 0.8400, 0.5400])
    """
    one = line_positions(side, width // 2)
    return torch.cat([one.repeat_interleave(side, 0), one.repeat(side, 1)], dim=1)


def line_positions(count: int, width: int) -> Float[Tensor, "t d"]:
    """Fixed positions along a line (Vaswani et al., NeurIPS 2017, section 3.5); sines first, then cosines.

    Args:
        count: places.
        width: columns, even.
    """
    rate = 10000 ** -(torch.arange(width // 2, dtype=torch.float64) / (width // 2))
    angle = torch.arange(count, dtype=torch.float64)[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], dim=1).float()
