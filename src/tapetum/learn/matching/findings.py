"""Texts match as far as they state the same findings."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from tapetum.core.errors import UsageError
from tapetum.learn.aligner.equal import equal_texts, need_labels

__all__ = ["findings"]


def findings(
    words: Float[Tensor, "b t"], labels: Float[Tensor, "b k"] | None, *, overlap: str = "jaccard", least: float = 0.5
) -> Float[Tensor, "b b"]:
    """The overlap of the findings that two reports state, each with everything above it in the tree.

    Args:
        words: features of the texts; equal texts match whatever they state.
        labels: 1 where the report states a finding or a finer form of it, else 0.
        overlap: `jaccard` = findings of both / findings of either; `cosine` of the two rows.
        least: overlaps below it count as 0. Any two abnormal images share "abnormal"; a whole batch of such small
            matches would outweigh the pair itself.

    Returns:
        How much text j speaks of image i.

    Raises:
        UsageError: no labels, since there is no domain pack; another overlap; least outside 0..1.

    Source: after Hu et al. (Cardiac-CLIP), arXiv 2507.22024, and Wang et al. (MedCLIP), EMNLP 2022, arXiv 2210.10163.
    Differs: findings come from the report parser, closed over the pack's tree; small overlaps are cut off.
    """
    if overlap not in ("jaccard", "cosine") or not 0 <= least <= 1:
        raise UsageError(f"overlap={overlap!r}, least={least}", "jaccard | cosine, and 0 to 1", "findings(least=0.5)")
    sets = need_labels(labels, "findings")
    both, size = sets @ sets.T, sets.sum(1)
    whole = size[:, None] + size - both if overlap == "jaccard" else (size[:, None] * size).sqrt()
    found = torch.where(whole > 0, both / whole.clamp_min(1), torch.zeros_like(both))
    return torch.maximum(torch.where(found >= least, found, torch.zeros_like(found)), equal_texts(words)).clamp(max=1.0)
