"""Masked words, said from the words beside them and from the image."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tapetum.core.errors import UsageError
from tapetum.learn.pretext.decoder import line_positions
from tapetum.learn.pretext.heads import Block, linear
from tapetum.learn.pretext.vocabulary import PAD, Words

_SECOND = 1  # tells the draw of words from the draw of patches


class Reader(nn.Module):
    """Embedded words, each with the image's vector added to it, transformer blocks, a linear layer over all words.

    Args:
        words: of all rows.
        into: columns of the image's vector. width: of the reader, a multiple of 4 and of `heads`. depth: its blocks.
        heads: of the attention. share: of a text's words that is masked; at least one is. seed: of the masks.
        generator: of the first weights.

    Raises:
        UsageError: a share outside 0..1.
    """

    tokens: Tensor
    rarity: Tensor
    places: Tensor

    def __init__(
        self, words: Words, into: int, width: int, depth: int, heads: int, share: float, seed: int,
        generator: torch.Generator,
    ) -> None:  # fmt: skip
        super().__init__()
        if not 0 < share <= 1:
            raise UsageError(f"masked_words={share}", "a share of the words, above 0 to 1", "masked_words=0.5")
        self.share, self.seed = share, seed
        count = len(words.vocabulary)
        tokens = torch.from_numpy(words.tokens)
        self.register_buffer("tokens", tokens, persistent=False)
        self.register_buffer("rarity", _rarity(tokens, count), persistent=False)
        self.register_buffer("places", line_positions(tokens.shape[1], width), persistent=False)
        # Number 0 is no word, the last number is the mask.
        self.table = nn.Parameter(0.02 * torch.randn((count + 2, width), generator=generator))
        self.norm = nn.LayerNorm(into)
        self.image = linear(into, width, generator)
        self.blocks = nn.ModuleList(Block(width, heads, generator) for _ in range(depth))
        self.last = nn.LayerNorm(width)
        self.leave = linear(width, count, generator)

    def forward(
        self, image: Float[Tensor, "b e"], rows: Int[np.ndarray, "b"], epoch: int
    ) -> tuple[Float[Tensor, "b"], float]:
        """Mean cross-entropy of the masked words of each image, 0 without a text; and that of knowing frequencies."""
        tokens = self.tokens[torch.from_numpy(rows).to(self.tokens.device)]
        hidden = masked_words(tokens, rows, epoch, self.seed, self.share)
        there = tokens != PAD
        shown = torch.where(hidden, torch.full_like(tokens, len(self.table) - 1), tokens)
        x = self.table[shown] + self.places + self.image(self.norm(image))[:, None]
        # An image without a text looks at its first place, so that attention has something; its loss is 0.
        open_ = there | (torch.arange(tokens.shape[1], device=there.device) == 0)
        for block in self.blocks:
            x = block(x, open_)
        logits = self.leave(self.last(x))
        each = cross_entropy(logits.transpose(1, 2), (tokens - 1).clamp(min=0), reduction="none")
        counts = hidden.sum(1).clamp(min=1)
        plain = (self.rarity[tokens] * hidden).sum(1) / counts
        return (each * hidden).sum(1) / counts, float(plain.mean())


def masked_words(
    tokens: Int[Tensor, "b l"], rows: Int[np.ndarray, "b"], epoch: int, seed: int, share: float
) -> Bool[Tensor, "b l"]:
    """Which words of each text are masked; what is drawn follows from seed, epoch and row number.

    Args:
        tokens: word numbers, `PAD` where there is none.
        rows: row numbers.
        epoch: from 0.
        seed: of the run.
        share: of a text's words; at least one is masked where there is one.

    Example:
        >>> int(masked_words(torch.tensor([[3, 1, 2, 4, 0]]), np.array([0]), 0, 0, 0.5).sum())
        2
    """
    found = np.zeros(tuple(tokens.shape), dtype=bool)
    lengths = (tokens != PAD).sum(1).tolist()
    for i, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        if length:
            order = np.random.default_rng((seed, epoch + 1, int(row), _SECOND)).permutation(length)
            found[i, order[: max(1, round(share * length))]] = True
    return torch.from_numpy(found).to(tokens.device)


def _rarity(tokens: Int[Tensor, "n l"], count: int) -> Float[Tensor, "v"]:
    """−log of each word's frequency; 0 for no word."""
    seen = torch.bincount(tokens.flatten(), minlength=count + 1)[1:].double()
    return torch.cat([torch.zeros(1), -(seen / seen.sum()).clamp(min=1e-12).log().float()])
