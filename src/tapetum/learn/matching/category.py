"""Texts match where they state exactly the same findings."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from tapetum.learn.aligner.equal import equal_texts, need_labels

__all__ = ["category"]


def category(words: Float[Tensor, "b t"], labels: Float[Tensor, "b k"] | None) -> Float[Tensor, "b b"]:
    """1 where two reports state the same findings, in whatever words, else 0.

    Args:
        words: features of the texts; equal texts match whatever they state.
        labels: 1 where the report states a finding or a finer form of it, else 0. Reports that state none match only
            where their texts are equal.

    Returns:
        How much text j speaks of image i; the losses bring every row to sum 1.

    Raises:
        UsageError: no labels, since there is no domain pack.

    Source: Silva-Rodríguez et al. (FLAIR), MedIA 2025, arXiv 2308.07898, the target matrix. Differs: a category is the
    whole set of findings that a report states.
    """
    sets = need_labels(labels, "category")
    size = sets.sum(1)
    same = (sets @ sets.T == torch.maximum(size[:, None], size)) & (size > 0)
    return torch.maximum(same.to(words.dtype), equal_texts(words))
