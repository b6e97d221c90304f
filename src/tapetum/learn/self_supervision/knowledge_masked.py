"""Patches and words are masked together: pixels are said from the image, words from the image and the other words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tapetum.core.errors import UsageError
from tapetum.learn.pretext.decoder import Decoder
from tapetum.learn.pretext.heads import seed_of
from tapetum.learn.pretext.masks import Glance
from tapetum.learn.pretext.objective import Pretext, Views
from tapetum.learn.pretext.pixels import masked_error, standardised
from tapetum.learn.pretext.reader import Reader
from tapetum.learn.pretext.vocabulary import Words
from tapetum.nets import Encoder

__all__ = ["KnowledgeMasked"]


@dataclass(frozen=True)
class KnowledgeMasked:
    """Knowledge-guided masked modelling: the one member that reads words, to tell the tower what readers look for.

    Which words stand for an image says `SelfSupervisionConfig.text`: the names of its findings, expert descriptions, or
    the report. Images without a word learn from their patches alone.

    Args:
        masked: share of the patches that is covered, above 0 and below 1.
        masked_words: share of the words that is covered, above 0 to 1; at least one of each text.
        words: weight of the words' loss, at least 0; the pixels weigh 1.
        standardise: each patch's pixels are brought to mean 0 and variance 1.
        width: of decoder and reader, a multiple of 4 and of `heads`. depth: blocks of each. heads: of the attention.

    Returns:
        On an encoder: a module whose loss is a mean squared error per image plus `words` times a cross-entropy in
        nats.

    Raises:
        UsageError: on attaching, no words, an encoder whose tokens do not tile the image, or an option outside its
            range.

    Source: after Yu et al. (UrFound), MICCAI 2024, arXiv 2408.05618 (masked patches, and masked words of expert
    annotations said from the image). Differs: the words' embeddings are learned here from the archive's own reports,
    with no pre-trained language model; the image's vector is the mean of the seen tokens; masking as in `mae`.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("tokens", "words")
    VIEWS: ClassVar[int] = 1
    AUGMENT: ClassVar[str] = "geometric()"

    masked: float = 0.6
    masked_words: float = 0.5
    words: float = 1.0
    standardise: bool = True
    width: int = 128
    depth: int = 1
    heads: int = 4

    def __post_init__(self) -> None:
        if not self.words >= 0:
            raise UsageError(f"words={self.words}", "a weight of at least 0", "knowledge_masked(words=1.0)")

    def on(self, encoder: Encoder, generator: torch.Generator, words: Words | None = None) -> Pretext:
        """The encoder with a decoder of pixels and a reader of words."""
        if words is None or not words.vocabulary:
            raise UsageError("knowledge_masked without words", "the words of every row", "objective=mae")
        return _KnowledgeMasked(self, encoder, generator, words)


class _KnowledgeMasked(Pretext):
    def __init__(self, options: KnowledgeMasked, encoder: Encoder, generator: torch.Generator, words: Words) -> None:
        super().__init__(encoder)
        self.options = options
        seed, into = seed_of(generator), encoder.spec.token_dim
        self.glance = Glance(encoder, options.masked, seed)
        size = options.width, options.depth, options.heads
        self.decoder = Decoder(into, *size, self.glance.grid, 3 * self.glance.side**2, generator)
        self.reader = Reader(words, into, *size, options.masked_words, seed, generator)

    def loss(self, views: Views, rows: Int[np.ndarray, "b"], epoch: int) -> Float[Tensor, "b"]:
        tokens, seen, masked = self.glance(self.encoder, views[0], rows, epoch)
        target = self.glance.pixels(views[0], masked)
        target = standardised(target) if self.options.standardise else target
        error, nothing = masked_error(self.decoder(tokens, seen, masked), target)
        said, frequencies = self.reader(tokens.mean(1), rows, epoch)
        self.chance = nothing + self.options.words * frequencies
        return error + self.options.words * said

    def settle(self, step: int, steps: int) -> None:
        """Nothing: all that this task has learns by gradient."""
