"""Masks of the region that should matter, and images with it hidden or with nothing else shown."""

from __future__ import annotations

import functools
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from tapetum.archive import decode
from tapetum.archive.quality.field import find_field
from tapetum.bench.altered.changed import Change, Image, rng_of
from tapetum.core.errors import DataError, UsageError
from tapetum.core.types import ImageRecord

Mask = Bool[np.ndarray, "h w"]
CENTRE, BORDER, FIELD, FILE = "centre", "border", "field", "file"
FILLS = ("mean", "grey", "blur")
STEPS: Mapping[str, tuple[float, ...]] = {
    CENTRE: (0.25, 0.5, 0.75, 0.9), BORDER: (0.25, 0.5, 0.75, 0.9), FIELD: (0.25, 0.5, 0.75, 1.0),
    FILE: (0.0, 0.05, 0.1, 0.2),
}  # fmt: skip
GREY, INSIDE = 127, 200
RIM = 1.03  # of the field's radius: its soft rim belongs to it
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


def grown(image: Image, region: str, share: float) -> Mask:
    """A region that covers a share of an image, or of its field of view.

    Args:
        image: RGB.
        region: `centre`, an ellipse in the middle; `border`, the rectangle that a ring along the border leaves free;
            `field`, a circle about the middle of the field of view, the whole image's ellipse where none is found.
        share: of the image's area, of the field's area; 0..1.

    Example:
        >>> float(grown(np.zeros((40, 60, 3), np.uint8), "border", 0.25).mean())
        0.25
    """
    rows, columns = image.shape[:2]
    if region == FIELD:
        found = find_field(image)
        across = (np.arange(columns) - found.x) / (RIM * found.radius_x)
        down = (np.arange(rows) - found.y) / (RIM * found.radius_y)
        return down[:, None] ** 2 + across[None, :] ** 2 <= share
    across, down = (np.abs(2 * np.arange(n) + 1 - n) / n for n in (columns, rows))
    join = np.maximum if region == BORDER else np.hypot
    away = join(down[:, None], across[None, :])
    limit = np.quantile(away, share)
    return away <= limit if limit < away.max() else away < limit  # few pixels: the outermost stay outside


@dataclass(frozen=True)
class MaskFiles:
    """Masks in files that are named after the images: `NAME_mask.png`, or several: `NAME_mask_1.png`.

    Attributes:
        of: stem of the image → its mask files.
    """

    of: Mapping[str, Sequence[Path]]

    @staticmethod
    def find(folder: Path, suffix: str) -> MaskFiles:
        """All mask files in a folder and below it.

        Args:
            folder: where they lie.
            suffix: what follows the image's name, for example `_mask`.

        Raises:
            DataError: there are none.
        """
        named = re.compile(rf"(.+){re.escape(suffix)}(_\d+)?")
        found = defaultdict[str, list[Path]](list)
        for path in sorted(folder.rglob("*")):
            match = named.fullmatch(path.stem)
            if match and path.suffix.lower() in SUFFIXES:
                found[match[1]].append(path)
        if not found:
            raise DataError(
                f"no mask in {folder}", f"NAME{suffix}.png beside NAME.png", "masks='FOLDER', suffix='_mask'"
            )
        return MaskFiles(dict(found))

    def mask(self, record: ImageRecord) -> Mask | None:
        """All masks of an image in one; None where it has none, or they are empty."""
        mask = _loaded(tuple(self.of.get(Path(record.source).stem, ())))
        return mask if mask is not None and mask.any() else None


@functools.lru_cache(maxsize=64)
def _loaded(paths: tuple[Path, ...]) -> Mask | None:
    masks = [decode(path.read_bytes(), min_side=0).max(axis=2) > GREY for path in paths]
    if len({m.shape for m in masks}) > 1:
        raise DataError(f"masks of {paths[0].name} have several sizes", "one size")
    return np.logical_or.reduce(masks) if masks else None


@dataclass(frozen=True)
class Masker:
    """Where to mask, and what to put there.

    Args:
        region: `centre`, `border`, `field` or `file`. fill: `mean` of what stays to be seen, `grey`, or `blur`.
        seed: of the control's places. files: for `file`.

    Raises:
        UsageError: an unknown region or fill, or files without `file`.
    """

    region: str
    fill: str
    seed: int
    files: MaskFiles | None = None

    def __post_init__(self) -> None:
        if self.region not in STEPS or (self.region == FILE) != (self.files is not None):
            raise UsageError(f"region={self.region!r}", ", ".join(STEPS), "region='file' with masks='FOLDER'")
        if self.fill not in FILLS:
            raise UsageError(f"fill={self.fill!r}", ", ".join(FILLS), "fill='mean'")

    def matters(self, image: Image, record: ImageRecord, step: float) -> Mask:
        """The region: of this share, or the file's mask grown by this share of the shorter side."""
        rows, columns = image.shape[:2]
        if self.files is None:
            return grown(image, self.region, step)
        mask = self.files.mask(record)
        if mask is None:
            raise DataError(f"{record.source} has no mask", "only images with one")
        small = cv2.resize(mask.astype(np.uint8), (columns, rows), interpolation=cv2.INTER_NEAREST)
        reach = round(step * min(rows, columns))
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
        return np.asarray(cv2.dilate(small, kernel)) > 0

    def elsewhere(self, mask: Mask, record: ImageRecord) -> Mask:
        """The same shape at a place drawn at random, what leaves at one side comes in at the other."""
        away = rng_of(self.seed, "elsewhere", record).random(2) * mask.shape
        return np.roll(mask, (int(away[0]), int(away[1])), axis=(0, 1))

    def versions(self, steps: Sequence[float]) -> Iterator[tuple[str, Change]]:
        """Rows and changes: region hidden and region only, and the same at a random place, for each step."""
        for random in (False, True):
            for only in (False, True):
                for step in steps:
                    name = f"{'random ' if random else ''}{'only' if only else 'hidden'} {step:g}"
                    yield name, functools.partial(self._change, step=step, only=only, random=random)

    def shapes(self, steps: Sequence[float]) -> Iterator[tuple[str, Change]]:
        """The masks themselves as light shapes on grey: what the form of the hole tells."""
        for step in steps:
            yield f"shape {step:g}", functools.partial(self._shape, step=step)

    def _change(self, image: Image, record: ImageRecord, *, step: float, only: bool, random: bool) -> Image:
        mask = self.matters(image, record, step)
        mask = self.elsewhere(mask, record) if random else mask
        return filled(image, mask if only else ~mask, self.fill)

    def _shape(self, image: Image, record: ImageRecord, *, step: float) -> Image:
        mask = self.matters(image, record, step)
        return np.where(mask[..., None], np.uint8(INSIDE), np.full_like(image, GREY))


def filled(image: Image, seen: Mask, fill: str) -> UInt8[np.ndarray, "h w 3"]:
    """The image with everything but `seen` replaced.

    Args:
        image: RGB.
        seen: what stays.
        fill: `mean`: the mean colour of what stays, so that nothing of the rest is told (grey where nothing stays);
            `grey`; `blur`: the image without detail, which tells colour and brightness of what is hidden.

    Example:
        >>> image = np.array([[[10, 20, 30], [200, 200, 200]]], np.uint8)
        >>> filled(image, np.array([[True, False]]), "mean")[0, 1].tolist()
        [10, 20, 30]
    """
    if fill == "blur":
        other = np.asarray(cv2.GaussianBlur(image, (0, 0), 0.1 * min(image.shape[:2])))
    else:
        colour = image[seen].mean(axis=0) if fill == "mean" and seen.any() else np.full(3, GREY)
        other = np.broadcast_to(np.rint(colour).astype(np.uint8), image.shape)
    return np.where(seen[..., None], image, other)
