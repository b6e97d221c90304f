"""Most of the image is covered; what was there is to be said from the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from tapetum.learn.pretext.decoder import Decoder
from tapetum.learn.pretext.heads import seed_of
from tapetum.learn.pretext.masks import Glance
from tapetum.learn.pretext.objective import Pretext, Views
from tapetum.learn.pretext.pixels import masked_error, standardised
from tapetum.learn.pretext.vocabulary import Words
from tapetum.nets import Encoder

__all__ = ["MAE"]


@dataclass(frozen=True)
class MAE:
    """Masked autoencoder: a light decoder says the pixels of the covered patches.

    A patch is what one token stands for: 8 or 16 pixels in a vision transformer, 32 in EfficientNet-Lite0, which needs
    inputs of 128 pixels or more for this.

    Args:
        masked: share of the patches that is covered, above 0 and below 1.
        standardise: each patch's pixels are brought to mean 0 and variance 1, so that its pattern counts and not its
            light.
        width: of the decoder, a multiple of 4 and of `heads`. depth: its blocks. heads: of its attention.

    Returns:
        On an encoder: a module whose loss is a mean squared error per image; about 1 for a tower that says nothing of
        its images, less where patches are flat.

    Raises:
        UsageError: on attaching, an encoder whose tokens do not tile the image, or an option outside its range.

    Source: He et al., CVPR 2022, arXiv 2111.06377. Differs: transformers see the uncovered patches alone as there;
    other networks see the image with patches painted in the mean colour (as SimMIM: Xie et al., CVPR 2022, arXiv
    2111.09886), and their tokens of covered patches are replaced in the decoder (as SparK: Tian et al., ICLR 2023,
    arXiv 2301.03580, without its sparse convolutions); a small floor under the variance of a patch.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("tokens",)
    VIEWS: ClassVar[int] = 1
    AUGMENT: ClassVar[str] = "geometric()"

    masked: float = 0.6
    standardise: bool = True
    width: int = 128
    depth: int = 1
    heads: int = 4

    def on(self, encoder: Encoder, generator: torch.Generator, words: Words | None = None) -> Pretext:
        """The encoder with a decoder of pixels."""
        del words
        return _MAE(self, encoder, generator)


class _MAE(Pretext):
    def __init__(self, options: MAE, encoder: Encoder, generator: torch.Generator) -> None:
        super().__init__(encoder)
        self.standardise = options.standardise
        self.glance = Glance(encoder, options.masked, seed_of(generator))
        out, into, grid = 3 * self.glance.side**2, encoder.spec.token_dim, self.glance.grid
        self.decoder = Decoder(into, options.width, options.depth, options.heads, grid, out, generator)

    def loss(self, views: Views, rows: Int[np.ndarray, "b"], epoch: int) -> Float[Tensor, "b"]:
        tokens, seen, masked = self.glance(self.encoder, views[0], rows, epoch)
        target = self.glance.pixels(views[0], masked)
        target = standardised(target) if self.standardise else target
        error, self.chance = masked_error(self.decoder(tokens, seen, masked), target)
        return error

    def settle(self, step: int, steps: int) -> None:
        """Nothing: all that this task has learns by gradient."""
