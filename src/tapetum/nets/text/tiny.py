"""Hashed words and letter triples: a text encoder without weights, for tests."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tapetum.core.errors import UsageError
from tapetum.nets.spec import TextSpec

__all__ = ["tiny"]

_HASHES = 4


class _Tiny(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.spec = TextSpec(f"tiny-{dim}", dim, hashlib.sha256(f"tiny text 1 {dim}".encode()).hexdigest())

    def forward(self, texts: Sequence[str]) -> Float[Tensor, "k d"]:
        rows = np.zeros((len(texts), self.spec.dim), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for weight, feature in _features(text):
                # SHA-256 and not hash(): the latter is salted anew in every process.
                for word in np.frombuffer(hashlib.sha256(feature.encode()).digest(), dtype="<u4")[:_HASHES]:
                    row[int(word >> 1) % self.spec.dim] += weight if word & 1 else -weight
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        return torch.from_numpy(rows / np.where(lengths > 0, lengths, 1))


def _features(text: str) -> list[tuple[float, str]]:
    words = re.findall(r"\w+", text.lower())
    triples = [f"#{padded[i : i + 3]}" for padded in (f" {w} " for w in words) for i in range(len(padded) - 2)]
    return [(1.0, word) for word in words] + [(0.3, triple) for triple in triples]


def tiny(*, dim: int = 64) -> _Tiny:
    """Signed hashing of words and letter triples; the same in every process and on every machine.

    Args:
        dim: columns of the output, at least 2.

    Returns:
        A text encoder; rows have length 1, an empty text is all zeros.

    Raises:
        UsageError: dim is below 2.

    Example:
        >>> a, b, c = tiny()(["hard exudates", "hard exudate", "glaucoma"])
        >>> bool(a @ b > a @ c)
        True

    Source: Weinberger et al., ICML 2009, arXiv 0902.2206 (feature hashing). Differs: four signed places per feature;
    letter triples at weight 0.3.
    """
    if dim < 2:
        raise UsageError(f"dim={dim} for tiny", "at least 2", "dim=64")
    return _Tiny(dim).eval()
