"""Which words stand for an image: one file, one way.

An image may have several texts, each of which it is aligned with (facets, levels), and each text may have several
wordings, of which one is drawn anew in every epoch (descriptions).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from tapetum.core.types import ImageRecord
from tapetum.knowledge import Pack


class Wording(Protocol):
    """`(record, pack or None, *, …options) -> texts`: for each text its wordings with their chance of being drawn."""

    def __call__(self, record: ImageRecord, pack: Pack | None) -> tuple[Mapping[str, float], ...]:
        """Texts of an image. The first wording of the first text stands for the image wherever one text has to.

        A text that this image lacks is an empty mapping, so that the place of a text tells what it is about; chances
        of one text sum to 1. `()` where nothing is said.
        """
        ...
