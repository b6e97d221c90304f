"""Out-of-distribution scores: how little an image resembles those that a model is meant for; **higher = more OOD**.

All are post-hoc: arrays only, nothing is trained. What needs an input gradient or the inside of a network is no member.
"""

from __future__ import annotations

from typing import ClassVar, Protocol, Self

import numpy as np
from jaxtyping import Float, Float64

from tapetum.score.in_distribution import InDistribution, Need


class OodScore(Protocol):
    """Fitted on images in distribution, applied to any others.

    Attributes:
        NEEDS: what the known images must come with beside features: `labels`, `head` (the linear classifier on the
            features), both or nothing. Each member's docstring says how it reads a head of exclusive classes (softmax)
            and one of findings that occur together (sigmoid).
    """

    NEEDS: ClassVar[tuple[Need, ...]]

    def fit(self, known: InDistribution) -> Self:
        """Fit and return itself.

        Raises:
            UsageError: something that it `NEEDS` is absent, or an option out of range.
            DataError: too few known images.
        """
        ...

    def __call__(self, features: Float[np.ndarray, "m d"]) -> Float64[np.ndarray, "m"]:
        """A finite score per image, any range, higher = more OOD.

        Raises:
            UsageError: not fitted yet. DataError: another number of columns, NaN or infinite features.
        """
        ...
