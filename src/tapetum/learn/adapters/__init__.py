"""Few-shot adapters on frozen features: one file, one method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, Self

import numpy as np
from jaxtyping import Float


class Adapter(Protocol):
    """A dataclass whose fields are the options; `fit` learns, a call gives logits (higher = more likely).

    Labels are one column per finding: 1 present, 0 absent, NaN unknown (left out, column by column).
    `groups` name the patients, so that any inner choice splits between patients.
    """

    def fit(
        self,
        support: Float[np.ndarray, "n d"],
        labels: Float[np.ndarray, "n k"],
        groups: np.ndarray | None = None,
        blocks: Mapping[str, tuple[int, int]] | None = None,
    ) -> Self:
        """Learn from a support set; `blocks` are the columns of each pooled output, where they are known."""
        ...

    def __call__(self, query: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m k"]:
        """Logits of the query images."""
        ...

    def state(self) -> dict[str, np.ndarray]:
        """What was learned, as named arrays for a checkpoint."""
        ...

    def restore(self, state: Mapping[str, np.ndarray]) -> Self:
        """Take back what `state` gave."""
        ...
