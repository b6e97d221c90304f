"""Distribution-balanced loss: findings that come together are not counted twice, absent ones not pushed for ever."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from tapetum.core.errors import UsageError
from tapetum.learn.classifying.weighing import FEWEST, rate

__all__ = ["distribution_balanced"]


def distribution_balanced(
    logits: Float[Tensor, "b k"],
    labels: Float[Tensor, "b k"],
    counts: Float[Tensor, "k"],
    *,
    rows: int = 0,
    smooth: float = 0.1,
    steep: float = 10.0,
    middle: float = 0.2,
    kappa: float = 0.05,
    negative: float = 2.0,
) -> Float[Tensor, "b"]:
    """Binary cross-entropy, re-balanced for findings that occur together, and tolerant of absent ones.

    Weight of finding c in a row: smooth + sigmoid(steep · (r - middle)), r = (1 / n_c) / Σ 1 / n over the findings of
    the row. To each logit kappa · log(share / (1 - share)) of its finding is added, so that a rare one must have the
    larger logit; an absent finding costs softplus(negative · logit) / negative, which is soon flat.

    Args:
        logits: of the findings.
        labels: 1, 0 or NaN (left out).
        counts: training images with each finding.
        rows: training images in all; the trainer gives it, 0 = as many as findings were counted.
        smooth: least weight.
        steep: of the sigmoid.
        middle: of the sigmoid.
        kappa: of the offset; 0 = none.
        negative: steepness for absent findings, above 0; 1 = as for those that are there.

    Returns:
        Weighted nats per example, meaned over its known findings; a row without any finding weighs as one with only the
        rarest.

    Raises:
        UsageError: negative not above 0.

    Source: Wu et al., ECCV 2020, arXiv 2007.09654, equations 4 to 8. Differs: the focal factor is left out; a row
    without findings, which its data do not have, has r = 1 for all.
    """
    if negative <= 0:
        raise UsageError(f"negative={negative}", "above 0")
    known = counts.clamp_min(FEWEST)
    inverse = 1 / known
    there = torch.nan_to_num(labels)
    together = (there * inverse).sum(dim=1, keepdim=True)
    share_of_row = torch.where(together > 0, inverse / together.clamp_min(1e-12), 1.0).clamp_max(1.0)
    weight = smooth + torch.sigmoid(steep * (share_of_row - middle))
    total = float(rows) if rows else float(known.sum())
    prior = (known / total).clamp(1e-6, 1 - 1e-6)
    moved = logits + kappa * torch.logit(prior)
    loss = torch.where(labels == 1, functional.softplus(-moved), functional.softplus(negative * moved) / negative)
    return rate(weight * loss, labels)
