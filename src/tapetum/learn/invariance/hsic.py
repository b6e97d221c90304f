"""HSIC: what the last layer reads shall not tell the domain, as far as a Gaussian kernel sees."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tapetum.learn.classifying.domain_parts import centred, chosen_rows, mean_dependence, refuse_weight

__all__ = ["hsic"]


def hsic(
    embedded: Float[Tensor, "b e"],
    logits: Float[Tensor, "b k"],
    labels: Int[Tensor, "b"] | Float[Tensor, "b k"],
    domains: Int[Tensor, "b"],
    *,
    weight: float = 1.0,
    of: str = "embedded",
    within: str = "all",
) -> Float[Tensor, ""]:
    """Hilbert-Schmidt independence criterion between the rows and their domain: tr(KHLH) / (b - 1)².

    K is a Gaussian kernel as wide as the median distance, L is 1 where two rows are of one domain, H takes out means.
    One term for any number of domains, in which a rare one weighs little: over domains, the sum of the squared share of
    the batch times the squared distance (MMD) from all rows together.

    Args:
        embedded: what the last layer reads.
        logits: of the classes.
        labels: classes, for `within="class"`.
        domains: of the examples: a clinic, a camera, or any attribute that must not matter.
        weight: of the penalty. Values are small, hardly above ¼ for two domains.
        of: `embedded` or `logits`.
        within: `all`, or `class`: among rows of the same class. `all` also takes from the rows what a disease tells
            that is more common in one domain.

    Returns:
        At least 0, without unit.

    Raises:
        UsageError: a negative weight, or an option that is none of those named.

    Source: Gretton, Bousquet, Smola and Schölkopf, ALT 2005 (the biased estimator). Differs: domains have a kernel of
    equality; the width follows the batch and has no slope; `within`.
    """
    refuse_weight(weight)
    return weight * mean_dependence(chosen_rows(of, embedded, logits), labels, domains, _dependence, within=within)


def _dependence(rows: Float[Tensor, "b e"], same: Bool[Tensor, "b b"]) -> Float[Tensor, ""]:
    squares = (rows[:, None] - rows[None]).square().sum(-1)
    kernel = torch.exp(-squares / (2 * squares.detach().median().clamp_min(1e-12)))
    # H twice is H: centring one of the two is enough
    return (kernel * centred(same.to(rows.dtype))).sum() / (len(rows) - 1) ** 2
