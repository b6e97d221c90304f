"""Supervised contrastive penalty: rows of a class resemble each other more than rows of other classes."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from tapetum.core.errors import UsageError

__all__ = ["supervised_contrastive"]


def supervised_contrastive(
    embedded: Float[Tensor, "b e"],
    labels: Int[Tensor, "b"],
    counts: Float[Tensor, "k"],
    *,
    weight: float = 0.1,
    temperature: float = 0.5,
    balanced: bool = True,
) -> Float[Tensor, "b"]:
    """Minus the mean log share of a row's own class among its neighbours by cosine.

    Args:
        embedded: what the last layer reads; brought to unit length.
        labels: the class of each row.
        counts: how many classes there are.
        weight: of the penalty; 0 = none.
        temperature: above 0.
        balanced: every class of the batch counts alike in the sum of neighbours, however many rows it has there.

    Returns:
        Per row; 0 for a row that is alone of its class.

    Raises:
        UsageError: a temperature not above 0.

    Source: Khosla et al., NeurIPS 2020, arXiv 2004.11362, equation 2; balanced: Zhu et al., CVPR 2022, arXiv
    2207.09052, its class averaging. Differs: one view of each row. A published benchmark trains a contrastive mixture
    without any cross-entropy, so that its classifier learns nothing; here it is added to the loss.
    """
    if temperature <= 0:
        raise UsageError(f"temperature={temperature}", "above 0")
    unit = normalize(embedded, dim=1)
    near = unit @ unit.T / temperature
    itself = torch.eye(len(labels), dtype=torch.bool)
    own = one_hot(labels, len(counts)).to(unit.dtype)
    same = (own @ own.T > 0) & ~itself
    number = same.sum(dim=1)
    others = near.masked_fill(itself, -torch.inf)
    if balanced:
        others = others - torch.log((own.sum(dim=0) - own).clamp_min(1.0) @ own.T)
    share = near - torch.logsumexp(others, dim=1, keepdim=True)
    return -weight * torch.where(same, share, 0.0).sum(dim=1) / number.clamp_min(1)
