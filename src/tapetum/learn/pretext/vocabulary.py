"""The words of the reports as numbers, for tasks that predict them from the image."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

PAD = 0  # the number of no word
_WORD = re.compile(r"[^\W_]+|[一-鿿]", re.UNICODE)


@dataclass(frozen=True)
class Words:
    """The text of each row as word numbers.

    Attributes:
        tokens: word number + 1, `PAD` after the end of a text; a row of `PAD` alone has no text.
        vocabulary: the words by number.
    """

    tokens: Int[np.ndarray, "n l"]
    vocabulary: tuple[str, ...]


def words_of(texts: Sequence[str], *, most: int = 1024, length: int = 32) -> Words:
    """Number the words of texts, frequent ones first.

    Args:
        texts: one per row; may be empty.
        most: words of the vocabulary; rarer ones are left out of the texts.
        length: words of a text that are kept.

    Example:
        >>> words_of(["hard exudate", "", "Hard drusen"]).tokens.tolist()
        [[1, 3], [0, 0], [1, 2]]
    """
    split = [_WORD.findall(text.lower()) for text in texts]
    counts = Counter(word for words in split for word in words)
    vocabulary = tuple(sorted(counts, key=lambda word: (-counts[word], word))[:most])
    number = {word: i + 1 for i, word in enumerate(vocabulary)}
    rows = [[number[word] for word in words if word in number][:length] for words in split]
    tokens = np.full((len(rows), max((len(row) for row in rows), default=0)), PAD, dtype=np.int64)
    for row, found in zip(tokens, rows, strict=True):
        row[: len(found)] = found
    return Words(tokens, vocabulary)
