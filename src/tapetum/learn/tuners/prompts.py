"""Learned tokens beside those of the image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tapetum.learn.training.optimiser import ParameterGroup
from tapetum.learn.tuning.attach import Prompts, ended, freeze, patch_fan, refuse_above_ceiling, token_blocks
from tapetum.nets import Encoder

__all__ = ["VisualPrompts"]


@dataclass(frozen=True)
class VisualPrompts:
    """Visual prompt tuning: further tokens, equal for all images, are the only thing that is learned.

    Args:
        count: tokens, at least 1.
        deep: new ones before every block; else once before the first, and the blocks carry them on.
        seed: of their start.

    Returns:
        Attached: one group of parameters. There is nothing to fold: the tokens stay.

    Raises:
        UsageError: on attaching, a network without one sequence of tokens, count below 1, or more than 1 % of its
            parameters.

    Source: Jia et al., ECCV 2022, arXiv 2203.12119 (shallow and deep). Differs: tokens stand before the class token and
    not after it, which changes nothing; no dropout; the head reads the encoder's pooled outputs.
    """

    PEFT: ClassVar[bool] = True
    RATE: ClassVar[float] = 1e-2
    FRESH: ClassVar[bool] = False

    count: int = 10
    deep: bool = True
    seed: int = 0

    def attach(self, encoder: Encoder) -> list[ParameterGroup]:
        """Put the tokens before the encoder's blocks; only they require a gradient."""
        tuner = f"prompts(count={self.count}, deep={self.deep})"
        blocks, width = token_blocks(encoder, tuner)
        frozen = freeze(encoder)
        generator = torch.Generator().manual_seed(self.seed)
        bound = math.sqrt(6 / (patch_fan(encoder) + width))
        part = _Fixed(self.count, len(blocks) if self.deep else 1, width, bound, generator)
        added = ended("prompts", self.count, part.parameters())
        refuse_above_ceiling(added, frozen, tuner, "a smaller count, or deep=False")
        part.insert(encoder, blocks, tuner)
        return [ParameterGroup([part.values])]

    def fold(self, encoder: Encoder) -> None:
        """Nothing: tokens cannot be written into the weights."""


class _Fixed(Prompts):
    def __init__(self, count: int, blocks: int, width: int, bound: float, generator: torch.Generator) -> None:
        super().__init__(count, deep=blocks > 1)
        start = torch.empty(blocks, max(count, 0), width).uniform_(-bound, bound, generator=generator)
        self.values = nn.Parameter(start)

    def made(self, place: int, tokens: Float[Tensor, "b t d"]) -> Float[Tensor, "b p d"]:
        return self.values[place].expand(tokens.shape[0], -1, -1)
