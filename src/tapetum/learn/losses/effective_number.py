"""Cross-entropy weighted by the effective number of rows: more rows of a class tell less and less."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from tapetum.core.errors import UsageError
from tapetum.learn.classifying.weighing import effective_weights

__all__ = ["effective_number"]


def effective_number(
    logits: Float[Tensor, "b k"],
    labels: Int[Tensor, "b"],
    counts: Float[Tensor, "k"],
    *,
    beta: float = 0.9999,
    gamma: float = 0.0,
) -> Float[Tensor, "b"]:
    """Softmax cross-entropy, or focal loss, times (1 - beta) / (1 - beta^n), weights scaled to add up to k.

    Args:
        logits: of the classes.
        labels: 0..k-1.
        counts: training images of each class.
        beta: 0 = all classes alike, towards 1 = in inverse proportion to their rows.
        gamma: of the focal factor (1 - p)^gamma; 0 = none.

    Returns:
        Weighted nats per example.

    Raises:
        UsageError: beta outside 0..1 or gamma below 0.

    Source: Cui et al., CVPR 2019, arXiv 1901.05555, equations 8 and 9. Differs: a published benchmark calls a binary
    cross-entropy on softmax outputs by this name; here it is the softmax form of the paper.
    """
    if gamma < 0:
        raise UsageError(f"gamma={gamma}", "0 or more")
    loss = functional.cross_entropy(logits, labels, reduction="none")
    if gamma:
        loss = (-(-loss).expm1()).clamp_min(1e-12) ** gamma * loss
    return effective_weights(counts, beta)[labels] * loss
