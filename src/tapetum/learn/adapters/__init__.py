"""Few-shot adapters on frozen features: one file, one method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Protocol, Self

import numpy as np
from jaxtyping import Float

from tapetum.learn.fitting.anchors import Anchors


class Adapter(Protocol):
    """A dataclass whose fields are the options; `fit` learns, a call gives logits (higher = more likely).

    Labels are one column per finding: 1 present, 0 absent, NaN unknown (left out, column by column).
    `groups` name the patients, so that any inner choice splits between patients.

    Attributes:
        NEEDS: `("anchors",)` for a member that knows the findings by their words too: its rows are those of the common
            space (`Model.encode_image`), and `fit` is given the zero-shot head in it. `()` for one that works on the
            features of the towers and takes no notice of anchors. With `"concepts"` besides, the anchors bring the
            descriptions of the pack.
    """

    NEEDS: ClassVar[tuple[str, ...]]

    def fit(
        self,
        support: Float[np.ndarray, "n d"],
        labels: Float[np.ndarray, "n k"],
        groups: np.ndarray | None = None,
        blocks: Mapping[str, tuple[int, int]] | None = None,
        anchors: Anchors | None = None,
    ) -> Self:
        """Learn from a support set.

        Args:
            support: rows of the images with labels.
            labels: 1, 0 or NaN.
            groups: patient of each row.
            blocks: the columns of each pooled output, where they are known.
            anchors: the zero-shot head in the space of the rows.

        Raises:
            UsageError: an option out of range, or a member that needs anchors is given none or others than its rows.
        """
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
