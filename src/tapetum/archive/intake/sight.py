"""One look at a file, in a child with limits: pseudonymised if asked, decoded once, described for everything after.

Digest, search of duplicates, quality and the disc's side all come from the same decode of about 512 pixels.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from tapetum.archive import duplicates, quality
from tapetum.archive.intake.laterality import Disc, find_disc
from tapetum.archive.pixels import Probe, decode, decode_sight
from tapetum.archive.store.catalog import SightRow
from tapetum.core.types import UNKNOWN, Laterality

LOOK = "tapetum.archive.intake.sight:look"
# Raised whenever what a sight holds is computed in another way: images are then looked at again.
VERSION = 2
SMALLEST_JUDGED = 28  # pixels: below it nothing is said of quality


@dataclass(frozen=True)
class Cleaning:
    """How the child is to pseudonymise a file.

    Attributes:
        secret, profile: of the key and its pseudonyms. patient_id: as the clinic writes it.
        identifiers: what else is known of the patient. modality: as the export says.
        ocr: look for text inside the field of view.
    """

    secret: bytes
    profile: str
    patient_id: str
    identifiers: Mapping[str, str]
    modality: str = UNKNOWN
    ocr: bool = False


@dataclass(frozen=True, eq=False)
class Sight:
    """What one look showed.

    Attributes:
        probe: size, samples, bits, frames and format.
        pixel_digest: SHA-256 of the decoded pixels (about 512): equal for equal pictures in different files.
        texture: descriptor for the search of duplicates. quality: features for the verdict on quality.
        disc: the optic disc, NaN where nothing was found.
        notes: remarks of the pseudonymisation.
        replaced: pseudonym → UID or number of the header that it stands for; kept sealed.
    """

    probe: Probe
    pixel_digest: str
    texture: Float32[np.ndarray, "d"]
    quality: Float32[np.ndarray, "q"]
    disc: Disc
    notes: tuple[str, ...] = ()
    replaced: Mapping[str, str] = field(default_factory=dict[str, str])

    def row(self, image_id: str) -> SightRow:
        """As the catalog keeps it."""
        facts: dict[str, Any] = {
            "version": VERSION, "width": self.probe.width, "height": self.probe.height,
            "channels": self.probe.channels, "bits": self.probe.bits, "frames": self.probe.frames,
            "format": self.probe.format, "pixels": self.pixel_digest,
            "disc": [None if math.isnan(v) else round(v, 4) for v in (self.disc.x, self.disc.y, self.disc.margin)],
        }  # fmt: skip
        return SightRow(image_id, facts, self.texture, self.quality)


def disc_side(facts: Mapping[str, Any]) -> Laterality:
    """The eye that the optic disc of a kept sight speaks for."""
    x, y, margin = (math.nan if value is None else float(value) for value in facts.get("disc", (None, None, None)))
    return Disc(x, y, margin).side


def see(image: UInt8[np.ndarray, "h w 3"], found: Probe, notes: tuple[str, ...] = ()) -> Sight:
    """Describe a decoded image.

    Args:
        image: RGB, about 512 pixels.
        found: what the file holds.
        notes: remarks to carry along.
    """
    large = min(image.shape[:2]) >= SMALLEST_JUDGED
    judged = quality.features(image) if large else np.full(len(quality.QUALITY_FEATURES), np.nan, np.float32)
    return Sight(found, pixel_digest(image), duplicates.describe(image), judged, find_disc(image), notes)


def pixel_digest(image: UInt8[np.ndarray, "h w 3"]) -> str:
    """SHA-256 of shape and samples."""
    return hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()


def look(data: bytes, cleaning: Cleaning | None = None, whole: bool = False) -> dict[str, Any]:
    """What the child does with one file.

    Args:
        data: the file's bytes as exported.
        cleaning: how to pseudonymise it, None to take it as it is.
        whole: decode every frame at its full size too, only to see that it can be.

    Returns:
        `data` (empty where the bytes stay as they are) and the sight's parts, in plain types: see `unpacked`.

    Raises:
        DataError: the file does not decode, or cannot be made safe.
    """
    image, found = decode_sight(data)
    kept, notes, replaced = b"", (), dict[str, str]()
    if cleaning is not None:
        from tapetum.archive.deidentify import Key, Pseudonyms, clean

        cleaned = clean(
            data, pseudonyms=Pseudonyms(Key(cleaning.secret), cleaning.profile), patient_id=cleaning.patient_id,
            identifiers=cleaning.identifiers, seen=image, modality=cleaning.modality, ocr=cleaning.ocr,
        )  # fmt: skip
        notes, replaced = cleaned.notes, dict(cleaned.replaced)
        if cleaned.data != data:
            kept = cleaned.data
            image, found = decode_sight(kept)
    if whole:
        for frame in range(found.frames):
            decode(kept or data, min_side=0, frame=frame)
    sight = see(image, found, notes)
    return {
        "data": kept, "probe": [found.width, found.height, found.channels, found.bits, found.format, found.frames],
        "pixels": sight.pixel_digest, "texture": sight.texture, "quality": sight.quality,
        "disc": [sight.disc.x, sight.disc.y, sight.disc.margin], "notes": list(notes),
        "replaced": replaced,
    }  # fmt: skip


def unpacked(answer: Mapping[str, Any]) -> tuple[bytes, Sight]:
    """A child's answer: the pseudonymised bytes (empty where they stay as they are) and the sight."""
    return answer["data"], Sight(
        Probe(*answer["probe"]), answer["pixels"], answer["texture"], answer["quality"], Disc(*answer["disc"]),
        tuple(answer["notes"]), answer["replaced"],
    )  # fmt: skip
