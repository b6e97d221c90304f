"""Image-text losses: one file, one loss. Per-example values; the caller reduces once.

`match[i, j]` is how much text j speaks of image i, in 0..1: 1 on the diagonal, and more than 0 off it for equal or
near-equal reports (soft positives), since two patients with the same report are no negatives of one another.
"""

from __future__ import annotations

from typing import Protocol

from jaxtyping import Float
from torch import Tensor


class Alignment(Protocol):
    """`(image[b d], text[b d], match[b b], *, scale, bias) -> [b]`, both sides of unit length; lower is better."""

    def __call__(
        self,
        image: Float[Tensor, "b d"],
        text: Float[Tensor, "b d"],
        match: Float[Tensor, "b b"],
        *,
        scale: Float[Tensor, ""],
        bias: Float[Tensor, ""],
    ) -> Float[Tensor, "b"]:
        """Loss per image-text pair."""
        ...
