"""MMD: the distributions of the domains shall agree, as far as Gaussian kernels see them."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tapetum.learn.classifying.domain_parts import chosen_rows, mean_apart, refuse_weight

__all__ = ["mmd"]

WIDTHS = (0.25, 1.0, 4.0)  # times the median squared distance


def mmd(
    embedded: Float[Tensor, "b e"],
    logits: Float[Tensor, "b k"],
    labels: Int[Tensor, "b"] | Float[Tensor, "b k"],
    domains: Int[Tensor, "b"],
    *,
    weight: float = 1.0,
    of: str = "embedded",
    within: str = "all",
) -> Float[Tensor, ""]:
    """Squared maximum mean discrepancy, averaged over pairs of domains and summed over kernels of three widths.

    Args:
        embedded: what the last layer reads.
        logits: of the classes.
        labels: classes, for `within="class"`.
        domains: of the examples.
        weight: of the penalty.
        of: `embedded` or `logits`.
        within: `all`, or `class`: compare only rows of the same class.

    Returns:
        At least 0, at most 6 times the weight, without unit.

    Raises:
        UsageError: a negative weight, or an option that is none of those named.

    Source: Gretton et al., JMLR 2012, equation 5; Li et al., CVPR 2018 (for domains). Differs: widths follow the median
    distance of the two parts instead of a fixed list; `within`.
    """
    refuse_weight(weight)
    rows = chosen_rows(of, embedded, logits)
    return weight * mean_apart(rows, labels, domains, _apart, within=within, fewest=2)


def _apart(a: Float[Tensor, "m e"], b: Float[Tensor, "n e"]) -> Float[Tensor, ""]:
    both = torch.cat([a, b])
    squares = (both[:, None] - both[None]).square().sum(-1)
    middle = squares.detach().median().clamp_min(1e-12)
    kernel = torch.stack([torch.exp(-squares / (2 * w * middle)) for w in WIDTHS]).sum(0)
    m = len(a)
    return (kernel[:m, :m].mean() + kernel[m:, m:].mean() - 2 * kernel[:m, m:].mean()).clamp_min(0)
