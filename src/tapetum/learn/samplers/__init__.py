"""In which order the rows of an epoch are taken: one file, one way."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from jaxtyping import Int

from tapetum.learn.pairing.pairs import Pairs


class Sampler(Protocol):
    """`(rows[n], pairs, batch, rng) -> rows[m]`: the rows of one epoch in their order."""

    def __call__(
        self, rows: Int[np.ndarray, "n"], pairs: Pairs, batch: int, rng: np.random.Generator
    ) -> Int[np.ndarray, "m"]:
        """No row twice; `learn.schedule.batches` cuts the order into batches of at most `batch` rows."""
        ...
