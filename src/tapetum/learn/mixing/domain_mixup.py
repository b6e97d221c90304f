"""Mixup between domains: every row is a blend with a row from somewhere else, and so is its label."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tapetum.core.errors import UsageError
from tapetum.learn.classifying.domain_parts import partners_elsewhere

__all__ = ["domain_mixup"]


def domain_mixup(
    inputs: Float[Tensor, "b ..."],
    labels: Int[Tensor, "b"] | Float[Tensor, "b k"],
    counts: Float[Tensor, "k"],
    *,
    rng: np.random.Generator,
    domains: Int[Tensor, "b"] | None = None,
    alpha: float = 0.2,
) -> tuple[Float[Tensor, "b ..."], Int[np.ndarray, "b"], Float[Tensor, "b"]]:
    """Blend: share · row + (1 - share) · a row of another domain; a share per row, from Beta(alpha, alpha).

    Args:
        inputs: features or images.
        labels: not used.
        counts: not used.
        rng: the generator.
        domains: of the rows; given by who trains. A row whose batch has no other domain stays as it is.
        alpha: 0 = nothing is blended, 1 = every share as likely.

    Returns:
        Blended inputs, the row blended in, and the share of the own label.

    Raises:
        UsageError: alpha below 0, or no domains.

    Source: Xu et al., AAAI 2020, arXiv 1912.01805; Yan et al., arXiv 2001.00677 (inter-domain mixup), as compared in
    DomainBed, arXiv 2007.01434. Differs: partners and shares are drawn row by row, and every other domain is as likely
    as a partner, instead of whole batches in pairs; no further loss.
    """
    del labels, counts
    if alpha < 0:
        raise UsageError(f"alpha={alpha}", "0 or more")
    if domains is None:
        raise UsageError("domain_mixup without domains", "rows of two or more domains", "mixing='mixup' needs none")
    partner = partners_elsewhere(domains, rng)
    share = rng.beta(alpha, alpha, len(inputs)) if alpha else np.ones(len(inputs))
    share[partner == np.arange(len(inputs))] = 1.0
    part = torch.from_numpy(share).to(inputs.dtype)
    shaped = part.reshape(-1, *[1] * (inputs.ndim - 1))
    return shaped * inputs + (1 - shaped) * inputs[partner], partner, part
