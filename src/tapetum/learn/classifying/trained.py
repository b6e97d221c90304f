"""What learning gives: a network that turns features into logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Float64
from scipy.special import softmax
from torch import Tensor, nn

from tapetum.nets.heads import ClassHead

ROWS, IMAGES = 4096, 64  # read at once


@dataclass(frozen=True)
class Committee:
    """Networks that were taught side by side and vote; a method that chooses among the rows says which it trusted.

    Args:
        networks: one or more.
        trust: of every row taught, 0..1: how far its label was learned at the end; None = nothing was chosen.
    """

    networks: tuple[Network, ...]
    trust: Float[np.ndarray, "n"] | None = None

    def __call__(self, inputs: Float[np.ndarray | Tensor, "n ..."]) -> Float64[np.ndarray, "n k"]:
        """Logarithm of the mean probability, higher = more likely."""
        return np.log(np.clip(np.mean([softmax(n(inputs), axis=1) for n in self.networks], axis=0), 1e-30, 1.0))


@dataclass(frozen=True)
class Network:
    """A head, with the tower before it where one learns too; a method may subtract something from its logits.

    Args:
        head: from features to logits.
        tower: from inputs to features, or None.
        offset: added to the logits, one per class.
    """

    head: nn.Module
    tower: nn.Module | None = None
    offset: Float[np.ndarray, "k"] = field(default_factory=lambda: np.zeros(1))

    def __call__(self, inputs: Float[np.ndarray | Tensor, "n ..."]) -> Float64[np.ndarray, "n k"]:
        """Logits, higher = more likely."""
        return self._read(inputs, self.head) + self.offset

    def embed(self, inputs: Float[np.ndarray | Tensor, "n ..."]) -> Float64[np.ndarray, "n e"]:
        """What the head's last layer reads."""
        return self._read(inputs, cast(ClassHead, self.head).embed)

    def _read(
        self, inputs: Float[np.ndarray | Tensor, "n ..."], last: Callable[[Tensor], Tensor]
    ) -> Float64[np.ndarray, "n e"]:
        given = inputs if isinstance(inputs, Tensor) else torch.from_numpy(np.ascontiguousarray(inputs, np.float32))
        self.head.eval()
        if self.tower is not None:
            self.tower.eval()
        with torch.no_grad():
            parts = [
                last(x if self.tower is None else self.tower(x)) for x in given.split(IMAGES if self.tower else ROWS)
            ]
        return torch.cat(parts).double().numpy()
