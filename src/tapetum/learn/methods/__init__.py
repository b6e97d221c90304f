"""Ways to learn a classifier from labelled rows: one file, one method; its spec is a row of a table."""

from __future__ import annotations

from typing import ClassVar, Protocol

import numpy as np
from jaxtyping import Float, Float64
from torch import Tensor

from tapetum.learn.classifying.plan import Pace
from tapetum.learn.classifying.taught import Taught


class Classifier(Protocol):
    """What was learned."""

    def __call__(self, inputs: Float[np.ndarray | Tensor, "n ..."]) -> Float64[np.ndarray, "n k"]:
        """Logits, higher = more likely."""
        ...


class Method(Protocol):
    """A dataclass whose fields are the options; nothing is chosen inside, the pace is the caller's.

    Attributes:
        NEEDS: `classes` (one each), `findings` (together), `domains` (two or more), `pictures` (that a tower
            learns from), `features` (that stay); `()` takes any rows.
    """

    NEEDS: ClassVar[tuple[str, ...]]

    def fit(self, taught: Taught, pace: Pace, rng: np.random.Generator) -> Classifier:
        """Learn from the rows.

        Args:
            taught: the rows.
            pace: how long and how fast each stage is.
            rng: of everything that is drawn.

        Raises:
            UsageError: an option out of range, or rows that are not what the method needs.
        """
        ...
