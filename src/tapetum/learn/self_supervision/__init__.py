"""Tasks that images set themselves, to refine a tower on an archive without labels: one file, one task."""

from __future__ import annotations

from typing import ClassVar, Protocol

import torch

from tapetum.learn.pretext.objective import Pretext
from tapetum.learn.pretext.vocabulary import Words
from tapetum.nets import Encoder


class SelfSupervision(Protocol):
    """A dataclass whose fields are the options; `on` puts an encoder and fresh heads into one module with a loss.

    Attributes:
        NEEDS: `"tokens"` where patches are masked and the encoder's token map must tile the image; `"words"` where the
            reports' words are read. Others read pixels alone.
        VIEWS: how many augmented views of an image a step takes.
        AUGMENT: specs of `learn/augment` that the task is used with, joined by `+`.
    """

    NEEDS: ClassVar[tuple[str, ...]]
    VIEWS: ClassVar[int]
    AUGMENT: ClassVar[str]

    def on(self, encoder: Encoder, generator: torch.Generator, words: Words | None = None) -> Pretext:
        """The task on this encoder, which is trained in place; every first weight comes from `generator`."""
        ...
