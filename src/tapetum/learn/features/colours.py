"""Red and blue in the wrong places: what one image cannot prove, a batch can.

A colour fundus photograph is red before green before blue, since blood and pigment swallow short waves. A program that
hands on blue-green-red turns that round in every image; lenses, pigment and lamps do not.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from tapetum.archive import Archive
from tapetum.core.errors import DataError, TapetumError
from tapetum.core.store import atomic_write
from tapetum.knowledge import load_pack

BOUND = 0.1  # share of a batch that may look swapped
SAMPLE = 128  # images of an archive that are looked at
CHANNELS = ("red", "green", "blue")
_DARK = 15  # grey levels up to which a pixel counts as surround
_MARGIN = 2.0  # grey levels by which the wrong channel must be brighter: a grey picture has no colours to swap
_SIDE = 64
_FILE, _VERSION = "colours.json", 1


@dataclass(frozen=True)
class Colours:
    """What a batch of images looks like beside what its pack expects.

    Attributes:
        expected: channels from the brightest to the darkest.
        names: of the images that were looked at. swapped: of those that look as if channels were swapped.
        dark: of those without a pixel above 1, as 0..1 written into whole numbers is.
        means: over all images, inside the field of view, of red, green and blue in grey levels.
    """

    expected: tuple[str, ...]
    names: tuple[str, ...]
    swapped: tuple[str, ...]
    dark: tuple[str, ...]
    means: tuple[float, ...]

    def refuse(self, *, only_warn: bool = False) -> None:
        """Raise where too many images look wrong.

        Args:
            only_warn: say it as a warning instead.

        Raises:
            DataError: more than a tenth look swapped, or are black but for 0 and 1.
        """
        for found, what, then in (
            (self.swapped, self._as_swapped(), "read the files as red, green, blue (OpenCV gives blue first)"),
            (self.dark, "hold no value above 1, as 0..1 does when it is made whole", "scale to 0..255 before saving"),
        ):
            if len(found) > BOUND * len(self.names):
                said = DataError(
                    f"{len(found)} of {len(self.names)} images {what}; first {found[0][:80]}",
                    f"{' brighter than '.join(self.expected)} inside the field of view, 0..255",
                    f"{then} and ingest them again; check_colours=false if they are meant to be so",
                )
                if not only_warn:
                    raise said
                warnings.warn(f"{said.found}; expected {said.expected}", RuntimeWarning, stacklevel=3)

    def _as_swapped(self) -> str:
        last, first = self.expected[-1], self.expected[0]
        seen = ", ".join(f"{name} {mean:.0f}" for name, mean in zip(CHANNELS, self.means, strict=True))
        return f"have more {last} than {first}, as swapped channels have (means of all: {seen})"


def colours_of(
    images: Sequence[UInt8[np.ndarray, "_ _ 3"]], names: Sequence[str], expected: tuple[str, ...]
) -> Colours:
    """Look at a batch.

    Args:
        images: 8-bit RGB.
        names: of the images, for the message.
        expected: channels from the brightest to the darkest, as a pack states them.

    Example:
        >>> blue = np.full((4, 4, 3), (30, 60, 120), np.uint8)
        >>> colours_of([blue, blue[..., ::-1]], ["a", "b"], CHANNELS).swapped
        ('a',)
    """
    means = np.array([channel_means(image) for image in images]).reshape(-1, 3)
    first, last = CHANNELS.index(expected[0]), CHANNELS.index(expected[-1])
    swapped = means[:, last] - means[:, first] > _MARGIN
    dark = [image.max(initial=0) <= 1 for image in images]
    whole = means.mean(0) if len(means) else np.zeros(3)
    return Colours(
        expected,
        tuple(names),
        tuple(name for name, wrong in zip(names, swapped, strict=True) if wrong),
        tuple(name for name, wrong in zip(names, dark, strict=True) if wrong),
        tuple(map(float, whole)),
    )


def joined(parts: Sequence[Colours]) -> Colours:
    """Several batches as one; at least one."""
    counts = np.array([len(part.names) for part in parts], dtype=np.float64)
    means = np.array([part.means for part in parts]).T @ (counts / max(counts.sum(), 1))
    names, swapped, dark = (
        tuple(name for part in parts for name in getattr(part, which)) for which in ("names", "swapped", "dark")
    )
    return Colours(parts[0].expected, names, swapped, dark, tuple(map(float, means)))


def channel_means(image: UInt8[np.ndarray, "_ _ 3"]) -> Float[np.ndarray, "3"]:
    """Mean red, green and blue of the pixels that are not surround; of all where there are none others."""
    step = max(1, min(image.shape[:2]) // _SIDE)
    small = image[::step, ::step]
    inside = small[small.max(axis=2) > _DARK]
    return (inside if len(inside) else small.reshape(-1, 3)).mean(axis=0, dtype=np.float64)


def expected_colours(pack: str) -> tuple[str, ...]:
    """Channels from the brightest to the darkest as a pack states them; empty where it does not, or there is none."""
    return load_pack(pack).colours if pack else ()


def check_archive(archive: Archive, pack: str = "", *, check: bool = True) -> None:
    """Refuse an archive whose photographs have red and blue swapped; looked at once, then remembered in its cache.

    Args:
        archive: up to 128 of its images, evenly spread, are decoded small.
        pack: whose colours count; the archive's own if empty.
        check: False = say it as a warning.

    Raises:
        DataError: see `Colours.refuse`.
    """
    expected = expected_colours(pack or archive.pack)
    if not expected or not archive.records:
        return
    key = [archive.digest, list(expected), _VERSION]
    known: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError, TypeError):
        known = dict(json.loads((archive.cache / _FILE).read_text(encoding="utf-8")))
    if known.get("key") != key:
        found = _looked_at(archive, expected)
        known = {"key": key, **{name: getattr(found, name) for name in ("names", "swapped", "dark", "means")}}
        with contextlib.suppress(OSError):  # a full disk, or an archive that may only be read
            atomic_write(archive.cache / _FILE, json.dumps(known) + "\n")
    lists = (tuple(known[name]) for name in ("names", "swapped", "dark", "means"))
    Colours(expected, *lists).refuse(only_warn=not check)


def _looked_at(archive: Archive, expected: tuple[str, ...]) -> Colours:
    """An even sample; what does not decode is left to whoever needs it."""
    records = archive.records
    chosen = [records[i] for i in np.unique(np.linspace(0, len(records) - 1, min(SAMPLE, len(records))).astype(int))]
    images, names = list[UInt8[np.ndarray, "_ _ 3"]](), list[str]()
    for record in chosen:
        try:
            images.append(archive.pixels(record.image_id, min_side=_SIDE))
            names.append(record.source or record.image_id)
        except (OSError, TapetumError):
            continue
    return colours_of(images, names, expected)
