"""One hidden layer before the linear one."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tapetum.core.errors import UsageError

__all__ = ["hidden"]


def hidden(width: int, classes: int, generator: torch.Generator, *, units: int = 256) -> Hidden:
    """A hidden layer with ReLU, then a linear one: features that can still be bent, for methods that bend them.

    Args:
        width: features.
        classes: logits.
        generator: of the first weights.
        units: of the hidden layer, at least 1.

    Raises:
        UsageError: units below 1.

    Source: own, a multilayer perceptron; He et al., ICCV 2015, arXiv 1502.01852 (first weights).
    """
    if units < 1:
        raise UsageError(f"units={units}", "at least 1")
    return Hidden(torch.randn(units, width, generator=generator) * math.sqrt(2 / width), classes)


class Hidden(nn.Module):
    """See `hidden`."""

    BENDS: ClassVar[bool] = True

    def __init__(self, weight: Float[Tensor, "e d"], classes: int) -> None:
        super().__init__()
        units, width = weight.shape
        self.first, self.last = nn.Linear(width, units), nn.Linear(units, classes)
        with torch.no_grad():
            self.first.weight.copy_(weight)
        for zero in (self.first.bias, self.last.weight, self.last.bias):
            nn.init.zeros_(zero)

    def embed(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b e"]:
        """The hidden layer."""
        return torch.relu(self.first(features))

    def classify(self, embedded: Float[Tensor, "b e"]) -> Float[Tensor, "b k"]:
        """Logits of what `embed` gave."""
        return self.last(embedded)

    def forward(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """Logits."""
        return self.classify(self.embed(features))
