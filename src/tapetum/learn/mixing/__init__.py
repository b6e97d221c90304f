"""Rows that are blended with others of the batch: one file, one way."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor


class Mixing(Protocol):
    """`(inputs[b ...], labels, counts[k], *, rng, options) -> (inputs, partner[b], share[b] or [b 2])`.

    The loss of a row is then `share` of that for its own label and the rest of that for the label of its partner; two
    shares are those of both labels. One that asks for `maps` is given where the network looks, as it then stands.
    """

    def __call__(
        self,
        inputs: Float[Tensor, "b ..."],
        labels: Int[Tensor, "b"] | Float[Tensor, "b k"],
        counts: Float[Tensor, "k"],
        *,
        rng: np.random.Generator,
    ) -> tuple[Float[Tensor, "b ..."], Int[np.ndarray, "b"], Float[Tensor, "b"] | Float[Tensor, "b 2"]]:
        """Blend a batch.

        Args:
            inputs: features `[b d]`, or images `[b 3 s s]`; some ways need images and refuse features.
            labels: classes or findings of the rows.
            counts: training images of each class.
            rng: the generator.
        """
        ...
