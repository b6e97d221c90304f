"""A linear layer."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["linear"]


def linear(width: int, classes: int, generator: torch.Generator) -> Linear:
    """`features · weight + bias`, both zero at first: the start is the same for every seed, and knows nothing.

    Args:
        width: features.
        classes: logits.
        generator: not used.

    Source: multinomial logistic regression. Differs: nothing.
    """
    del generator
    return Linear(width, classes)


class Linear(nn.Module):
    """See `linear`."""

    BENDS: ClassVar[bool] = False

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.last = nn.Linear(width, classes)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def embed(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """The features themselves."""
        return features

    def classify(self, embedded: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """Logits of what `embed` gave."""
        return self.last(embedded)

    def forward(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """Logits."""
        return self.classify(self.embed(features))
