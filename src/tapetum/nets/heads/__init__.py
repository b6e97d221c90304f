"""Heads: one file, one way from features to a logit per class."""

from __future__ import annotations

from typing import ClassVar, Protocol

from jaxtyping import Float
from torch import Tensor


class ClassHead(Protocol):
    """`(width, classes, generator, *, options) -> nn.Module`; its weights are drawn from the generator alone.

    Attributes:
        BENDS: whether `embed` has weights that learn.
    """

    BENDS: ClassVar[bool]

    def embed(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b e"]:
        """What the last layer reads: the features themselves where there is no layer before it."""
        ...

    def classify(self, embedded: Float[Tensor, "b e"]) -> Float[Tensor, "b k"]:
        """Logits of what `embed` gave."""
        ...

    def __call__(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        """Logits: `classify` of `embed`."""
        ...
