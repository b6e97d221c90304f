"""V-REx: the losses of the domains shall be equal."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tapetum.learn.classifying.domain_parts import domain_parts, label_losses, refuse_weight

__all__ = ["vrex"]


def vrex(
    embedded: Float[Tensor, "b e"],
    logits: Float[Tensor, "b k"],
    labels: Int[Tensor, "b"] | Float[Tensor, "b k"],
    domains: Int[Tensor, "b"],
    *,
    weight: float = 1.0,
) -> Float[Tensor, ""]:
    """Variance over the domains of their mean loss.

    Args:
        embedded: not used.
        logits: of the classes.
        labels: classes or findings.
        domains: of the examples.
        weight: of the penalty.

    Returns:
        In squared nats.

    Raises:
        UsageError: a negative weight.

    Source: Krueger et al., ICML 2021, arXiv 2003.00688, equation 8. Differs: nothing; the variance is that of the
    domains in the batch, divided by their number.
    """
    refuse_weight(weight)
    del embedded
    losses = label_losses(logits, labels)
    risks = torch.stack([losses[part].mean() for part in domain_parts(domains)])
    return weight * (risks - risks.mean()).square().mean()
