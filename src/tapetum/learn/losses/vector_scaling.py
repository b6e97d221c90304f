"""Vector scaling: rare classes get an offset and, besides, smaller logits to be learned."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from tapetum.learn.classifying.weighing import FEWEST, log_prior

__all__ = ["vector_scaling"]


def vector_scaling(
    logits: Float[Tensor, "b k"],
    labels: Int[Tensor, "b"],
    counts: Float[Tensor, "k"],
    *,
    gamma: float = 0.3,
    tau: float = 1.0,
) -> Float[Tensor, "b"]:
    """Cross-entropy of (n / largest n)^gamma · logits + tau · log prior; prediction uses the logits alone.

    Args:
        logits: of the classes.
        labels: 0..k-1.
        counts: training images of each class.
        gamma: of the factors; 0 = balanced softmax.
        tau: of the offsets; with both 0 it is cross-entropy.

    Returns:
        Nats per example.

    Source: Kini et al., NeurIPS 2021, arXiv 2103.01550, equation 3. Differs: nothing.
    """
    known = counts.clamp_min(FEWEST)
    moved = (known / known.max()) ** gamma * logits + tau * log_prior(counts)
    return functional.cross_entropy(moved, labels, reduction="none")
