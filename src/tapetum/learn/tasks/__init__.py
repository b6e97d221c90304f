"""Ways to align images with reports on frozen features: one file, one way."""

from __future__ import annotations

from typing import ClassVar, Protocol

import numpy as np

from tapetum.learn.pairing.pairs import Fitted, Pairs
from tapetum.learn.training.runlog import UNWATCHED, Watch


class Task(Protocol):
    """A dataclass whose fields are the options; `fit` turns pairs into an aligner with a log of what happened.

    Whatever a task chooses (a penalty, an epoch) it chooses on an inner patient split of the pairs it was given.
    `NEEDS` says what the pairs must hold beside features and texts: `"names"` (text features of the findings' names),
    `"groups"` (of the pieces of each text), `"tokens"` (local features of the images); or `"space"` where it takes the
    space of a published image-text model and needs no words.
    """

    NEEDS: ClassVar[tuple[str, ...]]

    def fit(self, pairs: Pairs, rng: np.random.Generator, watch: Watch = UNWATCHED) -> Fitted:
        """Learn from the pairs of the training patients; a loop tells those who watch."""
        ...
