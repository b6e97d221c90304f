"""What the corruptions of real images share: where the camera saw something, and the phantom's corruptions on it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from tapetum.archive.quality.field import find_field
from tapetum.core.errors import UsageError
from tapetum.phantom.corruptions import Shot, corrupt

Image = UInt8[np.ndarray, "h w 3"]


def check_severity(severity: float) -> None:
    """Refuse a severity that is none.

    Raises:
        UsageError: outside 0..1.
    """
    if not 0 <= severity <= 1:
        raise UsageError(f"severity={severity}", "0 to 1", "severity=0.5")


def field_of(image: Image) -> Bool[np.ndarray, "h w"]:
    """Pixels inside the round field of view; the whole image where there is none.

    Example:
        >>> bool(field_of(np.full((40, 60, 3), 90, np.uint8)).all())
        True
    """
    rows, columns = image.shape[:2]
    found = find_field(image) if min(rows, columns) >= 16 else None
    if found is None or not found.found:
        return np.ones((rows, columns), dtype=bool)
    across = (np.arange(columns) - found.x) / found.radius_x
    down = (np.arange(rows) - found.y) / found.radius_y
    inside = down[:, None] ** 2 + across[None, :] ** 2 <= 1
    return inside if inside.any() else np.ones((rows, columns), dtype=bool)


def as_the_phantom(
    image: Image, kind: str, severity: float, rng: np.random.Generator, *, inside: bool = False
) -> Image:
    """A corruption of the phantom on a real image; a grey image stays grey.

    Args:
        image: RGB.
        kind: of `phantom.corruptions.KINDS`, but no framing.
        severity: 0..1.
        rng: places and noise.
        inside: only within the field of view, as light from the eye is; else everywhere, as a sensor or a file does.

    Raises:
        UsageError: a severity out of range.
    """
    check_severity(severity)
    if severity == 0:
        return image.copy()
    field = field_of(image) if inside else np.ones(image.shape[:2], dtype=bool)
    nowhere = (image.shape[1] / 2, image.shape[0] / 2)
    spoilt = corrupt(Shot(image, field, nowhere, nowhere), kind, severity, rng=rng).image
    if (image == image[..., :1]).all():
        spoilt = np.repeat(spoilt[..., 1:2], 3, axis=2)
    return np.where(field[..., None], spoilt, image)


def light_of(image: Image) -> Float32[np.ndarray, "h w 3"]:
    """The image in 0..1."""
    return image.astype(np.float32) / np.float32(255)


def image_of(light: Float32[np.ndarray, "h w 3"]) -> Image:
    """Light in 0..1 as an 8-bit image; what is brighter or darker is cut off."""
    return np.clip(np.rint(light * 255), 0, 255).astype(np.uint8)


def border_colour(image: Image) -> tuple[float, float, float]:
    """Median colour of the outermost pixels: what lies outside the frame, as far as one can know."""
    edge = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    red, green, blue = np.median(edge, axis=0).tolist()
    return red, green, blue
