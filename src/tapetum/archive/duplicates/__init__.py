"""Images met twice: the same pixels, or the same photograph re-encoded, resized, cropped, mirrored, lit otherwise."""

from tapetum.archive.duplicates.pairs import (
    THRESHOLD,
    Pair,
    Textures,
    copies,
    duplicate_pairs,
    equal_copies,
    groups,
    pairs_of,
    textures,
)
from tapetum.archive.duplicates.texture import SMALLEST_SIDE, describe

__all__ = [
    "SMALLEST_SIDE",
    "THRESHOLD",
    "Pair",
    "Textures",
    "copies",
    "describe",
    "duplicate_pairs",
    "equal_copies",
    "groups",
    "pairs_of",
    "textures",
]
