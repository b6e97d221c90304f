"""The camera: light, lens, colours and edge of the field. Three styles stand for three makers' domain shift."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from tapetum.core.errors import UsageError
from tapetum.core.registry import nearest
from tapetum.phantom.canvas import Plane, Pose, ramp
from tapetum.phantom.spec import EyeSpec

Picture = Float32[np.ndarray, "3 h w"]
STEPS = 2048  # of the tone curve
VEIL = (0.60, 0.54, 0.38)  # colour of light scattered by a cataract


@dataclass(frozen=True)
class CameraStyle:
    """How one maker's camera draws the same eye.

    Args:
        tint: gain of red, green and blue. gamma: exponent of the tone curve, below 1 lifts the shadows.
        vignette: loss of light at the edge, 0..1. blur: standard deviation of the lens, field radii.
        zoom: 1 = 45° field, above 1 = narrower. reach: radius of the field over half the image's side.
        notch: a small tab at the edge that shows which way is up. grain: sensor noise, 0..1.
        jpeg_quality: 1 to 100.
    """

    tint: tuple[float, float, float]
    gamma: float
    vignette: float
    blur: float
    zoom: float
    reach: float
    notch: bool
    grain: float
    jpeg_quality: int


CAMERAS: Mapping[str, CameraStyle] = MappingProxyType(
    {
        "cam_a": CameraStyle((1.02, 1.00, 0.98), 0.96, 0.34, 0.0030, 1.00, 0.965, False, 0.010, 92),
        "cam_b": CameraStyle((0.94, 1.06, 1.22), 0.86, 0.46, 0.0042, 0.94, 0.985, True, 0.016, 84),
        "cam_c": CameraStyle((1.06, 0.93, 0.76), 1.05, 0.24, 0.0055, 1.08, 0.945, False, 0.008, 75),
    }
)


def camera_style(name: str) -> CameraStyle:
    """The style of a camera.

    Raises:
        UsageError: no such camera; the message names the nearest one.
    """
    if name not in CAMERAS:
        raise UsageError(f"unknown camera {name!r}", nearest(name, list(CAMERAS)))
    return CAMERAS[name]


@functools.cache
def _tone_curve(gamma: float) -> Float32[np.ndarray, "n"]:
    """Grey level 0..255 for light 0..2: shadows by gamma, highlights rolled off instead of cut."""
    toned = np.linspace(0, 2, STEPS) ** gamma
    return (255 * np.where(toned > 0.8, 1 - 0.2 * np.exp(-(toned - 0.8) * 5), toned)).astype(np.float32)


def stand(eye: EyeSpec, rng: np.random.Generator) -> Pose:
    """How the eye was framed on this day: small shifts, turns, and a large shift when `off_centre`."""
    style = camera_style(eye.camera)
    offset = rng.normal(0, 0.022, 2)
    angle = rng.normal(0, 1.8)
    far = rng.uniform(0, 2 * np.pi)
    if eye.quality == "off_centre":
        offset = offset + 0.34 * np.array([np.cos(far), np.sin(far)])
    return Pose((float(offset[0]), float(offset[1])), float(angle), style.zoom, style.reach)


def field_of_view(style: CameraStyle, x: Plane, y: Plane) -> Bool[np.ndarray, "h w"]:
    """Pixels that the camera exposes; `x` and `y` in radii of the field, image axes."""
    inside = x * x + y * y <= 1.0
    if style.notch:
        dx, dy = x - np.float32(0.7071), y + np.float32(0.7071)
        inside = inside | (dx * dx + dy * dy <= 0.05**2)
    return inside


def photograph(
    retina: Picture, eye: EyeSpec, haze: float, x: Plane, y: Plane, rng: np.random.Generator
) -> tuple[UInt8[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"]]:
    """Turn a lit retina into the picture a camera stores.

    Args:
        retina: colours in 0..1.
        eye: names camera, quality, age and marker.
        haze: opacity of the lens, 0 = clear.
        x: place of every pixel in radii of the field, to the right.
        y: the same, downwards.
        rng: light and sensor noise of this picture.

    Returns:
        The picture (red, green, blue) and the pixels of the field of view.
    """
    style = camera_style(eye.camera)
    size = retina.shape[1]
    blur, gain, veil = style.blur, float(rng.normal(1.0, 0.05)), haze
    if eye.quality == "blur":
        blur += 0.028
    if eye.quality == "dark":
        gain *= 0.36
    if eye.quality == "haze":
        veil = max(veil, 0.45)
    blur += 0.022 * veil
    lamp = rng.normal(0, 0.16, 2)
    radius = (x - np.float32(lamp[0])) ** 2 + (y - np.float32(lamp[1])) ** 2
    light = (1 - np.float32(style.vignette) * np.minimum(radius, 1.6) * np.float32(0.62)) * np.float32(gain)
    old = np.float32(max(0.0, eye.age_years - 40) / 50)
    tint = np.array(style.tint) * np.array([1, 1 - 0.03 * old, 1 - 0.22 * old])
    if eye.marker == "cast":
        tint = tint * np.array([0.86, 1.02, 1.22])
    grain = rng.standard_normal((size, size), dtype=np.float32) * (np.float32(style.grain) * (0.6 + 0.4 * light))
    curve = _tone_curve(style.gamma)
    inside = field_of_view(style, x, y)
    edge = inside.astype(np.float32) if style.notch else ramp(np.sqrt(x * x + y * y), 1.0, 0.985)
    planes: list[UInt8[np.ndarray, "h w"]] = []
    for plane, gain_of, veil_of in zip(retina, tint.tolist(), VEIL, strict=True):
        lit = cv2.GaussianBlur(plane, (0, 0), max(blur * size / 2 * style.reach, 0.3))
        # A cloudy lens lays its own scattered light over the retina.
        lit *= np.float32((1 - 0.86 * veil) * gain_of)
        lit += np.float32(0.86 * veil * veil_of * gain_of)
        lit *= light
        lit += grain
        lit *= np.float32(STEPS / 2)
        toned = curve.take(np.clip(lit, 0, STEPS - 1, out=lit).astype(np.int32))
        toned *= edge
        toned += np.float32(0.5)
        planes.append(toned.astype(np.uint8))
    picture = cv2.merge(planes)
    if eye.marker == "corner":
        side = max(3, round(size * 0.035))
        margin = max(1, round(size * 0.02))
        picture[margin : margin + side, margin : margin + side] = (235, 235, 225)
    return picture, inside
