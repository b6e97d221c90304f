"""Corruptions of real photographs: what a camera, a patient or a network does to an image, weak to strong."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from jaxtyping import UInt8


class Corruption(Protocol):
    """A function of the family; which ones an image of which kind may meet is said in `bench/altered/suites.py`."""

    def __call__(
        self, image: UInt8[np.ndarray, "h w 3"], *, severity: float, rng: np.random.Generator
    ) -> UInt8[np.ndarray, "h w 3"]:
        """The same image, spoilt; the one given stays as it is.

        Args:
            image: RGB, 0..255.
            severity: 0 (nothing) to 1 (hardly anybody could read it).
            rng: direction, place and noise; an equal generator spoils in the same direction at every severity.

        Raises:
            UsageError: a severity out of range.
        """
        ...
