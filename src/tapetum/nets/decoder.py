"""A small transformer that reads and writes the words of a report beside the local features of its image."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from tapetum.core.errors import UsageError


class ReportDecoder(nn.Module):
    """Words attend to words and to what is seen; one stack serves for matching, filling in and writing.

    Args:
        words: size of the vocabulary, number 0 being the padding. length: most words of a text.
        seen: columns of what is seen, which comes as unit vectors. width: of the layers, a multiple of `heads`.
        layers, heads: at least 1. generator: of the first weights; torch's own generator is left as it was.

    Raises:
        UsageError: a size below 1, or a width that the heads do not divide.

    Example:
        >>> decoder = ReportDecoder(9, 4, 6, width=8, layers=1, heads=2, generator=torch.Generator().manual_seed(0))
        >>> states = decoder(torch.tensor([[1, 5, 2, 0]]), torch.ones(1, 3, 6), causal=True)
        >>> decoder.word_logits(states).shape, decoder.match_logit(states).shape
        (torch.Size([1, 4, 9]), torch.Size([1]))
    """

    def __init__(
        self, words: int, length: int, seen: int, *, width: int, layers: int, heads: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        if min(words, length, seen, width, layers, heads) < 1 or width % heads:
            raise UsageError(f"width={width}, layers={layers}, heads={heads}", "each at least 1, width a multiple")
        with torch.random.fork_rng(devices=[]):
            self.embedding = nn.Embedding(words, width, padding_idx=0)
            self.positions = nn.Parameter(torch.empty(length, width))
            self.into = nn.Linear(seen, width)
            self.layers = nn.ModuleList(
                nn.TransformerDecoderLayer(
                    width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
                )
                for _ in range(layers)
            )
            self.norm = nn.LayerNorm(width)
            self.word_bias = nn.Parameter(torch.zeros(words))
            self.match = nn.Linear(width, 1)
        with torch.no_grad():
            for name, p in self.named_parameters():
                if p.ndim > 1:
                    p.normal_(0, _spread(name, p.shape[1]), generator=generator)
                elif name.endswith("bias"):
                    p.zero_()
            self.embedding.weight[0] = 0

    def forward(self, ids: Int[Tensor, "b l"], seen: Float[Tensor, "b m e"], *, causal: bool) -> Float[Tensor, "b l w"]:
        """The state of every word.

        Args:
            ids: words, 0 = padding at the end; the first is never padding.
            seen: what each text may look at.
            causal: words see only those before them.
        """
        count = ids.shape[1]
        states, memory = self.embedding(ids) + self.positions[:count], self.into(seen)
        ahead = torch.ones(count, count, dtype=torch.bool, device=ids.device).triu(1) if causal else None
        empty: Bool[Tensor, "b l"] = ids == 0
        for layer in self.layers:
            states = layer(states, memory, tgt_mask=ahead, tgt_key_padding_mask=empty)
        return self.norm(states)

    def word_logits(self, states: Float[Tensor, "b l w"]) -> Float[Tensor, "b l v"]:
        """Of every word of the vocabulary at every place, by the same vectors that words come in as."""
        return states @ self.embedding.weight.T + self.word_bias

    def match_logit(self, states: Float[Tensor, "b l w"]) -> Float[Tensor, "b"]:
        """Log odds that text and image belong together, from the state of the first word."""
        return self.match(states[:, 0])[:, 0]


def _spread(name: str, columns: int) -> float:
    """Of the first weights of a part."""
    if name in ("embedding.weight", "positions"):
        return 0.02
    # unit vectors have small entries: anything below 1 would let words look at next to nothing
    return 1.0 if name == "into.weight" else columns**-0.5
