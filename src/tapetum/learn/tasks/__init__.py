"""Ways to align images with reports on frozen features: one file, one way."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from tapetum.learn.pairs import Fitted, Pairs


class Task(Protocol):
    """A dataclass whose fields are the options; `fit` turns pairs into an aligner with a log of what happened.

    Whatever a task chooses (a penalty, an epoch) it chooses on an inner patient split of the pairs it was given.
    """

    def fit(self, pairs: Pairs, rng: np.random.Generator) -> Fitted:
        """Learn from the pairs of the training patients."""
        ...
