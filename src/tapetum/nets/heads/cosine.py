"""A layer of cosines: neither long features nor long weights make a class more likely."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from tapetum.core.errors import UsageError

__all__ = ["cosine"]


def cosine(width: int, classes: int, generator: torch.Generator, *, scale: float = 16.0) -> Cosine:
    """`scale · cos(features, weight)`, one weight per class and no bias.

    Args:
        width: features.
        classes: logits.
        generator: of the first weights.
        scale: largest logit, above 0.

    Raises:
        UsageError: scale not above 0.

    Source: Wang et al., CVPR 2018 (CosFace), arXiv 1801.09414, equation 3, without its margin.
    """
    if scale <= 0:
        raise UsageError(f"scale={scale}", "above 0")
    return Cosine(torch.randn(classes, width, generator=generator) / math.sqrt(width), scale)


class Cosine(nn.Module):
    """See `cosine`."""

    BENDS: ClassVar[bool] = False

    def __init__(self, weight: Float[Tensor, "k d"], scale: float) -> None:
        super().__init__()
        self.weight, self.scale = nn.Parameter(weight), scale

    def embed(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
        """The features at unit length."""
        return normalize(features, dim=1)

    def classify(self, embedded: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """Logits of what `embed` gave."""
        return self.scale * embedded @ normalize(self.weight, dim=1).T

    def forward(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """Logits."""
        return self.classify(self.embed(features))
