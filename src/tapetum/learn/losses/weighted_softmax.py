"""Cross-entropy whose weights rise with the logarithm of rarity: milder than inverse frequency."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from tapetum.learn.classifying.weighing import log_prior

__all__ = ["weighted_softmax"]


def weighted_softmax(
    logits: Float[Tensor, "b k"], labels: Int[Tensor, "b"], counts: Float[Tensor, "k"]
) -> Float[Tensor, "b"]:
    """Cross-entropy times 1 - log(share / largest share): 1 for the commonest class, 5.6 for one a hundredth of it.

    Args:
        logits: of the classes.
        labels: 0..k-1.
        counts: training images of each class.

    Returns:
        Weighted nats per example.

    Source: Ju et al., MONICA, arXiv 2410.02010, its weighted softmax. Differs: nothing.
    """
    prior = log_prior(counts)
    return (1 - prior + prior.max())[labels] * functional.cross_entropy(logits, labels, reduction="none")
