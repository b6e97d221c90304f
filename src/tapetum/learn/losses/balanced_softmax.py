"""Balanced softmax: learn with the prior added, so that without it every class counts alike."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from tapetum.learn.classifying.weighing import log_prior

__all__ = ["balanced_softmax"]


def balanced_softmax(
    logits: Float[Tensor, "b k"], labels: Int[Tensor, "b"], counts: Float[Tensor, "k"], *, tau: float = 1.0
) -> Float[Tensor, "b"]:
    """Cross-entropy of `logits + tau · log prior`; prediction uses the logits alone.

    A rare class must have the larger logit to be as probable, which is what makes up for the prior later. This is also
    the logit-adjusted loss of Menon et al. and the prior cross-entropy: all three are the same up to a constant.

    Args:
        logits: of the classes.
        labels: 0..k-1.
        counts: training images of each class; one without any counts as half an image.
        tau: strength; 0 = cross-entropy, 1 = the whole prior.

    Returns:
        Nats per example.

    Source: Ren et al., NeurIPS 2020, arXiv 2007.10740, equation 4; Menon et al., ICLR 2021, arXiv 2007.07314,
    equation 10. Differs: nothing; the published benchmark code subtracts the prior instead of adding it.
    """
    return functional.cross_entropy(logits + tau * log_prior(counts), labels, reduction="none")
