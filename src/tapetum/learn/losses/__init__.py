"""Losses of labels: one file, one loss; they say per example how wrong the logits are."""

from __future__ import annotations

from typing import Protocol

from jaxtyping import Float, Int
from torch import Tensor


class LabelLoss(Protocol):
    """`(logits[b k], labels, counts[k], *, options) -> [b]`, lower is better, in nats where it is a likelihood.

    A member's annotation of `labels` says what it takes: `Int[Tensor, "b"]`, one class each, or
    `Float[Tensor, "b k"]`, findings that occur together (1, 0, NaN = unknown, left out). A member with the option `rng`
    is given a generator, one with the option `rows` the number of training rows.
    """

    def __call__(
        self,
        logits: Float[Tensor, "b k"],
        labels: Int[Tensor, "b"] | Float[Tensor, "b k"],
        counts: Float[Tensor, "k"],
    ) -> Float[Tensor, "b"]:
        """Loss per example.

        Args:
            logits: of the classes.
            labels: of the examples.
            counts: training images of each class, or with each finding.
        """
        ...
