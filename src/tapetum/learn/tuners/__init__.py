"""Ways to adapt a network with labels: one file, one method."""

from __future__ import annotations

from typing import ClassVar, Protocol

from tapetum.learn.training.optimiser import ParameterGroup
from tapetum.nets import Encoder


class Tuner(Protocol):
    """A dataclass whose fields are the options; `attach` changes an encoder in place and says what is to be trained.

    What a tuner adds or sets free are the parameters that require a gradient afterwards; together they are its delta.
    The encoder stays in evaluation mode: batch statistics of a few images mislead.

    Attributes:
        PEFT: the frozen network stays as it is, and at most 1 % of its number of parameters is added.
        RATE: the learning rate that the method is used with.
        FRESH: the weights are drawn anew, so that nothing of the frozen features holds: batch statistics are learned,
            and the head starts at zero.
    """

    PEFT: ClassVar[bool]
    RATE: ClassVar[float]
    FRESH: ClassVar[bool]

    def attach(self, encoder: Encoder) -> list[ParameterGroup]:
        """Make only this method's parameters trainable, and group them by their learning rate."""
        ...

    def fold(self, encoder: Encoder) -> None:
        """Write what was learned into the plain weights where the method allows it; else leave all as it is."""
        ...
