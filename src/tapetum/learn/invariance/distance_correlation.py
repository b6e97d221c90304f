"""Distance correlation: rows of one domain shall not lie nearer to each other than rows of two."""

from __future__ import annotations

from jaxtyping import Bool, Float, Int
from torch import Tensor

from tapetum.learn.classifying.domain_parts import centred, chosen_rows, mean_dependence, refuse_weight

__all__ = ["distance_correlation"]

TINY = 1e-12


def distance_correlation(
    embedded: Float[Tensor, "b e"],
    logits: Float[Tensor, "b k"],
    labels: Int[Tensor, "b"] | Float[Tensor, "b k"],
    domains: Int[Tensor, "b"],
    *,
    weight: float = 1.0,
    of: str = "embedded",
    within: str = "all",
) -> Float[Tensor, ""]:
    """Squared distance correlation between the rows and their domain.

    The scale of the rows plays no part, so that a network cannot lower it by making everything small.

    Args:
        embedded: what the last layer reads.
        logits: of the classes.
        labels: classes, for `within="class"`.
        domains: of the examples: a clinic, a camera, or any attribute that must not matter.
        weight: of the penalty.
        of: `embedded` or `logits`.
        within: `all`, or `class`: among rows of the same class. `all` also takes from the rows what a disease tells
            that is more common in one domain.

    Returns:
        0..1 times the weight; in a small batch above 0 even where rows and domains are independent.

    Raises:
        UsageError: a negative weight, or an option that is none of those named.

    Source: Székely, Rizzo and Bakirov, Annals of Statistics 2007 (squared sample distance correlation); as a penalty
    after Zhen et al., ECCV 2022, arXiv 2207.09684. Differs: two rows are 0 apart in the same domain and 1 apart in two;
    the biased estimator, which is never below 0; `within`.
    """
    refuse_weight(weight)
    return weight * mean_dependence(chosen_rows(of, embedded, logits), labels, domains, _dependence, within=within)


def _dependence(rows: Float[Tensor, "b e"], same: Bool[Tensor, "b b"]) -> Float[Tensor, ""]:
    squares = (rows[:, None] - rows[None]).square().sum(-1)
    # a root has no slope at 0, and a row is 0 apart from itself
    far = centred(squares.clamp_min(TINY).sqrt() * (squares > 0))
    other = centred((~same).to(rows.dtype))
    spread = far.square().mean() * other.square().mean()
    return (far * other).mean() / spread.clamp_min(TINY).sqrt()
