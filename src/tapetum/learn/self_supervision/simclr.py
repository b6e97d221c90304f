"""Two views of an image are to lie nearer to each other than to any other image of the batch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tapetum.core.errors import UsageError
from tapetum.learn.pretext.contrast import nt_xent
from tapetum.learn.pretext.heads import Projection
from tapetum.learn.pretext.objective import Pretext, Views, spread_of
from tapetum.learn.pretext.vocabulary import Words
from tapetum.nets import Encoder

__all__ = ["SimCLR"]


@dataclass(frozen=True)
class SimCLR:
    """Contrast of two augmented views within the batch; the larger the batch, the more there is to tell apart.

    Args:
        temperature: divides the cosines, above 0.
        hidden: columns of the projection head's middle. dim: columns of the embedding.

    Returns:
        On an encoder: a module whose loss is in nats per image, chance ln(2 · batch − 1).

    Raises:
        UsageError: temperature not above 0, or a width below 1.

    Source: Chen et al., ICML 2020, arXiv 2002.05709, equation 1. Differs: fixed statistics in
    tower and head instead of the batch's; AdamW instead of LARS; views by `learn/augment`.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ()
    VIEWS: ClassVar[int] = 2
    AUGMENT: ClassVar[str] = "geometric(crop=0.5) + photometric()"

    temperature: float = 0.2
    hidden: int = 512
    dim: int = 128

    def __post_init__(self) -> None:
        if not self.temperature > 0 or min(self.hidden, self.dim) < 1:
            raise UsageError(f"{self}", "temperature above 0, widths of at least 1", "simclr(temperature=0.2)")

    def on(self, encoder: Encoder, generator: torch.Generator, words: Words | None = None) -> Pretext:
        """The encoder with a projection head."""
        del words
        return _SimCLR(self, encoder, generator)


class _SimCLR(Pretext):
    def __init__(self, options: SimCLR, encoder: Encoder, generator: torch.Generator) -> None:
        super().__init__(encoder)
        self.options = options
        self.head = Projection((encoder.spec.dim, options.hidden, options.dim), generator)

    def loss(self, views: Views, rows: Int[np.ndarray, "b"], epoch: int) -> Float[Tensor, "b"]:
        del rows, epoch
        first, second = (self.head(self.encoder(view)) for view in views)
        self.spread, self.chance = spread_of(first), math.log(2 * len(first) - 1)
        return nt_xent(first, second, temperature=self.options.temperature)

    def settle(self, step: int, steps: int) -> None:
        """Nothing: all that this task has learns by gradient."""
