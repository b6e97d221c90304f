"""Leaving out images that say again what others say, before a tower is refined on the rest."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from tapetum.core.errors import UsageError

RULES = ("spread", "information", "random")


def less_redundant(
    features: Float[np.ndarray, "n d"], *, keep: float, rule: str = "spread", rng: np.random.Generator
) -> Int[np.ndarray, "m"]:
    """Choose the rows that say most.

    Args:
        features: one row per image, of any length; compared by cosine after their mean is taken off.
        keep: share of the rows that stays, above 0 to 1; at least one.
        rule: `spread` = each next row is the one farthest from those chosen (the near-duplicates of a chosen row come
            last); `information` = each next row has the largest part that the chosen ones do not span, as the largest
            log-determinant wants it; `random` = the control.
        rng: of `random`, and of the order among equal rows.

    Returns:
        Row numbers, rising.

    Raises:
        UsageError: keep outside 0..1, or an unknown rule.

    Example:
        >>> twice = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0], [1.0, 0.001]])
        >>> chosen = less_redundant(twice, keep=0.75, rng=np.random.default_rng(0))
        >>> {1, 2} < set(chosen.tolist()), len(chosen)
        (True, 3)

    Source: after Wolf et al., Computers in Biology and Medicine 2024, arXiv 2410.14524 (similar images chosen by deep
    embedding, information or hash are left out of contrastive pre-training). Differs: farthest-first traversal
    (Gonzalez, Theoretical Computer Science 1985) and greedy log-determinant on the features of the tower itself,
    instead of thresholds on neighbouring slices; a share instead of a threshold.
    """
    if rule not in RULES:
        raise UsageError(f"reduce={rule!r}", " | ".join(RULES), "reduce=spread")
    if not 0 < keep <= 1:
        raise UsageError(f"keep={keep}", "a share of the images, above 0 to 1", "keep=0.5")
    count = max(1, round(keep * len(features))) if len(features) else 0
    mixed = rng.permutation(len(features))
    if rule == "random" or count == len(features):
        return np.sort(mixed[:count])
    rows = features[mixed].astype(np.float64)
    rows -= rows.mean(0)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    chosen = _farthest(rows, count) if rule == "spread" else _spanning(rows, count)
    return np.sort(mixed[chosen])


def _farthest(rows: Float[np.ndarray, "n d"], count: int) -> list[int]:
    """Farthest-first traversal from the first row."""
    chosen = [0]
    nearest = rows @ rows[0]  # cosine to the most similar chosen row
    nearest[0] = np.inf
    while len(chosen) < count:
        chosen.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, rows @ rows[chosen[-1]])
        nearest[chosen[-1]] = np.inf
    return chosen


def _spanning(rows: Float[np.ndarray, "n d"], count: int, ridge: float = 0.1) -> list[int]:
    """Greedy log-determinant of (rows rowsᵀ + ridge), by pivoted Cholesky: the pivot is what a row adds."""
    left = np.full(len(rows), 1 + ridge)
    factor = np.zeros((len(rows), count))
    free = np.ones(len(rows), dtype=bool)
    chosen: list[int] = []
    for step in range(count):
        pivot = int(np.where(free, left, -np.inf).argmax())
        column = rows @ rows[pivot]
        column[pivot] += ridge
        column = (column - factor[:, :step] @ factor[pivot, :step]) / np.sqrt(left[pivot])
        factor[:, step] = column
        left -= column**2
        free[pivot] = False
        chosen.append(pivot)
    return chosen
