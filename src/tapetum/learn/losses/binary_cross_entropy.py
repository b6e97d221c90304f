"""Binary cross-entropy, finding by finding."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from tapetum.core.errors import UsageError
from tapetum.learn.classifying.weighing import rate

__all__ = ["binary_cross_entropy"]


def binary_cross_entropy(
    logits: Float[Tensor, "b k"], labels: Float[Tensor, "b k"], counts: Float[Tensor, "k"], *, gamma: float = 0.0
) -> Float[Tensor, "b"]:
    """Minus the log probability of what each finding is, meaned over the known findings of a row.

    Args:
        logits: of the findings.
        labels: 1, 0 or NaN (left out).
        counts: not used.
        gamma: of the focal factor (1 - p)^gamma, p the probability of what is given; 0 = none.

    Returns:
        Nats per example and finding.

    Raises:
        UsageError: gamma below 0.

    Source: logistic regression; gamma: Lin et al., ICCV 2017, arXiv 1708.02002, equation 4. Differs: no alpha.
    """
    del counts
    if gamma < 0:
        raise UsageError(f"gamma={gamma}", "0 or more")
    loss = functional.binary_cross_entropy_with_logits(logits, torch.nan_to_num(labels), reduction="none")
    if gamma:
        loss = (-(-loss).expm1()).clamp_min(1e-12) ** gamma * loss
    return rate(loss, labels)
