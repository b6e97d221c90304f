"""A view is to be told from a queue of other images, seen by a slow copy of the tower."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from tapetum.core.errors import UsageError
from tapetum.learn.pretext.contrast import info_nce
from tapetum.learn.pretext.heads import Projection
from tapetum.learn.pretext.objective import Pretext, Views, spread_of
from tapetum.learn.pretext.teacher import Teacher, momentum_at
from tapetum.learn.pretext.vocabulary import Words
from tapetum.nets import Encoder

__all__ = ["MoCo"]


@dataclass(frozen=True)
class MoCo:
    """Contrast with a queue: as many negatives as wished, whatever fits in a batch.

    Args:
        temperature: divides the cosines, above 0.
        queue: keys kept, at least 1; those of the image itself, from earlier epochs, are no negatives.
        momentum: of the slow copy at the first step, 0..1; it rises to 1 by half a cosine.
        hidden: columns of the projection head's middle. dim: columns of the embedding.

    Returns:
        On an encoder: a module whose loss is in nats per image, chance ln(1 + queue).

    Raises:
        UsageError: an option outside its range.

    Source: He et al., CVPR 2020, arXiv 1911.05722, equation 1; two-layer head: Chen et al., 2020, arXiv 2003.04297.
    Differs: the momentum rises; an image's own earlier keys are left out, which matters where the queue is longer than
    the archive; fixed statistics in tower and head instead of the batch's, so that nothing is shuffled; AdamW.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ()
    VIEWS: ClassVar[int] = 2
    AUGMENT: ClassVar[str] = "geometric(crop=0.5) + photometric()"

    temperature: float = 0.2
    queue: int = 1024
    momentum: float = 0.99
    hidden: int = 512
    dim: int = 128

    def __post_init__(self) -> None:
        if not (self.temperature > 0 and 0 <= self.momentum <= 1) or min(self.queue, self.hidden, self.dim) < 1:
            raise UsageError(
                f"{self}", "temperature above 0, momentum 0 to 1, queue and widths of at least 1", "moco(queue=1024)"
            )

    def on(self, encoder: Encoder, generator: torch.Generator, words: Words | None = None) -> Pretext:
        """The encoder with a projection head, a slow copy of both, and the queue."""
        del words
        return _MoCo(self, encoder, generator)


class _MoCo(Pretext):
    queue: Tensor
    shown: Tensor
    place: Tensor

    def __init__(self, options: MoCo, encoder: Encoder, generator: torch.Generator) -> None:
        super().__init__(encoder)
        self.options = options
        self.head = Projection((encoder.spec.dim, options.hidden, options.dim), generator)
        self.teacher = Teacher(self.tower, self.head)
        first = torch.randn((options.queue, options.dim), generator=generator)
        self.register_buffer("queue", normalize(first, dim=1))
        self.register_buffer("shown", torch.full((options.queue,), -1, dtype=torch.long))  # rows; −1 = random
        self.register_buffer("place", torch.zeros((), dtype=torch.long))
        self._keys: tuple[Tensor, Tensor] | None = None

    def loss(self, views: Views, rows: Int[np.ndarray, "b"], epoch: int) -> Float[Tensor, "b"]:
        del epoch
        query = self.head(self.encoder(views[0]))
        key = normalize(self.teacher(views[1]), dim=1)
        whose = torch.from_numpy(rows.astype(np.int64)).to(key.device)
        self._keys = key, whose
        self.spread, self.chance = spread_of(query), math.log(1 + len(self.queue))
        same = self.shown[None] == whose[:, None]
        return info_nce(query, key, self.queue, temperature=self.options.temperature, same=same)

    @torch.no_grad()
    def settle(self, step: int, steps: int) -> None:
        """The slow copy moves, and the batch's keys take the places of the oldest."""
        self.teacher.follow(momentum_at(step, steps, self.options.momentum))
        if self._keys is None:
            return
        keys, whose = (part[-len(self.queue) :] for part in self._keys)
        places = (self.place + torch.arange(len(keys), device=keys.device)) % len(self.queue)
        self.queue[places] = keys
        self.shown[places] = whose
        self.place.copy_((self.place + len(keys)) % len(self.queue))
        self._keys = None
