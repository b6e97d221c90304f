"""Penalties on how domains differ: one file, one way; added to the loss of a batch."""

from __future__ import annotations

from typing import Protocol

from jaxtyping import Float, Int
from torch import Tensor


class Invariance(Protocol):
    """`(embedded, logits, labels, domains, *, weight, options) -> scalar`, at least 0, weight included.

    Zero where one domain only is in the batch, and with weight 0. A penalty on what the last layer reads does nothing
    where that is fixed: with the head `linear` on frozen features, members that read `embedded` need `of='logits'` or
    the head `hidden`.
    """

    def __call__(
        self,
        embedded: Float[Tensor, "b e"],
        logits: Float[Tensor, "b k"],
        labels: Int[Tensor, "b"] | Float[Tensor, "b k"],
        domains: Int[Tensor, "b"],
    ) -> Float[Tensor, ""]:
        """Penalty of a batch.

        Args:
            embedded: what the last layer reads.
            logits: of the classes.
            labels: of the examples, the class or findings (1, 0, NaN = unknown).
            domains: number of the domain of each.
        """
        ...
