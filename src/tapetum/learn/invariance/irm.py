"""IRM: one classifier shall be the best one for every domain."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tapetum.learn.classifying.domain_parts import domain_parts, refuse_weight

__all__ = ["irm"]


def irm(
    embedded: Float[Tensor, "b e"],
    logits: Float[Tensor, "b k"],
    labels: Int[Tensor, "b"] | Float[Tensor, "b k"],
    domains: Int[Tensor, "b"],
    *,
    weight: float = 1.0,
) -> Float[Tensor, ""]:
    """Mean over domains of the squared slope of a domain's loss, when all logits are scaled by one number near 1.

    The slope is written down, and not asked of autograd: with probabilities p and one-hot labels y it is the mean of
    (p - y) · z. It also is 0 for logits that are all 0, so that a large weight leads back to knowing nothing.

    Args:
        embedded: not used.
        logits: of the classes.
        labels: classes or findings.
        domains: of the examples.
        weight: of the penalty.

    Returns:
        In squared nats; 0 where one domain only is in the batch.

    Raises:
        UsageError: a negative weight.

    Source: Arjovsky et al. 2019, arXiv 1907.02893, IRMv1. Differs: the square of one mean, which is at least 0, instead
    of the product of the means of two halves of the batch.
    """
    refuse_weight(weight)
    del embedded
    parts = domain_parts(domains)
    if len(parts) < 2:
        return logits.sum() * 0
    slopes = _slopes(logits, labels)
    return weight * torch.stack([slopes[part].mean().square() for part in parts]).mean()


def _slopes(logits: Float[Tensor, "b k"], labels: Int[Tensor, "b"] | Float[Tensor, "b k"]) -> Float[Tensor, "b"]:
    """Slope of the loss of each example in the common factor of its logits, at 1."""
    if labels.ndim == 1:
        wanted = torch.nn.functional.one_hot(labels.long(), logits.shape[1])
        return ((logits.softmax(1) - wanted) * logits).sum(1)
    known = ~torch.isnan(labels)
    each = (logits.sigmoid() - labels.nan_to_num()) * logits * known
    return each.sum(1) / known.sum(1).clamp_min(1)
