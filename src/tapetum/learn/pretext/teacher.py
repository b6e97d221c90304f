"""A slow copy of a tower and its head that learns by following."""

from __future__ import annotations

import copy
import itertools
import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Teacher(nn.Module):
    """A copy of a tower and its head, moved towards them after every step; no gradient reaches it.

    Args:
        tower: an encoder. head: on its pooled features.
    """

    def __init__(self, tower: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.tower = copy.deepcopy(tower).requires_grad_(False)
        self.head = copy.deepcopy(head).requires_grad_(False)
        # In a list, since it belongs to the student's state and not to this one's.
        self._student = [tower, head]

    @torch.no_grad()
    def forward(self, x: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b d"]:
        """The slow embedding."""
        return self.head(self.tower(x))

    @torch.no_grad()
    def follow(self, momentum: float) -> None:
        """Move each parameter: momentum · its own value + (1 − momentum) · the student's."""
        theirs = itertools.chain.from_iterable(part.parameters() for part in self._student)
        for own, other in zip(self.parameters(), theirs, strict=True):
            own.lerp_(other.detach(), 1 - momentum)


def momentum_at(step: int, steps: int, first: float) -> float:
    """From `first` at step 0 to 1 at the last, by half a cosine.

    Source: Grill et al., NeurIPS 2020, arXiv 2006.07733.

    Example:
        >>> [round(momentum_at(step, 5, 0.9), 4) for step in range(5)]
        [0.9, 0.9146, 0.95, 0.9854, 1.0]
    """
    return 1 - (1 - first) * (math.cos(math.pi * step / max(1, steps - 1)) + 1) / 2
