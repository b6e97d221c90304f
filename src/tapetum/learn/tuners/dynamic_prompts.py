"""Tokens that each image makes for itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tapetum.core.errors import UsageError
from tapetum.learn.training.optimiser import ParameterGroup
from tapetum.learn.tuning.attach import Prompts, ended, freeze, patch_fan, refuse_above_ceiling, token_blocks
from tapetum.nets import Encoder

__all__ = ["DynamicPrompts"]


@dataclass(frozen=True)
class DynamicPrompts:
    """Prompts that differ from image to image: learned queries gather them from the image's own tokens.

    Before every block, the tokens pass a narrow bottleneck; the queries attend to what comes out; the result, widened
    again, is added to learned tokens that are equal for all images. Bottleneck and queries are shared by all blocks.

    Args:
        count: tokens, at least 1. width: of the bottleneck, at least 1. seed: of the start.

    Returns:
        Attached: one group of parameters. There is nothing to fold. At the start the image-specific part is 0.

    Raises:
        UsageError: on attaching, a network without one sequence of tokens, count or width below 1, or more than 1 % of
            its parameters.

    Source: after DVPT (He et al., Neural Networks 2025, arXiv 2307.09787), rebuilt from its abstract. Differs: the
    gathered features become further tokens of the sequence, beside a fixed part per block.
    """

    PEFT: ClassVar[bool] = True
    RATE: ClassVar[float] = 1e-2
    FRESH: ClassVar[bool] = False

    count: int = 10
    width: int = 16
    seed: int = 0

    def attach(self, encoder: Encoder) -> list[ParameterGroup]:
        """Put the generator of tokens before the encoder's blocks; only it requires a gradient."""
        tuner = f"dynamic_prompts(count={self.count}, width={self.width})"
        if self.width < 1:
            raise UsageError(f"width={self.width} for dynamic_prompts", "at least 1", "dynamic_prompts(width=16)")
        blocks, width = token_blocks(encoder, tuner)
        frozen = freeze(encoder)
        generator = torch.Generator().manual_seed(self.seed)
        bound = math.sqrt(6 / (patch_fan(encoder) + width))
        part = _Gathered(self.count, len(blocks), width, self.width, bound, generator)
        added = ended("dynamic_prompts", self.count, part.parameters())
        refuse_above_ceiling(added, frozen, tuner, "a smaller count or width")
        part.insert(encoder, blocks, tuner)
        return [ParameterGroup(list(part.parameters()))]

    def fold(self, encoder: Encoder) -> None:
        """Nothing: the tokens depend on the image."""


class _Gathered(Prompts):
    def __init__(self, count: int, blocks: int, dim: int, width: int, bound: float, generator: torch.Generator) -> None:
        super().__init__(count, deep=True)
        self.dim, self.width = dim, width  # plain numbers: the export takes no traced shape for a normalisation
        rows = max(count, 0)
        self.values = nn.Parameter(torch.empty(blocks, rows, dim).uniform_(-bound, bound, generator=generator))
        self.queries = nn.Parameter(torch.randn(rows, width, generator=generator))
        self.down = nn.Parameter(torch.randn(dim, width, generator=generator) / math.sqrt(dim))
        self.up = nn.Parameter(torch.zeros(width, dim))

    def made(self, place: int, tokens: Float[Tensor, "b t d"]) -> Float[Tensor, "b p d"]:
        """The fixed tokens of this block and what the queries gather from `tokens`."""
        # residual streams differ in scale from block to block, and the bottleneck is shared
        narrow = nn.functional.gelu(nn.functional.layer_norm(tokens, (self.dim,)) @ self.down)
        weights = (self.queries @ narrow.transpose(1, 2) / math.sqrt(self.width)).softmax(dim=-1)
        return self.values[place] + weights @ narrow @ self.up
