"""Makers of wrong labels: true classes in, given classes and what was flipped out; for experiments with known truth."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from jaxtyping import Float, Int, Real

from tapetum.score.planted import Planted


class NoiseMaker(Protocol):
    """A function of the family, its options keyword-only; findings that occur together go through `by_finding`."""

    def __call__(
        self,
        labels: Int[np.ndarray, "n"] | Real[np.ndarray, "n"],
        features: Float[np.ndarray, "n d"] | None,
        *,
        classes: int = 2,
        rng: np.random.Generator,
        rate: float = 0.2,
        **options: Any,
    ) -> Planted:
        """Wrong labels among right ones; on average the share `rate` of all labels is flipped.

        Args:
            labels: true classes, 0 to `classes` - 1.
            features: of the images; None for makers that do not look at them.
            classes: how many there are.
            rng: the generator; the same state gives the same flips.
            rate: expected share of flipped labels, 0..1; 0 flips none.
            options: the member's own.

        Raises:
            DataError: other labels. UsageError: a rate or an option out of range, or features needed and absent.
        """
        ...
