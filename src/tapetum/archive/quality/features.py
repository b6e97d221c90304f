"""No-reference features of a photograph of the retina: what light, lens, camera and framing have left in the pixels.

Everything but the traces of JPEG is measured on the field of view brought to 256 pixels, so that the image's size says
nothing. Contrasts are relative to the brightness around them.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Int, UInt8

from tapetum.archive.quality.field import SIDE, Field, find_field, normal_view
from tapetum.core.errors import UsageError

SMALLEST = 28
# Only for the verdict "not a fundus photograph" and for the reason; no weight of the model stands on them.
DOMAIN = ("field_found", "field_misfit", "field_step", "field_pixels", "colour_spread", "red_minus_blue", "red_share")
MODELLED = (
    "red", "green", "blue", "green_low", "green_high", "saturation", "red_blue", "green_red", "veil_blue", "veil_dark",
    "clipped_white", "clipped_red", "black", "sector_spread", "sector_least", "sector_most", "ring_fall",
    "haar_1", "haar_2", "haar_3", "haar_4", "haar_5", "slope_12", "slope_23", "slope_34", "edges_mid", "edges_high",
    "edges_heavy", "reblur", "direction", "direction_tile", "noise_level", "noise_ratio", "noise_colour",
    "vessels_mean", "vessels_high", "vessels_tail", "coherence", "coherence_high", "vessels_tile_least",
    "vessels_tile_low", "vessels_tile_mid", "tiles_poor", "contrast_all", "contrast_wide", "bright_spots",
    "dark_spots", "flat_share", "grid", "grid_wide", "equal_share", "completeness", "disc_peak",
    "disc_place", "macula_depth", "macula_place",
)  # fmt: skip
QUALITY_FEATURES = (*MODELLED, *DOMAIN)

Plane = Float32[np.ndarray, "s s"]
Mask = Bool[np.ndarray, "s s"]


def features(rgb: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "q"]:
    """Numbers from which `judge` tells the quality, in the order of `QUALITY_FEATURES`.

    Args:
        rgb: an image as decoded for the archive, shorter side about 512 pixels, at least 28.

    Returns:
        Finite values; the same pixels give the same values.

    Raises:
        UsageError: another shape, or smaller.

    Example:
        >>> features(np.zeros((64, 64, 3), np.uint8)).shape == (len(QUALITY_FEATURES),)
        True
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or min(rgb.shape[:2]) < SMALLEST:
        raise UsageError(f"an image of {rgb.dtype} {rgb.shape}", f"8-bit RGB of at least {SMALLEST} pixels a side")
    field = find_field(rgb)
    view, inside = normal_view(rgb, field)
    core = inside & _ring(0.93)
    if core.sum() < 1000:
        core = inside = np.ones((SIDE, SIDE), bool)
    found: dict[str, float] = {}
    _colour(view, core, found)
    green = view[..., 1].astype(np.float32)
    around = cv2.blur(green, (33, 33))
    even = (green - around) / (around + np.float32(6))
    _light(green, core, found)
    _wavelets(green, even, core, found)
    _edges(even, green, core, found)
    _noise(view, green, core, found)
    _vessels(green, around, core, found)
    _spots(green, around, core, found)
    _traces(rgb, field, found)
    _framing(view, green, field, inside, core, found)
    values = np.array([found[name] for name in QUALITY_FEATURES], dtype=np.float32)
    return np.nan_to_num(values, nan=0.0, posinf=1e4, neginf=-1e4)


@functools.cache
def _ring(outer: float, inner: float = 0.0) -> Mask:
    axis = (np.arange(SIDE) + 0.5) / SIDE * 2 - 1
    away = np.hypot(axis[:, None], axis[None, :])
    return (away <= outer) & (away >= inner)


@functools.cache
def _sectors() -> Int[np.ndarray, "64 64"]:
    """Sixteen parts of the field, numbered: eight sectors of an inner and an outer ring; -1 outside."""
    axis = (np.arange(64) + 0.5) / 32 - 1
    away = np.hypot(axis[:, None], axis[None, :])
    eighth = ((np.arctan2(axis[:, None], axis[None, :]) + np.pi) / (2 * np.pi) * 8).astype(int).clip(0, 7)
    return np.where(away > 0.92, -1, eighth + 8 * (away > 0.6))


def _log(value: float | np.floating) -> float:
    return float(np.log(max(float(value), 1e-5)))


def _percentiles(plane: Float32[np.ndarray, "s s"], core: Mask, q: Sequence[float]) -> list[float]:
    values = np.sort(plane[::2, ::2][core[::2, ::2]])
    return [float(values[min(len(values) - 1, int(len(values) * p / 100))]) for p in q]


def _colour(view: UInt8[np.ndarray, "s s 3"], core: Mask, found: dict[str, float]) -> None:
    pixels = view[::3, ::3][core[::3, ::3]].astype(np.float32)
    red, green, blue = pixels.mean(axis=0).tolist()
    found |= {"red": red / 255, "green": green / 255, "blue": blue / 255}
    ranked = np.sort(pixels, axis=0)
    low, high = ranked[3 * len(ranked) // 100], ranked[97 * len(ranked) // 100]
    found["green_low"], found["green_high"] = float(low[1]) / 255, float(high[1]) / 255
    most, least = pixels.max(axis=1), pixels.min(axis=1)
    found["saturation"] = float(((most - least) / (most + 4)).mean())
    found["red_blue"], found["green_red"] = _log((red + 3) / (blue + 3)), _log((green + 3) / (red + 3))
    found["veil_blue"] = float(low[2]) / (float(high[0]) + 4)
    found["veil_dark"] = float(np.sort(least)[len(least) // 20]) / (float(high.max()) + 4)
    found["clipped_white"] = float((least > 235).mean() + 0.5 * (pixels[:, 1] > 245).mean())
    found["clipped_red"] = float((pixels[:, 0] > 250).mean())
    found["black"] = float((most < 18).mean())
    found["colour_spread"] = float((most - least).mean())
    found["red_minus_blue"] = red - blue
    found["red_share"] = float((pixels[:, 0] >= pixels[:, 2]).mean())


def _light(green: Plane, core: Mask, found: dict[str, float]) -> None:
    small = cv2.resize(green, (64, 64), interpolation=cv2.INTER_AREA)
    sectors = _sectors()
    seen = core[2::4, 2::4] & (sectors >= 0)
    count = np.bincount(sectors[seen], minlength=16)
    parts = (np.bincount(sectors[seen], small[seen], minlength=16) / np.maximum(count, 1) + 2)[count > 10]
    found["sector_spread"] = float(parts.std() / parts.mean())
    found["sector_least"], found["sector_most"] = _log(parts.min() / parts.mean()), _log(parts.max() / parts.mean())
    found["ring_fall"] = _log(parts[: len(parts) // 2].mean() / parts[len(parts) // 2 :].mean())


def _wavelets(green: Plane, even: Plane, core: Mask, found: dict[str, float]) -> None:
    """Energy of Haar details, five scales, of the evened green channel; and how it falls from scale to scale."""
    plane, mask = even, core.astype(np.float32)
    energies: list[float] = []
    for _ in range(5):
        a, b, c, d = plane[::2, ::2], plane[::2, 1::2], plane[1::2, ::2], plane[1::2, 1::2]
        details = np.abs(a - b + c - d) + np.abs(a + b - c - d)
        mask = mask[::2, ::2]
        energies.append(float((details * mask).sum() / max(float(mask.sum()), 1.0)))
        plane = (a + b + c + d) * np.float32(0.25)
    logs = [_log(e) for e in energies]
    found |= {f"haar_{i + 1}": value for i, value in enumerate(logs)}
    found |= {"slope_12": logs[1] - logs[0], "slope_23": logs[2] - logs[1], "slope_34": logs[3] - logs[2]}
    spread = even[core]
    found["contrast_all"] = _log(spread.std())
    wide = cv2.resize(green, (32, 32), interpolation=cv2.INTER_AREA)[core[4::8, 4::8]]
    found["contrast_wide"] = _log(wide.std() / (wide.mean() + 2))


def _edges(even: Plane, green: Plane, core: Mask, found: dict[str, float]) -> None:
    soft = cv2.GaussianBlur(even, (0, 0), 0.9)
    dx, dy = cv2.Sobel(soft, cv2.CV_32F, 1, 0, ksize=3), cv2.Sobel(soft, cv2.CV_32F, 0, 1, ksize=3)
    size = cv2.magnitude(dx, dy)
    mid, high, top = _percentiles(size, core, (50, 90, 99))
    found["edges_mid"], found["edges_high"] = _log(mid), _log(high)
    found["edges_heavy"] = _log((top + 1e-4) / (mid + 1e-4))
    again = cv2.blur(green, (5, 5))
    sharp = np.abs(green[:, 1:] - green[:, :-1])
    lost = np.maximum(sharp - np.abs(again[:, 1:] - again[:, :-1]), 0)
    keep = core[:, 1:]
    found["reblur"] = float(lost[keep].sum() / max(float(sharp[keep].sum()), 1e-3))
    half = cv2.resize(soft, (SIDE // 2, SIDE // 2), interpolation=cv2.INTER_AREA)
    inner = core[::2, ::2]
    xx, yy, xy = _tensor(half, inner)
    whole = [float(p.mean()) for p in (xx, yy, xy)]
    found["direction"] = float(np.hypot(whole[0] - whole[1], 2 * whole[2]) / (whole[0] + whole[1] + 1e-9))
    xx, yy, xy = (cv2.blur(p, (13, 13)) for p in (xx, yy, xy))
    pulled = np.sqrt((xx - yy) ** 2 + 4 * xy**2) / (xx + yy + np.float32(1e-7))
    found["direction_tile"] = float(pulled[inner].mean())


def _tensor(plane: Plane, mask: Mask) -> tuple[Plane, Plane, Plane]:
    """Products of the gradient's components, zero outside the mask."""
    dx, dy = cv2.Sobel(plane, cv2.CV_32F, 1, 0, ksize=3) * mask, cv2.Sobel(plane, cv2.CV_32F, 0, 1, ksize=3) * mask
    return dx * dx, dy * dy, dx * dy


def _noise(view: UInt8[np.ndarray, "s s 3"], green: Plane, core: Mask, found: dict[str, float]) -> None:
    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    rough = np.abs(cv2.filter2D(green, -1, mask))
    mid, high = _percentiles(rough, core, (50, 95))
    found["noise_level"] = _log(mid / 4 + 0.02)
    found["noise_ratio"] = _log((high + 0.1) / (mid + 0.1))
    chroma = view[..., 0].astype(np.float32) - green
    found["noise_colour"] = _log(_percentiles(np.abs(cv2.filter2D(chroma, -1, mask)), core, (50,))[0] / 6 + 0.02)


def _vessels(green: Plane, around: Plane, core: Mask, found: dict[str, float]) -> None:
    """Thin dark lines: what closing fills, relative to the brightness; where they are, how well they hold together."""
    soft = cv2.GaussianBlur(green, (0, 0), 1.2)
    closed = cv2.morphologyEx(soft, cv2.MORPH_CLOSE, np.ones((11, 11), np.uint8))
    lines = (closed - soft) / (around + np.float32(6))
    mid, high, top = _percentiles(lines, core, (50, 90, 98))
    found["vessels_mean"], found["vessels_high"], found["vessels_tail"] = _log(mid), _log(high), _log(top)
    inner = (core & _ring(0.88))[::2, ::2]
    half = cv2.resize(lines, (SIDE // 2, SIDE // 2), interpolation=cv2.INTER_AREA)
    xx, yy, xy = (cv2.blur(p, (5, 5)) for p in _tensor(half, inner))
    pulled = np.sqrt((xx - yy) ** 2 + 4 * xy**2)
    energy = xx + yy + np.float32(1e-8)
    found["coherence"] = float(pulled[inner].sum() / energy[inner].sum())
    found["coherence_high"] = _percentiles(pulled / energy, inner, (75,))[0]
    step = SIDE // 8
    share = core.reshape(8, step, 8, step).mean(axis=(1, 3))
    parts = np.sqrt((lines * lines * core).reshape(8, step, 8, step).mean(axis=(1, 3)) / np.maximum(share, 1e-3))
    tiles = np.sort(np.log(parts[share > 0.5] + 1e-4))
    tiles = tiles if len(tiles) else np.full(1, -9.0)
    names = ("vessels_tile_least", "vessels_tile_low", "vessels_tile_mid")
    found |= {n: float(tiles[int(q * (len(tiles) - 1))]) for n, q in zip(names, (0.03, 0.2, 0.5), strict=True)}
    found["tiles_poor"] = float((tiles < -3.6).mean())


def _spots(green: Plane, around: Plane, core: Mask, found: dict[str, float]) -> None:
    soft = cv2.resize(green, (SIDE // 2, SIDE // 2), interpolation=cv2.INTER_AREA)
    near = cv2.resize(around, (SIDE // 2, SIDE // 2), interpolation=cv2.INTER_AREA) + np.float32(6)
    kernel = np.ones((19, 19), np.uint8)
    inner = core[::2, ::2] & _ring(0.88)[::2, ::2]
    bright = (soft - cv2.morphologyEx(soft, cv2.MORPH_OPEN, kernel)) / near
    # Closing a square of 7 keeps vessels out: what is left dark is broader than any vessel.
    wide = cv2.morphologyEx(soft, cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    dark = (cv2.morphologyEx(wide, cv2.MORPH_CLOSE, np.ones((35, 35), np.uint8)) - wide) / near
    found["bright_spots"] = _log(np.sort(bright[inner])[-max(1, int(inner.sum()) // 100)] if inner.any() else 0)
    found["dark_spots"] = _log(np.sort(dark[inner])[-max(1, int(inner.sum()) // 50)] if inner.any() else 0)
    spread = cv2.blur(soft * soft, (7, 7)) - cv2.blur(soft, (7, 7)) ** 2
    found["flat_share"] = float((spread[inner] < 0.35).mean()) if inner.any() else 1.0


def _traces(rgb: UInt8[np.ndarray, "h w 3"], field: Field, found: dict[str, float]) -> None:
    """JPEG's grid of eight (brightness) and sixteen (colour) in the pixels as they came."""
    rows, columns = rgb.shape[:2]
    x0, x1 = int(max(field.x - 0.7 * field.radius_x, 0)), int(min(field.x + 0.7 * field.radius_x, columns))
    y0, y1 = int(max(field.y - 0.7 * field.radius_y, 0)), int(min(field.y + 0.7 * field.radius_y, rows))
    part = rgb[y0:y1, x0:x1]
    plane = part[..., 1].astype(np.int16)
    tint = part[..., 0].astype(np.int16) - plane
    found["grid"] = _log(0.5 * (_grid(plane, 8) + _grid(plane.T, 8)))
    found["grid_wide"] = _log(0.5 * (_grid(tint, 16) + _grid(tint.T, 16)))
    found["equal_share"] = float((plane[:, 1:] == plane[:, :-1]).mean()) if plane.shape[1] > 1 else 1.0


def _grid(plane: np.ndarray, period: int) -> float:
    """Mean step across the columns of the strongest phase over that of the other phases, 1 where there is no grid."""
    steps = np.abs(
        2 * (plane[:, 2:-1] - plane[:, 1:-2]) - (plane[:, 3:] - plane[:, 2:-1]) - (plane[:, 1:-2] - plane[:, :-3])
    )
    profile = steps.mean(axis=0, dtype=np.float64) + 0.15
    length = len(profile) // period * period
    if length < 3 * period:
        return 1.0
    phases = profile[:length].reshape(-1, period).mean(axis=0)
    return float(phases.max() / np.median(phases))


def _framing(
    view: UInt8[np.ndarray, "s s 3"], green: Plane, field: Field, inside: Mask, core: Mask,
    found: dict[str, float],
) -> None:  # fmt: skip
    found["completeness"] = float(inside.sum() / _ring(1.0).sum())
    found |= {"field_found": float(field.found), "field_misfit": field.misfit, "field_step": field.step}
    found["field_pixels"] = 2 * min(field.radius_x, field.radius_y)
    small = cv2.resize(view, (64, 64), interpolation=cv2.INTER_AREA).astype(np.float32)
    bright = small[..., 0] + small[..., 1]
    mask = core[2::4, 2::4]
    weight = mask.astype(np.float32)

    def soft(sigma: float) -> Plane:
        return cv2.GaussianBlur(bright * weight, (0, 0), sigma) / (cv2.GaussianBlur(weight, (0, 0), sigma) + 1e-3)

    raised = np.where(mask, soft(2.2) - soft(8), 0)
    spread = float(raised[mask].std()) + 0.5
    axis = (np.arange(64) + 0.5) / 32 - 1
    away = np.hypot(axis[:, None], axis[None, :])
    place = np.unravel_index(int(raised.argmax()), raised.shape)
    found["disc_peak"], found["disc_place"] = float(raised[place]) / spread, float(away[place])
    sunk = np.where(mask & (away < 0.8), soft(4) - soft(12), 0)
    place = np.unravel_index(int(sunk.argmin()), sunk.shape)
    found["macula_depth"], found["macula_place"] = float(-sunk[place]) / spread, float(away[place])
