"""Masked patches are to be said twice: their pixels, and how steep the image is there."""

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
from tapetum.learn.pretext.pixels import masked_error, standardised, steepness
from tapetum.learn.pretext.vocabulary import Words
from tapetum.nets import Encoder

__all__ = ["GradientMasked"]


@dataclass(frozen=True)
class GradientMasked:
    """Masked autoencoder with a second decoder for the gradient image, whose edges are vessels and lesions.

    Args:
        masked: share of the patches that is covered, above 0 and below 1.
        gradient: weight of the gradient image, at least 0; the pixels weigh 1.
        standardise: each patch's pixels are brought to mean 0 and variance 1. The gradient image always is, as a whole.
        width: of each decoder, a multiple of 4 and of `heads`. depth: its blocks. heads: of its attention.

    Returns:
        On an encoder: a module whose loss is the weighted sum of two mean squared errors per image; about 1 + gradient
        for a tower that says nothing of its images.

    Raises:
        UsageError: on attaching, an encoder whose tokens do not tile the image, or an option outside its range.

    Source: after Cai et al. (Uni4Eye), MICCAI 2022, arXiv 2203.04614 (two decoders: the image and its gradient map).
    Differs: two-dimensional images only, no unified embedding of volumes; gradient by Sobel's filters on the mean
    channel, standardised per image; masking as in `mae`.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("tokens",)
    VIEWS: ClassVar[int] = 1
    AUGMENT: ClassVar[str] = "geometric()"

    masked: float = 0.6
    gradient: float = 1.0
    standardise: bool = True
    width: int = 128
    depth: int = 1
    heads: int = 4

    def __post_init__(self) -> None:
        if not self.gradient >= 0:
            raise UsageError(f"gradient={self.gradient}", "a weight of at least 0", "gradient_masked(gradient=1.0)")

    def on(self, encoder: Encoder, generator: torch.Generator, words: Words | None = None) -> Pretext:
        """The encoder with a decoder of pixels and one of the gradient image."""
        del words
        return _GradientMasked(self, encoder, generator)


class _GradientMasked(Pretext):
    def __init__(self, options: GradientMasked, encoder: Encoder, generator: torch.Generator) -> None:
        super().__init__(encoder)
        self.options = options
        self.glance = Glance(encoder, options.masked, seed_of(generator))
        shape = encoder.spec.token_dim, options.width, options.depth, options.heads, self.glance.grid
        self.pixels = Decoder(*shape, 3 * self.glance.side**2, generator)
        self.edges = Decoder(*shape, self.glance.side**2, generator)

    def loss(self, views: Views, rows: Int[np.ndarray, "b"], epoch: int) -> Float[Tensor, "b"]:
        tokens, seen, masked = self.glance(self.encoder, views[0], rows, epoch)
        target = self.glance.pixels(views[0], masked)
        target = standardised(target) if self.options.standardise else target
        steep = standardised(steepness(views[0]).flatten(1)).view_as(views[0][:, :1])
        error, nothing = masked_error(self.pixels(tokens, seen, masked), target)
        edges, no_edges = masked_error(self.edges(tokens, seen, masked), self.glance.pixels(steep, masked))
        self.chance = nothing + self.options.gradient * no_edges
        return error + self.options.gradient * edges

    def settle(self, step: int, steps: int) -> None:
        """Nothing: all that this task has learns by gradient."""
