"""The texts of all images, each wording encoded once, and which of them stand in an epoch."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from tapetum.core.registry import Family
from tapetum.core.types import ImageRecord
from tapetum.knowledge import Pack
from tapetum.learn.wording import Wording

EncodeText = Callable[[Sequence[str]], Any]
Texts = tuple[Mapping[str, float], ...]
MOST_GROUPS = 12
_BETWEEN_GROUPS = re.compile(r"[.!?](?:\s+|$)|[;。；！？\n]+|,\s+|，")


@dataclass(frozen=True)
class Alternatives:
    """Images with several texts, or texts with several wordings.

    Attributes:
        features: one row per different wording.
        place: of image i, text s and wording a the row of `features`, −1 where there is none.
        chance: of being drawn, summing to 1 over the wordings of a text; 0 where there is none.
    """

    features: Float[np.ndarray, "u t"]
    place: Int[np.ndarray, "n s a"]
    chance: Float[np.ndarray, "n s a"]

    def draw(self, rng: np.random.Generator | None) -> Int[np.ndarray, "n s"]:
        """One wording per text and image, −1 where an image lacks the text; the first without a generator."""
        if rng is None:
            return self.place[:, :, 0]
        below = rng.random(self.place.shape[:2])[:, :, None] < self.chance.cumsum(2)
        # the last wording takes what rounding leaves of the sum
        last = np.maximum((self.place >= 0).sum(2) - 1, 0)
        chosen = np.where(below.any(2), below.argmax(2), last)
        return np.take_along_axis(self.place, chosen[:, :, None], 2)[:, :, 0]

    def mean(self) -> Float[np.ndarray, "n t"]:
        """The features that a regression with every wording as often as its chance says would be fitted to."""
        present = (self.place >= 0).any(2)
        share = self.chance / np.maximum(present.sum(1), 1)[:, None, None]
        out = np.zeros((len(self.place), self.features.shape[1]))
        for text in range(self.place.shape[1]):
            for wording in range(self.place.shape[2]):
                out += share[:, text, wording, None] * self.features[self.place[:, text, wording]]
        return out

    def rows(self, rows: Int[np.ndarray, "m"]) -> Alternatives:
        """Those of some images."""
        return Alternatives(self.features, self.place[rows], self.chance[rows])


@dataclass(frozen=True)
class Groups:
    """What the text of each image says piece by piece.

    Attributes:
        features: one row per different piece.
        place: of image i and piece s the row of `features`, −1 where there is none; an image has each piece once.
    """

    features: Float[np.ndarray, "u t"]
    place: Int[np.ndarray, "n s"]

    def rows(self, rows: Int[np.ndarray, "m"]) -> Groups:
        """Those of some images."""
        return Groups(self.features, self.place[rows])


def word_groups(text: str) -> tuple[str, ...]:
    """Sentences and the parts of lists, each once, in their order; at most the first dozen.

    Example:
        >>> word_groups("Scattered drusen, no haemorrhage. Cup 0.5; drusen.")
        ('Scattered drusen', 'no haemorrhage', 'Cup 0.5', 'drusen')
    """
    parts = (part.strip(" .;") for part in _BETWEEN_GROUPS.split(text))
    return tuple(dict.fromkeys(part for part in parts if part))[:MOST_GROUPS]


def encode_groups(texts: Sequence[str], encode_text: EncodeText) -> Groups:
    """Every different piece of the texts once through the text tower.

    Args:
        texts: of every image, none empty.
        encode_text: texts → float array [n t].
    """
    pieces = [word_groups(text) or (text,) for text in texts]
    unique = sorted({piece for of in pieces for piece in of})
    number = {piece: i for i, piece in enumerate(unique)}
    place = np.full((len(texts), max(map(len, pieces))), -1, dtype=np.intp)
    for i, of in enumerate(pieces):
        place[i, : len(of)] = [number[piece] for piece in of]
    return Groups(np.asarray(encode_text(unique), dtype=np.float64), place)


@lru_cache(maxsize=32)
def wording_of(spec: str) -> Wording:
    """A member of `learn/wording`."""
    return Family("tapetum.learn.wording").build(spec)


def first_text(texts: Texts) -> str:
    """The text that stands for an image wherever one has to; `""` where nothing is said."""
    return next((text for of in texts for text in of), "")


def image_text(record: ImageRecord, pack: Pack | None, wording: str) -> str:
    """The words that stand for an image, for example where images are searched for by them.

    Args:
        record: of the image.
        pack: domain pack, None where there is none.
        wording: member of `learn/wording`, for example `report`, `eye`, `visible` or `findings`.

    Returns:
        Text, `""` where nothing is said.

    Raises:
        UsageError: an unknown member, or one that needs a pack without a pack.
    """
    return first_text(wording_of(wording)(record, pack))


def encode_all(texts: Sequence[Texts], encode_text: EncodeText) -> tuple[Float[np.ndarray, "n t"], Alternatives | None]:
    """Every different wording once through the text tower.

    Args:
        texts: of every image, at least one each.
        encode_text: texts → float array [n t].

    Returns:
        What a regression is fitted to; and the alternatives, None where every image has one text with one wording.
    """
    unique = sorted({wording for of in texts for text in of for wording in text})
    features = np.asarray(encode_text(unique), dtype=np.float64)
    number = {wording: i for i, wording in enumerate(unique)}
    if all(len(of) == 1 and len(of[0]) == 1 for of in texts):
        return features[[number[first_text(of)] for of in texts]], None
    shape = (len(texts), max(map(len, texts)), max(len(text) for of in texts for text in of))
    place, chance = np.full(shape, -1, dtype=np.intp), np.zeros(shape)
    for i, of in enumerate(texts):
        for s, text in enumerate(of):
            place[i, s, : len(text)] = [number[wording] for wording in text]
            chance[i, s, : len(text)] = list(text.values())
    found = Alternatives(features, place, chance)
    return found.mean(), found
