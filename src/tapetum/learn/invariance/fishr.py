"""Fishr: the gradients of the last layer shall vary alike in every domain."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tapetum.learn.classifying.domain_parts import domain_parts, refuse_weight

__all__ = ["fishr"]


def fishr(
    embedded: Float[Tensor, "b e"],
    logits: Float[Tensor, "b k"],
    labels: Int[Tensor, "b"] | Float[Tensor, "b k"],
    domains: Int[Tensor, "b"],
    *,
    weight: float = 1.0,
) -> Float[Tensor, ""]:
    """Mean squared distance of each domain's gradient variances from those of all domains.

    The gradient of one example in the weight of a linear layer is (p - y) times what the layer reads, so that the
    variance over examples needs two matrix products and no gradient per example. The layer must be linear.

    Args:
        embedded: what the last layer reads.
        logits: of the classes.
        labels: classes or findings.
        domains: of the examples; one with a single row in the batch is left out.
        weight: of the penalty.

    Returns:
        At least 0.

    Raises:
        UsageError: a negative weight.

    Source: Rame, Dancette and Cord, ICML 2022, arXiv 2109.02934, equation 4. Differs: variances of the batch, without a
    moving average over batches.
    """
    refuse_weight(weight)
    parts = domain_parts(domains, fewest=2)
    if len(parts) < 2:
        return logits.sum() * 0 + embedded.sum() * 0
    if labels.ndim == 1:
        residual = logits.softmax(1) - torch.nn.functional.one_hot(labels.long(), logits.shape[1])
    else:
        known = ~torch.isnan(labels)
        residual = (logits.sigmoid() - labels.nan_to_num()) * known / known.sum(1, keepdim=True).clamp_min(1)
    reads = torch.cat([embedded, torch.ones_like(embedded[:, :1])], dim=1)
    variances = torch.stack([_variance(residual[part], reads[part]) for part in parts])
    return weight * (variances - variances.mean(0)).square().mean()


def _variance(residual: Float[Tensor, "n k"], reads: Float[Tensor, "n e"]) -> Float[Tensor, "ke"]:
    """Of every entry of the gradient, the last column that of the offset."""
    rows = len(residual)
    mean = residual.T @ reads / rows
    return (residual.square().T @ reads.square() / rows - mean.square()).flatten()
