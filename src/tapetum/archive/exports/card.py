"""What is known of a public data set before it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Card:
    """What is known of a public data set.

    Attributes:
        layout: path below the root → what the file holds (for a table: its columns; for an archive of arrays: their
            names).
        label_map: label text → finding of the pack; labels not named keep their own text.
        counts: file or part → number of images known from the real data.
        pack: domain pack, empty where there is none. modality: of all images.
    """

    name: str
    licence: str
    source: str
    layout: Mapping[str, tuple[str, ...]]
    counts: Mapping[str, int]
    label_map: Mapping[str, str] = field(default_factory=dict[str, str])
    pack: str = ""
    modality: str = "unknown"
