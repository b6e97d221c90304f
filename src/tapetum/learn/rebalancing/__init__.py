"""Which rows an epoch takes, by their labels: one file, one way."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from jaxtyping import Float, Int


class Rebalancing(Protocol):
    """`(labels, *, rng, options) -> rows[m]`: row numbers of one epoch, in their order; a row may come again.

    One that has an option `share` is told the share of the epochs that are over.
    """

    def __call__(
        self, labels: Int[np.ndarray, "n"] | Float[np.ndarray, "n k"], *, rng: np.random.Generator
    ) -> Int[np.ndarray, "m"]:
        """Rows of one epoch.

        Args:
            labels: the class of each row; or findings, 1, 0 or NaN, and then a row counts by its rarest one.
            rng: the generator.
        """
        ...
