"""CORAL: means and covariances of the domains shall agree."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

from tapetum.learn.classifying.domain_parts import chosen_rows, mean_apart, refuse_weight

__all__ = ["coral"]


def coral(
    embedded: Float[Tensor, "b e"],
    logits: Float[Tensor, "b k"],
    labels: Int[Tensor, "b"] | Float[Tensor, "b k"],
    domains: Int[Tensor, "b"],
    *,
    weight: float = 1.0,
    of: str = "embedded",
    within: str = "all",
) -> Float[Tensor, ""]:
    """Mean squared distance of means and of covariances, averaged over pairs of domains.

    Args:
        embedded: what the last layer reads.
        logits: of the classes.
        labels: classes, for `within="class"`.
        domains: of the examples; one with a single row in the batch is left out.
        weight: of the penalty.
        of: `embedded` or `logits`.
        within: `all`, or `class`: compare only rows of the same class.

    Returns:
        In squared units of the means, and their fourth power for covariances.

    Raises:
        UsageError: a negative weight, or an option that is none of those named.

    Source: Sun and Saenko, ECCV 2016 workshops, arXiv 1607.01719, equation 1; means as in Gulrajani and Lopez-Paz,
    arXiv 2007.01434. Differs: mean over entries, so that the width plays no part; `within`.
    """
    refuse_weight(weight)
    return weight * mean_apart(chosen_rows(of, embedded, logits), labels, domains, _apart, within=within, fewest=2)


def _apart(a: Float[Tensor, "m e"], b: Float[Tensor, "n e"]) -> Float[Tensor, ""]:
    means = (a.mean(0) - b.mean(0)).square().mean()
    return means + (_covariance(a) - _covariance(b)).square().mean()


def _covariance(rows: Float[Tensor, "n e"]) -> Float[Tensor, "e e"]:
    centred = rows - rows.mean(0)
    return centred.T @ centred / (len(rows) - 1)
