"""Texts match where they are equal or nearly so."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from tapetum.core.errors import UsageError

__all__ = ["same_text"]


def same_text(
    words: Float[Tensor, "b t"], labels: Float[Tensor, "b k"] | None, *, near: float = 0.95
) -> Float[Tensor, "b b"]:
    """1 for equal texts, the cosine of their features for near-equal ones, else 0.

    Args:
        words: features of the texts.
        labels: not used; the rule needs no domain pack.
        near: the cosine from which texts are near, 0..1; 1 leaves hardly more than equal texts.

    Returns:
        How much text j speaks of image i.

    Raises:
        UsageError: near outside 0..1.

    Source: after the equal categories of Silva-Rodríguez et al. (FLAIR), MedIA 2025. Differs: equality is read from the
    text's features, since reports name no category.
    """
    del labels
    if not 0 <= near <= 1:
        raise UsageError(f"near={near}", "a cosine, 0 to 1", "same_text(near=0.95)")
    unit = normalize(words, dim=1)
    cosine = (unit @ unit.T).clamp(max=1.0)
    return torch.where(cosine >= near, cosine, torch.zeros_like(cosine))
