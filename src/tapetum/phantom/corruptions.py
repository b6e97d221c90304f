"""Known corruptions of a phantom photograph with continuous strength, and how much of the eye stays visible.

Strength runs from 0 (nothing) to 1 (nobody could read it); lengths are in radii of the field, so that a corruption
does not depend on the image's size (JPEG, noise and pixelation do, as in life). `TRAINED` kinds may teach a quality
model; `HELD_OUT` kinds never do, they only measure one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from tapetum.core.errors import UsageError
from tapetum.core.registry import nearest
from tapetum.phantom.camera import VEIL
from tapetum.phantom.render import RenderedEye

Plane = Float32[np.ndarray, "h w"]
Light = Float32[np.ndarray, "h w 3"]  # 0..1
Change = Callable[[Light, "Shot", float, np.random.Generator], Light]


@dataclass(frozen=True)
class Shot:
    """A photograph with what its visibility depends on.

    Attributes:
        image: red, green, blue. field: pixels of the field of view.
        disc, fovea: x and y in pixels; may lie outside the image. kept: share of the field's area inside the frame.
    """

    image: UInt8[np.ndarray, "h w 3"]
    field: Bool[np.ndarray, "h w"]
    disc: tuple[float, float]
    fovea: tuple[float, float]
    kept: float = 1.0

    @property
    def circle(self) -> tuple[float, float, float]:
        """Centre and radius of the field in pixels, from the extent of its pixels."""
        rows, columns = np.flatnonzero(self.field.any(axis=1)), np.flatnonzero(self.field.any(axis=0))
        radius = max(rows[-1] - rows[0], columns[-1] - columns[0]) / 2
        return float(columns[0] + columns[-1]) / 2, float(rows[0] + rows[-1]) / 2, float(radius)


def shot_of(eye: RenderedEye) -> Shot:
    """The photograph of a rendered eye, ready to be corrupted."""
    disc, fovea = eye.landmarks["disc"], eye.landmarks["fovea"]
    return Shot(eye.image, eye.masks["field_of_view"], (disc[0], disc[1]), (fovea[0], fovea[1]))


def corrupt(shot: Shot, kind: str, strength: float, *, rng: np.random.Generator) -> Shot:
    """Spoil a photograph in one known way.

    Args:
        shot: a photograph.
        kind: one of `KINDS`.
        strength: 0 to 1.
        rng: where spots lie, which way things move, noise.

    Returns:
        The spoilt photograph; the surround of the field stays black. `crop` and `off_centre` move field and landmarks.

    Raises:
        UsageError: an unknown kind, or a strength out of range.

    Example:
        >>> field = np.ones((64, 64), bool)
        >>> grey = Shot(np.full((64, 64, 3), 100, np.uint8), field, (40.0, 32.0), (24.0, 32.0))
        >>> int(corrupt(grey, "dark", 0.5, rng=np.random.default_rng(0)).image.mean()) < 50
        True
    """
    if kind not in KINDS:
        raise UsageError(f"unknown corruption {kind!r}", nearest(kind, list(KINDS)))
    if not 0 <= strength <= 1:
        raise UsageError(f"strength {strength}", "0 to 1")
    if kind in _FRAMINGS:
        return _FRAMINGS[kind](shot, strength, rng)
    light = shot.image.astype(np.float32) / np.float32(255)
    spoilt = _CHANGES[kind](light, shot, strength, rng) * shot.field[..., None]
    return replace(shot, image=np.clip(np.rint(spoilt * 255), 0, 255).astype(np.uint8))


# --- kinds that may teach --------------------------------------------------------------------------------------------


def _defocus(light: Light, shot: Shot, strength: float, rng: np.random.Generator) -> Light:
    radius = 0.075 * strength * shot.circle[2]
    side = 2 * int(np.ceil(radius)) + 1
    axis = np.arange(side) - side // 2
    disc = np.clip(radius + 0.5 - np.hypot(axis[:, None], axis[None, :]), 0, 1).astype(np.float32)
    return cv2.filter2D(light, -1, disc / disc.sum(), borderType=cv2.BORDER_REFLECT_101)


def _dark(light: Light, shot: Shot, strength: float, rng: np.random.Generator) -> Light:
    gain = np.float32((1 - 0.96 * strength) ** 1.3)
    return light * gain + _grain(light.shape, 0.012 * strength, rng)


def _overexposed(light: Light, shot: Shot, strength: float, rng: np.random.Generator) -> Light:
    cx, cy, radius = shot.circle
    x, y = _axes(shot)
    place = rng.uniform(-0.5, 0.5, 2) * radius
    spot = np.exp(-((x - cx - place[0]) ** 2 + (y - cy - place[1]) ** 2) / (1.1 * radius) ** 2)
    return light * (1 + 3.2 * strength * spot)[..., None] + (0.5 * strength**2 * spot)[..., None]


def _haze(light: Light, shot: Shot, strength: float, rng: np.random.Generator) -> Light:
    cells, uneven = int(rng.integers(2, 8)), rng.uniform(0.1, 0.5)
    clouds = np.clip(1 + np.float32(uneven) * (_clouds(light.shape[:2], cells, rng) - np.float32(0.3)), 0.2, 1.15)
    veil = np.clip(np.float32(0.93 * strength) * clouds, 0, 1)[..., None]
    tint = np.array(VEIL) if rng.random() < 0.6 else np.array([0.6, 0.58, 0.55])
    colour = (tint * rng.uniform(0.7, 1.3) * rng.uniform(0.9, 1.1, 3)).astype(np.float32)
    soft = _soft(light, rng.uniform(0, 0.02) * strength * shot.circle[2])
    return soft * (1 - veil) + colour * veil


def _fog(light: Light, shot: Shot, strength: float, rng: np.random.Generator) -> Light:
    decay, weight = rng.uniform(1.3, 2.5), np.float32(3.5 * strength)
    thick = np.sum([_clouds(light.shape[:2], 2**k, rng) / np.float32(decay**k) for k in range(8)], axis=0)
    return (light + weight * _stretch(thick)[..., None]) / (1 + weight)


def _low_contrast(light: Light, shot: Shot, strength: float, rng: np.random.Generator) -> Light:
    mean = light[shot.field].mean(axis=0)
    return mean + (light - mean) * np.float32(1 - 0.93 * strength)


def _uneven(light: Light, shot: Shot, strength: float, rng: np.random.Generator) -> Light:
    cx, cy, radius = shot.circle
    x, y = _axes(shot)
    angle = rng.uniform(0, 2 * np.pi)
    along = ((x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)) / radius
    edge = 1.1 - 1.5 * strength  # the shadow's rim wanders from outside the field past its middle
    shade = 1 / (1 + np.exp(-(along - edge) / 0.16))
    return light * (1 - 0.95 * min(1.0, 1.6 * strength) * shade)[..., None].astype(np.float32)


def _cast(light: Light, shot: Shot, strength: float, rng: np.random.Generator) -> Light:
    return light * (1 + strength * rng.uniform(-0.5, 0.5, 3)).astype(np.float32)


def _noise(light: Light, shot: Shot, strength: float, rng: np.random.Generator) -> Light:
    coarse = int(rng.integers(1, 3))  # sensors interpolate: neighbouring pixels share their noise
    rows, columns = light.shape[:2]
    grain = rng.standard_normal((rows // coarse + 1, columns // coarse + 1, 3), dtype=np.float32)
    grain = cv2.resize(grain, (columns, rows), interpolation=cv2.INTER_LINEAR if coarse > 1 else cv2.INTER_NEAREST)
    return light + grain * np.float32(0.30 * strength**1.5)


def _jpeg(light: Light, shot: Shot, strength: float, rng: np.random.Generator) -> Light:
    quality = round(92 * (1 - strength) ** 1.6 + 3)
    pixels = np.clip(np.rint(light * 255), 0, 255).astype(np.uint8)[..., ::-1]
    _, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1].astype(np.float32) / np.float32(255)


def _dust(light: Light, shot: Shot, strength: float, rng: np.random.Generator) -> Light:
    cx, cy, radius = shot.circle
    x, y = _axes(shot)
    for _ in range(round(2 + 22 * strength)):
        place = rng.uniform(-0.9, 0.9, 2) * radius
        size = rng.uniform(0.015, 0.03 + 0.13 * strength) * radius
        spot = np.exp(-((((x - cx - place[0]) ** 2 + (y - cy - place[1]) ** 2) / size**2) ** 1.5))[..., None]
        tone = np.float32(rng.uniform(0.6, 0.95)) if rng.random() < 0.5 else np.float32(rng.uniform(0.02, 0.12))
        light = light * (1 - 0.9 * min(1, 2 * strength) * spot) + 0.9 * min(1, 2 * strength) * tone * spot
    return light


def _lashes(light: Light, shot: Shot, strength: float, rng: np.random.Generator) -> Light:
    cx, cy, radius = shot.circle
    side = 1 if rng.random() < 0.7 else -1  # mostly the lower lid, which the camera shows on top
    layer = np.zeros(light.shape[:2], np.float32)
    x, y = _axes(shot)
    depth = cy - side * radius * (1.05 - 1.0 * strength)
    layer += 1 / (1 + np.exp(side * (y - depth - 0.1 * radius * ((x - cx) / radius) ** 2) / (0.07 * radius)))
    for _ in range(round(14 * strength)):
        root = np.array([cx + rng.uniform(-0.8, 0.8) * radius, depth])
        length, bend = rng.uniform(0.2, 0.7) * radius, rng.uniform(-0.5, 0.5)
        t = np.linspace(0, 1, 12)
        points = np.stack([root[0] + length * bend * t**2, root[1] + side * length * t], axis=1)
        width = max(1, round(0.018 * radius))
        cv2.polylines(layer, [points.round().astype(np.int32)], False, 0.85, width, cv2.LINE_AA)
    layer = np.minimum(_soft(layer, 0.012 * radius), 1)[..., None]
    tone = np.array([0.16, 0.10, 0.08] if rng.random() < 0.6 else [0.75, 0.55, 0.45], np.float32)
    return light * (1 - layer) + tone * layer


def _motion(light: Light, shot: Shot, strength: float, rng: np.random.Generator) -> Light:
    length = max(1.0, 0.22 * strength * shot.circle[2])
    side = 2 * int(np.ceil(length / 2)) + 1
    line = np.zeros((side, side), np.float32)
    angle, middle = rng.uniform(0, np.pi), side // 2
    for t in np.linspace(-length / 2, length / 2, 8 * side):
        line[round(middle + t * np.sin(angle)), round(middle + t * np.cos(angle))] += 1
    return cv2.filter2D(light, -1, line / line.sum(), borderType=cv2.BORDER_REFLECT_101)


# --- kinds that only measure -----------------------------------------------------------------------------------------


def _ghost(light: Light, shot: Shot, strength: float, rng: np.random.Generator) -> Light:
    """The eye jumped during the exposure: two images of it side by side."""
    angle, away = rng.uniform(0, 2 * np.pi), 0.10 * strength * shot.circle[2]
    move = np.array([[1, 0, away * np.cos(angle)], [0, 1, away * np.sin(angle)]], np.float32)
    second = cv2.warpAffine(light, move, light.shape[1::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return 0.5 * light + 0.5 * second


def _underexposed(light: Light, shot: Shot, strength: float, rng: np.random.Generator) -> Light:
    toned = light ** np.float32(1 + 2.5 * strength) * np.float32(1 - 0.75 * strength)
    photons = np.float32(30000 ** (1 - 0.55 * strength))
    return rng.poisson(toned * photons).astype(np.float32) / photons


def _pixelate(light: Light, shot: Shot, strength: float, rng: np.random.Generator) -> Light:
    rows, columns = light.shape[:2]
    scale = min(1.0, (4 + 60 * (1 - strength) ** 2) / shot.circle[2])
    small = cv2.resize(light, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (columns, rows), interpolation=cv2.INTER_NEAREST) if strength > 0 else light


def _speckle(light: Light, shot: Shot, strength: float, rng: np.random.Generator) -> Light:
    return light * (1 + np.float32(0.8 * strength**1.3) * rng.standard_normal(light.shape, dtype=np.float32))


def _flare(light: Light, shot: Shot, strength: float, rng: np.random.Generator) -> Light:
    cx, cy, radius = shot.circle
    x, y = _axes(shot)
    angle = rng.uniform(0, 2 * np.pi)
    away = np.hypot(x - cx - radius * np.cos(angle), y - cy - radius * np.sin(angle)) / radius
    glow = 1 / (1 + np.exp((away - 1.5 * strength) / 0.09))
    return light + (1.2 * min(1, 1.5 * strength) * glow)[..., None] * np.array([1, 0.93, 0.8], np.float32)


def _occlusion(light: Light, shot: Shot, strength: float, rng: np.random.Generator) -> Light:
    cx, cy, radius = shot.circle
    x, y = _axes(shot)
    for _ in range(3):
        place = rng.uniform(-0.75, 0.75, 2) * radius
        size = 0.5 * strength * radius * rng.uniform(0.7, 1.3, 2)
        hidden = ((x - cx - place[0]) / (size[0] + 0.1)) ** 2 + ((y - cy - place[1]) / (size[1] + 0.1)) ** 2 < 1
        light = np.where(hidden[..., None], np.float32(rng.uniform(0, 0.3)), light)
    return light


# --- framing ---------------------------------------------------------------------------------------------------------


def _crop(shot: Shot, strength: float, rng: np.random.Generator) -> Shot:
    """The frame cuts the field: one side of the picture is lost."""
    rows, columns = shot.field.shape
    cut = round(0.75 * strength * min(rows, columns))
    side = int(rng.integers(4))
    top, left = (cut if side == 0 else 0), (cut if side == 1 else 0)
    window = np.s_[top : rows - (cut if side == 2 else 0), left : columns - (cut if side == 3 else 0)]
    kept = shot.kept * float(shot.field[window].sum() / max(1, shot.field.sum()))
    moved = [(x - left, y - top) for x, y in (shot.disc, shot.fovea)]
    return Shot(np.ascontiguousarray(shot.image[window]), shot.field[window], moved[0], moved[1], kept)


def _off_centre(shot: Shot, strength: float, rng: np.random.Generator) -> Shot:
    """A narrower field of the same eye that looks the wrong way: the macula or the disc leaves it."""
    cx, cy, radius = shot.circle
    narrow, angle = 0.70 * radius, rng.uniform(0, 2 * np.pi)
    away = 0.29 * radius * strength
    nx, ny = cx + away * np.cos(angle), cy + away * np.sin(angle)
    side = round(2 * 1.03 * narrow)
    left, top = round(nx - side / 2), round(ny - side / 2)
    move = np.array([[1, 0, -left], [0, 1, -top]], np.float32)
    image = cv2.warpAffine(shot.image, move, (side, side), flags=cv2.INTER_NEAREST)
    seen = cv2.warpAffine(shot.field.astype(np.uint8), move, (side, side), flags=cv2.INTER_NEAREST) > 0
    axis = np.arange(side, dtype=np.float32) - np.float32(side / 2)
    field = seen & (np.hypot(axis[:, None], axis[None, :]) <= narrow)
    moved = [(x - left, y - top) for x, y in (shot.disc, shot.fovea)]
    return Shot(image * field[..., None], field, moved[0], moved[1], shot.kept)


_CHANGES: Mapping[str, Change] = MappingProxyType(
    {
        "defocus": _defocus, "dark": _dark, "overexposed": _overexposed, "haze": _haze, "fog": _fog,
        "low_contrast": _low_contrast,
        "uneven": _uneven, "cast": _cast, "noise": _noise, "jpeg": _jpeg, "dust": _dust, "lashes": _lashes,
        "motion": _motion, "ghost": _ghost, "underexposed": _underexposed, "pixelate": _pixelate,
        "speckle": _speckle, "flare": _flare, "occlusion": _occlusion,
    }
)  # fmt: skip
_FRAMINGS: Mapping[str, Callable[[Shot, float, np.random.Generator], Shot]] = MappingProxyType(
    {"crop": _crop, "off_centre": _off_centre}
)
HELD_OUT = ("ghost", "underexposed", "pixelate", "speckle", "flare", "occlusion")
KINDS = (*_CHANGES, *_FRAMINGS)
TRAINED = tuple(kind for kind in KINDS if kind not in HELD_OUT)


def _axes(shot: Shot) -> tuple[Plane, Plane]:
    rows, columns = shot.field.shape
    return np.arange(columns, dtype=np.float32)[None, :], np.arange(rows, dtype=np.float32)[:, None]


def _soft(light: Float32[np.ndarray, "h w *c"], sigma: float) -> Float32[np.ndarray, "h w *c"]:
    return cv2.GaussianBlur(light, (0, 0), sigma) if sigma > 0.2 else light


def _grain(shape: tuple[int, ...], spread: float, rng: np.random.Generator) -> Light:
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(spread)


def _clouds(shape: tuple[int, ...], cells: int, rng: np.random.Generator) -> Plane:
    """Smooth random field of mean 0 and spread about 1, `cells` cells across."""
    seeds = rng.standard_normal((cells + 2, cells + 2), dtype=np.float32)
    return cv2.resize(seeds, shape[::-1], interpolation=cv2.INTER_CUBIC)


def _stretch(plane: Plane) -> Plane:
    low, high = float(plane.min()), float(plane.max())
    return (plane - np.float32(low)) / np.float32(max(high - low, 1e-6))
