"""Asymmetric loss: the many absent findings weigh little as soon as they are told to be absent."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from tapetum.core.errors import UsageError
from tapetum.learn.classifying.weighing import rate

__all__ = ["asymmetric"]


def asymmetric(
    logits: Float[Tensor, "b k"],
    labels: Float[Tensor, "b k"],
    counts: Float[Tensor, "k"],
    *,
    present: float = 0.0,
    absent: float = 4.0,
    shift: float = 0.05,
) -> Float[Tensor, "b"]:
    """(1 - p)^present · -log p for what is there, q^absent · -log(1 - q) for what is not, with q = max(p - shift, 0).

    Args:
        logits: of the findings.
        labels: 1, 0 or NaN (left out).
        counts: not used.
        present: focusing of findings that are there.
        absent: of those that are not.
        shift: probability below which an absent finding weighs nothing; with all three 0 it is binary cross-entropy.

    Returns:
        Weighted nats per example, meaned over its known findings.

    Raises:
        UsageError: focusing below 0, or a shift outside 0..1.

    Source: Ridnik et al., ICCV 2021, arXiv 2009.14119, equation 7; gamma 0 and 4 and margin 0.05 of its experiments.
    Differs: nothing.
    """
    del counts
    if min(present, absent) < 0 or not 0 <= shift < 1:
        raise UsageError(f"present={present}, absent={absent}, shift={shift}", "focusing of 0 or more, shift in 0..1")
    p = torch.sigmoid(logits)
    there = (1 - p) ** present * -torch.nn.functional.logsigmoid(logits)
    q = (p - shift).clamp_min(0.0)
    sure = -torch.nn.functional.logsigmoid(-logits) if not shift else -torch.log1p(-q.clamp_max(1 - 1e-7))
    gone = q**absent * sure if absent else sure
    return rate(torch.where(labels == 1, there, gone), labels)
