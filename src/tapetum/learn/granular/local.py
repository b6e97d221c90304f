"""Local features in the common space, by the weights of the pooled block that is their mean."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from tapetum.core.errors import UsageError
from tapetum.learn.fitting.standardise import signed_root
from tapetum.learn.pairing.pairs import Pairs
from tapetum.learn.pairing.tokens import Tokens
from tapetum.nets import Aligner

_SAMPLE = 4096  # tokens that the main directions are computed from


class LocalSpace:
    """Tokens of training images as the aligner sees them: each stands for an image that looks like it all over.

    A token takes the place of the pooled block that is the mean of its map; every other block stays at its training
    mean. So no further weights are learned, and `learn/heatmap.py` shows what was trained. Standardised tokens are kept
    as their parts along `rank` main directions, which makes a step cheap; the map still has all its columns.

    Args:
        pairs: whose tokens they are.
        aligner: its mean, scale and power.
        rank: main directions per encoder; 0, or at least as many as columns, keeps everything.
        rng: of the sample that the directions are computed from.

    Raises:
        UsageError: pairs without tokens, rank below 0, or tokens of other columns than the aligner's.
    """

    def __init__(self, pairs: Pairs, aligner: Aligner, *, rank: int, rng: np.random.Generator) -> None:
        tokens = need_tokens(pairs)
        if rank < 0:
            raise UsageError(f"rank={rank}", "at least 0", "rank=128")
        if max(b for _, b in tokens.columns) > len(aligner.image_mean):
            raise UsageError(f"tokens of the columns {tokens.columns}", f"at most {len(aligner.image_mean)} columns")
        self.columns = tokens.columns
        self.count = sum(m.shape[1] for m in tokens.maps)
        self._parts = [_coded(tokens, e, aligner, rank, rng) for e in range(len(tokens.maps))]

    def __call__(self, aligner: Aligner, rows: Int[np.ndarray, "b"]) -> Float[Tensor, "b t e"]:
        """The tokens of some rows, of all encoders one after the other, at unit length."""
        chosen, found = torch.from_numpy(rows), list[Tensor]()
        for (a, b), (codes, directions) in zip(self.columns, self._parts, strict=True):
            weight = aligner.image_weight[a:b]
            found.append(codes[chosen] @ (weight if directions is None else directions.T @ weight))
        return normalize(torch.cat(found, 1) + aligner.image_bias, dim=2)


def need_tokens(pairs: Pairs) -> Tokens:
    """The tokens.

    Raises:
        UsageError: there are none.
    """
    if pairs.tokens is None:
        raise UsageError("pairs without local features", "a task whose NEEDS hold tokens", "task=contrastive")
    return pairs.tokens


def _coded(
    tokens: Tokens, e: int, aligner: Aligner, rank: int, rng: np.random.Generator
) -> tuple[Float[Tensor, "n t r"], Float[Tensor, "d r"] | None]:
    """Standardised tokens of one encoder, in main directions where there are fewer than columns."""
    part, power = slice(*tokens.columns[e]), float(aligner.power)
    mean, scale = aligner.image_mean[part].numpy(), aligner.image_scale[part].numpy()
    found, width = tokens.maps[e], tokens.maps[e].shape[2]

    def standardised(some: np.ndarray) -> np.ndarray:
        return (signed_root(some.astype(np.float32), power) - mean) / scale

    if not 0 < rank < width:
        return torch.from_numpy(standardised(found)), None
    flat = found.reshape(-1, width)
    sample = standardised(flat[rng.permutation(len(flat))[:_SAMPLE]])
    directions = np.linalg.eigh(sample.T @ sample)[1][:, : -rank - 1 : -1].astype(np.float32)
    codes = np.empty((*found.shape[:2], rank), dtype=np.float32)
    for start in range(0, len(found), 64):  # the whole in float32 would be twice the tokens
        codes[start : start + 64] = standardised(found[start : start + 64]) @ directions
    return torch.from_numpy(codes), torch.from_numpy(np.ascontiguousarray(directions))
