"""Texts without case and accents, with the way back to the original positions."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

_SPECIAL = {"ø": "o", "đ": "d", "ł": "l", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ß": "ss", "ı": "i", "ħ": "h"}


@lru_cache(maxsize=4096)
def fold_letter(letter: str) -> str:
    """One character, folded; may be of any length, empty for a combining mark."""
    plain = "".join(
        _SPECIAL.get(part, part)
        for part in unicodedata.normalize("NFKD", letter.casefold())
        if not unicodedata.combining(part)
    )
    return "".join(_SPECIAL.get(part, part) for part in plain.casefold())


def fold(text: str) -> tuple[str, list[int] | None]:
    """Fold a text and say where each folded character came from.

    Args:
        text: any text.

    Returns:
        The folded text, and for each of its characters the position in `text` (one more entry for the end); None where
        positions are unchanged.

    Example:
        >>> fold("Groß")
        ('gross', [0, 1, 2, 3, 3, 4])
        >>> fold("Anna")
        ('anna', None)
    """
    if text.isascii():
        return text.lower(), None
    letters = [fold_letter(letter) for letter in text]
    if all(len(letter) == 1 for letter in letters):
        return "".join(letters), None
    places = [place for place, letter in enumerate(letters) for _ in letter]
    return "".join(letters), [*places, len(text)]
