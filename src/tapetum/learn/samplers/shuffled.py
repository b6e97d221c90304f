"""Every row once, in random order."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from tapetum.learn.pairing.pairs import Pairs

__all__ = ["shuffled"]


def shuffled(rows: Int[np.ndarray, "n"], pairs: Pairs, batch: int, rng: np.random.Generator) -> Int[np.ndarray, "m"]:
    """A permutation of the rows.

    Args:
        rows: row numbers of the pairs.
        pairs: not used.
        batch: not used.
        rng: of the order.

    Returns:
        All rows.

    Source: sampling without replacement, as in Radford et al. (CLIP), ICML 2021, arXiv 2103.00020.
    """
    del pairs, batch
    return rng.permutation(rows)
