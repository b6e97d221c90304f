"""A network behind a change of features that was fitted, or that is fitted on the very images it is asked of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64
from torch import Tensor

from tapetum.learn.classifying.trained import Network

Move = Callable[[Float[np.ndarray | Tensor, "n d"]], Float64[np.ndarray, "n d"]]


@dataclass(frozen=True)
class Moved:
    """Logits of moved features.

    Args:
        network: of the moved features. move: rows → rows, all that are asked for at once.
    """

    network: Network
    move: Move

    def __call__(self, inputs: Float[np.ndarray | Tensor, "n d"]) -> Float64[np.ndarray, "n k"]:
        """Logits, higher = more likely."""
        return self.network(self.move(inputs))


def as_rows(inputs: Float[np.ndarray | Tensor, "n d"]) -> Float64[np.ndarray, "n d"]:
    """Features as float64, whatever they came as."""
    return np.asarray(inputs.numpy() if isinstance(inputs, Tensor) else inputs, dtype=np.float64)
