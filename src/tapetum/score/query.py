"""Images to be scored, a block at a time, and what several scores take from them; each part is worked out once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import numpy as np
from jaxtyping import Float, Float32, Float64

from tapetum.score.in_distribution import BLOCK, InDistribution, Made, directions, finite_features


@dataclass(frozen=True, eq=False)
class Query:
    """A block of images beside the known ones.

    Args:
        features: checked, in double precision.
        known: what they are compared with.
        memory: for the cosines; handed on from block to block, since new memory costs more than to fill it.
    """

    features: Float64[np.ndarray, "b d"]
    known: InDistribution
    memory: Float32[np.ndarray, "m n"] | None = None
    _made: dict[object, Any] = field(default_factory=dict[object, Any], init=False, repr=False)

    @cached_property
    def directions(self) -> Float32[np.ndarray, "b d"]:
        """The features scaled to length 1, in single precision."""
        return directions(self.features)

    @cached_property
    def cosines(self) -> Float32[np.ndarray, "b n"]:
        """With every known image; not to be written to, and gone with the next block."""
        count, bank = len(self.features), self.known.directions
        out = self.memory[:count] if self.memory is not None else np.empty((count, len(bank)), np.float32)
        return np.matmul(self.directions, bank.T, out=out)

    @cached_property
    def logits(self) -> Float64[np.ndarray, "b k"]:
        """Of the head.

        Raises:
            UsageError: there is none.
        """
        return self.known.logits_of(self.features)

    @cached_property
    def probs(self) -> Float64[np.ndarray, "b k"]:
        """Softmax or sigmoid of the logits."""
        return self.known.probs_of(self.logits)

    @cached_property
    def confidence(self) -> Float64[np.ndarray, "b"]:
        """Minus the free energy of the logits."""
        return self.known.confidence_of(self.logits)

    @cached_property
    def sizes(self) -> Float64[np.ndarray, "b d"]:
        """The features without their sign."""
        return np.abs(self.features)

    def once(self, key: object, make: Callable[[Query], Made]) -> Made:
        """What `make` gives for this block, made when it is first asked for by this key."""
        if key not in self._made:
            self._made[key] = make(self)
        return cast("Made", self._made[key])


def queries(features: Float[np.ndarray, "m d"], known: InDistribution) -> Iterator[Query]:
    """The images, a block at a time.

    Raises:
        DataError: another number of columns, NaN or infinite features.
    """
    memory = np.empty((min(BLOCK, len(features)), len(known.features)), np.float32)
    for first in range(0, max(len(features), 1), BLOCK):
        yield Query(finite_features(features[first : first + BLOCK], known.dim), known, memory)
