"""One image of an eye and visit at a time."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from tapetum.learn.pairing.pairs import Pairs

__all__ = ["per_visit"]


def per_visit(rows: Int[np.ndarray, "n"], pairs: Pairs, batch: int, rng: np.random.Generator) -> Int[np.ndarray, "m"]:
    """Of several images of an eye at one visit another one is drawn in every epoch; each eye and visit counts once.

    Args:
        rows: row numbers of the pairs.
        pairs: whose visits they show; rows of an unknown visit or eye are all taken.
        batch: not used.
        rng: of the choice and the order.

    Returns:
        One row per eye and visit.

    Source: after Zhang et al. (ConVIRT), MLHC 2022, arXiv 2010.00747, who draw one view of a study at random.
    """
    del batch
    mixed = rng.permutation(rows)
    seen: set[str] = set()
    kept: list[int] = []
    for row in mixed.tolist():
        visit = pairs.visits[row] if pairs.visits else ""
        if not visit or visit not in seen:
            kept.append(row)
        seen.add(visit)
    return np.array(kept, dtype=rows.dtype)
