"""Symmetric cross-entropy: the usual one, and the reverse one, which asks the network whether it believes the label."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from tapetum.core.errors import UsageError

__all__ = ["symmetric_cross_entropy"]


def symmetric_cross_entropy(
    logits: Float[Tensor, "b k"],
    labels: Int[Tensor, "b"],
    counts: Float[Tensor, "k"],
    *,
    forward: float = 0.1,
    reverse: float = 1.0,
    floor: float = -4.0,
) -> Float[Tensor, "b"]:
    """`forward` times cross-entropy plus `reverse` times -Σ p log y, where log 0 is `floor`.

    The reverse part is -floor · (1 - p) with p the probability of the given class: bounded, whatever the label.

    Args:
        logits: of the classes.
        labels: 0..k-1.
        counts: not used.
        forward: weight of cross-entropy.
        reverse: weight of the reverse one; with 0 and forward = 1 it is cross-entropy.
        floor: stands for log 0, below 0.

    Returns:
        Weighted nats per example.

    Raises:
        UsageError: a weight below 0, both 0, or a floor that is not below 0.

    Source: Wang et al., ICCV 2019, arXiv 1908.06112; weights of its CIFAR-10 experiments.
    Differs: nothing; its code clips p at 1e-7 and y at 1e-4, so that log 0 is -9.2 there.
    """
    del counts
    if min(forward, reverse) < 0 or forward + reverse == 0 or floor >= 0:
        raise UsageError(
            f"forward={forward}, reverse={reverse}, floor={floor}", "weights of 0 or more, a floor below 0"
        )
    loss = functional.cross_entropy(logits, labels, reduction="none")
    return forward * loss - reverse * floor * (1 - (-loss).exp())
