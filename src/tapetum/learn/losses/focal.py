"""Focal loss: what is already right weighs little."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from tapetum.core.errors import UsageError

__all__ = ["focal"]


def focal(
    logits: Float[Tensor, "b k"], labels: Int[Tensor, "b"], counts: Float[Tensor, "k"], *, gamma: float = 2.0
) -> Float[Tensor, "b"]:
    """Cross-entropy times (1 - p)^gamma, p the probability of the given class.

    Args:
        logits: of the classes.
        labels: 0..k-1.
        counts: not used.
        gamma: 0 = cross-entropy.

    Returns:
        Weighted nats per example.

    Raises:
        UsageError: gamma below 0.

    Source: Lin et al., ICCV 2017, arXiv 1708.02002, equation 4, with a softmax in place of the sigmoid.
    """
    del counts
    if gamma < 0:
        raise UsageError(f"gamma={gamma}", "0 or more")
    loss = functional.cross_entropy(logits, labels, reduction="none")
    missed = -(-loss).expm1()
    return missed.clamp_min(1e-12) ** gamma * loss
