"""A tower with the heads of a task that needs no labels, as the loop trains it."""

from __future__ import annotations

import abc
import math
from typing import cast

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize

from tapetum.learn.pretext.heads import Projection
from tapetum.nets import Encoder

Views = tuple[Float[Tensor, "b 3 s s"], ...]


class Pretext(nn.Module, abc.ABC):
    """A tower and its heads. What the next step depends on (queue, teacher, centre) stands in buffers or parameters.

    Abstract. The tower stays in evaluation mode: batch statistics of a few images mislead.

    Attributes:
        tower: the encoder, trained in place.
        spread: of the last batch's embeddings, see `spread_of`; NaN for tasks that cannot collapse to one point.
        chance: the loss that the last batch would have of a tower that tells nothing of its images.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.tower = cast(nn.Module, encoder)
        self.spread = math.nan
        self.chance = math.nan

    @property
    def encoder(self) -> Encoder:
        """The tower, as an encoder."""
        return cast(Encoder, self.tower)

    def start(self, features: Float[Tensor, "n d"]) -> None:
        """Tell the heads what the tower gives at first, for some of the images; once, before the first step."""
        for part in self.modules():
            if isinstance(part, Projection):
                part.fit(features)

    @abc.abstractmethod
    def loss(self, views: Views, rows: Int[np.ndarray, "b"], epoch: int) -> Float[Tensor, "b"]:
        """Loss per image, lower is better; sets `spread` and `chance`, and leaves all buffers as they are.

        Args:
            views: the same images, each changed in its own way.
            rows: their row numbers; whatever is drawn for an image follows from seed, epoch and row number.
            epoch: from 0.
        """

    @abc.abstractmethod
    def settle(self, step: int, steps: int) -> None:
        """Move what learns without a gradient, after a step that was taken; `step` counts from 0."""


def spread_of(embeddings: Float[Tensor, "b d"]) -> float:
    """Standard deviation of embeddings of length 1, times √d: 0 = all alike (collapsed), 1 = all over the sphere.

    Example:
        >>> import torch
        >>> spread_of(torch.ones(4, 3)), round(spread_of(torch.cat([torch.eye(3), -torch.eye(3)])), 6)
        (0.0, 1.0)
    """
    unit = normalize(embeddings.detach().float(), dim=1)
    return math.sqrt(max(0.0, float(((unit - unit.mean(0)) ** 2).sum(1).mean())))
