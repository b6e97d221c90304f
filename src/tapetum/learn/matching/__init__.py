"""Which text of a batch is a match of which image: one file, one rule.

In a contrastive batch every other text is a negative unless a rule says otherwise; two patients with the same findings
would then be pushed apart. A rule gives 1 to a pair's own text and to texts that say as much, 0 to those that do not.
"""

from __future__ import annotations

from typing import Protocol

from jaxtyping import Float
from torch import Tensor


class Matching(Protocol):
    """`(words[b t], labels[b k] or None, *, …options) -> match[b b]`: 0..1, symmetric, the diagonal 1."""

    def __call__(self, words: Float[Tensor, "b t"], labels: Float[Tensor, "b k"] | None) -> Float[Tensor, "b b"]:
        """How much text j speaks of image i; `words` are features of the texts, `labels` closed sets of findings."""
        ...
