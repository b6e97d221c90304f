"""How rows of a class lie together: one file, one penalty; it is added to the loss and never takes its place."""

from __future__ import annotations

from typing import Protocol

from jaxtyping import Float, Int
from torch import Tensor


class Compactness(Protocol):
    """`(embedded[b e], labels[b], counts[k], *, options) -> [] or [b]`, lower is better; 0 where nothing is told."""

    def __call__(
        self, embedded: Float[Tensor, "b e"], labels: Int[Tensor, "b"], counts: Float[Tensor, "k"]
    ) -> Float[Tensor, ""] | Float[Tensor, "b"]:
        """Penalty of a batch.

        Args:
            embedded: what the last layer reads.
            labels: the class of each row.
            counts: training images of each class.
        """
        ...
