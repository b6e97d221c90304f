"""Two views of an image are to fall into the same of many classes that a slow copy of the tower makes up."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize

from tapetum.core.errors import UsageError
from tapetum.learn.pretext.contrast import self_distillation
from tapetum.learn.pretext.heads import Projection
from tapetum.learn.pretext.objective import Pretext, Views, spread_of
from tapetum.learn.pretext.teacher import Teacher, momentum_at
from tapetum.learn.pretext.vocabulary import Words
from tapetum.nets import Encoder

__all__ = ["DINO"]


@dataclass(frozen=True)
class DINO:
    """Self-distillation without labels and without negatives; centring and a sharp teacher keep it from collapse.

    Args:
        prototypes: made-up classes, at least 2.
        student: temperature of the student. teacher: of the slow copy, lower, so that it is sharper.
        momentum: of the slow copy at the first step, 0..1; it rises to 1 by half a cosine.
        centring: momentum of the mean that is taken off the teacher's logits, 0..1.
        hidden: columns of the head's middle. dim: columns before the prototypes.

    Returns:
        On an encoder: a module whose loss is in nats per image, ln(prototypes) for a student that cannot tell them.

    Raises:
        UsageError: an option outside its range.

    Source: Caron et al., ICCV 2021, arXiv 2104.14294, equation 1 and algorithm 1. Differs: two global views, no small
    crops; the prototypes learn from the first epoch and the teacher's temperature stays; far fewer prototypes and a
    lower momentum, for archives of thousands and runs of hundreds of steps.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ()
    VIEWS: ClassVar[int] = 2
    AUGMENT: ClassVar[str] = "geometric(crop=0.5) + photometric()"

    prototypes: int = 256
    student: float = 0.1
    teacher: float = 0.04
    momentum: float = 0.99
    centring: float = 0.9
    hidden: int = 512
    dim: int = 128

    def __post_init__(self) -> None:
        momenta = 0 <= self.momentum <= 1 and 0 <= self.centring <= 1
        if not momenta or not min(self.student, self.teacher) > 0 or min(self.hidden, self.dim) < 1:
            raise UsageError(f"{self}", "momenta 0 to 1, temperatures above 0, widths of at least 1", "dino()")
        if self.prototypes < 2:
            raise UsageError(f"prototypes={self.prototypes}", "at least 2", "dino(prototypes=256)")

    def on(self, encoder: Encoder, generator: torch.Generator, words: Words | None = None) -> Pretext:
        """The encoder with a head, a slow copy of both, and the centre."""
        del words
        return _DINO(self, encoder, generator)


class _Head(nn.Module):
    """Embeddings of length 1 against prototypes of length 1."""

    def __init__(self, widths: tuple[int, int, int], prototypes: int, generator: torch.Generator) -> None:
        super().__init__()
        self.projection = Projection(widths, generator)
        self.prototypes = nn.Parameter(torch.randn((prototypes, widths[-1]), generator=generator))

    def forward(self, x: Float[Tensor, "b d"]) -> Float[Tensor, "b k"]:
        return self.cosines(self.projection(x))

    def cosines(self, embedded: Float[Tensor, "b e"]) -> Float[Tensor, "b k"]:
        """Of embeddings and prototypes."""
        return normalize(embedded, dim=1) @ normalize(self.prototypes, dim=1).T


class _DINO(Pretext):
    centre: Tensor

    def __init__(self, options: DINO, encoder: Encoder, generator: torch.Generator) -> None:
        super().__init__(encoder)
        self.options = options
        self.head = _Head((encoder.spec.dim, options.hidden, options.dim), options.prototypes, generator)
        self.teacher = Teacher(self.tower, self.head)
        self.register_buffer("centre", torch.zeros(options.prototypes))
        self._seen: Tensor | None = None

    def loss(self, views: Views, rows: Int[np.ndarray, "b"], epoch: int) -> Float[Tensor, "b"]:
        del rows, epoch
        embedded = [self.head.projection(self.encoder(view)) for view in views]
        said = [self.head.cosines(e) for e in embedded]
        taught = [self.teacher(view) for view in views]
        self._seen = torch.cat(taught).mean(0)
        self.spread, self.chance = spread_of(embedded[0]), math.log(self.options.prototypes)
        warm, sharp = self.options.student, self.options.teacher
        pairs = ((said[0], taught[1]), (said[1], taught[0]))
        losses = [self_distillation(s, t, self.centre, student=warm, teacher=sharp) for s, t in pairs]
        return torch.stack(losses).mean(0)

    @torch.no_grad()
    def settle(self, step: int, steps: int) -> None:
        """The slow copy moves, and so does the centre of its logits."""
        self.teacher.follow(momentum_at(step, steps, self.options.momentum))
        if self._seen is not None:
            self.centre.lerp_(self._seen, 1 - self.options.centring)
            self._seen = None
