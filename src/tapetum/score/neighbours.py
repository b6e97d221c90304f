"""The largest inner products with a bank of vectors, block by block."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float32

BLOCK = 1024  # rows of queries at a time: 1,024 x 100,000 products take 400 MB


def blocks(rows: Float32[np.ndarray, "m d"]) -> Iterator[Float32[np.ndarray, "b d"]]:
    """The rows, a block at a time."""
    for first in range(0, len(rows), BLOCK):
        yield rows[first : first + BLOCK]


def top_products(
    rows: Float32[np.ndarray, "b d"], bank: Float32[np.ndarray, "n d"], k: int
) -> Float32[np.ndarray, "b k"]:
    """The k largest inner products of each row with the bank, the smallest of them first, the others in no order."""
    products = rows @ bank.T
    return np.partition(products, products.shape[1] - k, axis=1)[:, -k:]
