"""From pixels to an encoder's input: our own few lines, pinned by a golden test.

The image processors of `transformers` change with the environment; here Pillow resizes (antialiased) and numpy does the
rest.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image

from tapetum.core import config
from tapetum.core.errors import ArtefactError, DataError, UsageError
from tapetum.core.store import atomic_write
from tapetum.nets.spec import VIEWS

FILE = "preprocessor_config.json"
FITS = ("pad", "crop")
_DARK = 15  # brighter than the black surround of a fundus photograph, in grey levels
_RESAMPLINGS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class Preprocess:
    """How an image becomes a tensor; travels with the weights as `preprocessor_config.json`.

    Args:
        size: side of the square result in pixels.
        mean, std: per channel, on pixels scaled to 0..1.
        fit: `"pad"` keeps the whole image and fills the shorter side with black, as the surround of a fundus photograph
            is; `"crop"` keeps the central square.
        resample: `"bilinear"` or `"bicubic"`, both antialiased.
        view: `"plain"`, or `"local_contrast"`: see `local_contrast`.

    Example:
        >>> Preprocess(size=2)(np.full((4, 2, 3), 255, dtype=np.uint8)).shape
        (3, 2, 2)
    """

    size: int
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    fit: str = "pad"
    resample: str = "bicubic"
    view: str = "plain"

    def __post_init__(self) -> None:
        if self.size < 1 or len(self.mean) != 3 or len(self.std) != 3 or min(self.std, default=0) <= 0:
            raise UsageError(
                f"size={self.size}, mean={self.mean}, std={self.std}", "size ≥ 1 and three values each, std > 0"
            )
        if self.fit not in FITS:
            raise UsageError(f"fit={self.fit!r}", f"one of {FITS}", "fit='pad'")
        if self.resample not in _RESAMPLINGS:
            raise UsageError(f"resample={self.resample!r}", f"one of {tuple(_RESAMPLINGS)}", "resample='bicubic'")
        if self.view not in VIEWS:
            raise UsageError(f"view={self.view!r}", f"one of {VIEWS}", "view='plain'")

    def __call__(self, pixels: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "3 s s"]:
        """Square, resize, scale to 0..1 and normalise.

        Args:
            pixels: RGB, 8 bit.

        Returns:
            Channels first, in units of the encoder's standard deviations.

        Raises:
            DataError: the array is not 8-bit RGB, or has no pixels.
        """
        square = self.resized(pixels)
        scale = np.float32(1) / (np.float32(255) * np.array(self.std, dtype=np.float32))
        shift = np.array(self.mean, dtype=np.float32) / np.array(self.std, dtype=np.float32)
        return np.ascontiguousarray((square * scale - shift).transpose(2, 0, 1))

    def resized(self, pixels: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "s s 3"]:
        """The same square as 8-bit RGB, for showing a heat-map over what the encoder saw."""
        _refuse_other_arrays(pixels)
        square = _padded(pixels) if self.fit == "pad" else _cropped(pixels)
        if square.shape[0] != self.size:
            resized = Image.fromarray(square).resize((self.size, self.size), _RESAMPLINGS[self.resample])
            square = np.array(resized)
        return local_contrast(square) if self.view == "local_contrast" else square

    @property
    def digest(self) -> str:
        """SHA-256 of the settings."""
        return config.digest(self)

    def as_dict(self) -> dict[str, Any]:
        """The settings as JSON takes them."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}

    def save(self, folder: Path) -> None:
        """Write `preprocessor_config.json` into `folder`."""
        atomic_write(folder / FILE, json.dumps(self.as_dict(), indent=1) + "\n")

    @staticmethod
    def load(folder: Path) -> Preprocess:
        """Read `preprocessor_config.json` from `folder`.

        Raises:
            ArtefactError: no such file, or it is damaged. UsageError: an unknown key or a wrong value in it.
        """
        path = folder / FILE
        try:
            values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ArtefactError(f"no {FILE} in {folder}", "the preprocessing that the weights were made with") from None
        except json.JSONDecodeError as error:
            raise ArtefactError(f"{path} is damaged: {error}", "JSON") from None
        return config.fill(Preprocess, values)


def local_contrast(pixels: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    """What differs from its surroundings, four times stronger: lesions and vessels stay, lighting and pigment go.

    Each channel becomes 4·(image − blurred) + 128, the blur a Gaussian of 5 % of the width; outside the field of view,
    and in a narrow rim along its edge where the blur sees the black surround, it is 128.

    Args:
        pixels: RGB, 8 bit.

    Returns:
        RGB, 8 bit, 128 = like its surroundings.

    Source: Graham, winning entry of the Kaggle diabetic retinopathy detection contest, 2015 (competition report).
    Differs: the field is found by brightness and a rim of 3 % of the width is left out, instead of 10 % of the radius.
    """
    import cv2

    side = max(pixels.shape[:2])
    blurred = cv2.GaussianBlur(pixels, (0, 0), side / 20)
    contrast = np.clip(4 * (pixels.astype(np.int16) - blurred) + 128, 0, 255).astype(np.uint8)
    field = (pixels.max(axis=2) > _DARK).astype(np.uint8)
    rim = 2 * max(1, round(side * 0.015)) + 1
    inside = cv2.erode(field, np.ones((rim, rim), dtype=np.uint8)) > 0
    contrast[~inside] = 128
    return contrast


def _refuse_other_arrays(pixels: np.ndarray) -> None:
    """Everything but 8-bit RGB, with what was seen; no range and no order of axes is ever guessed."""
    if pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3 and 0 not in pixels.shape:
        return
    seen, then = f"an image of shape {pixels.shape} and type {pixels.dtype}", _remedy(pixels)
    if pixels.size and pixels.dtype != np.uint8 and np.issubdtype(pixels.dtype, np.number):
        known = pixels[np.isfinite(pixels)]
        missing = pixels.size - known.size
        seen += f", values {known.min():g} to {known.max():g}" if known.size else ""
        seen += f", {missing} of them NaN or infinite" if missing else ""
    raise DataError(seen, "uint8 [height, width, 3], RGB, 0 to 255", then)


def _remedy(pixels: np.ndarray) -> str:
    """What to do about it: first the axes, then the values."""
    shape = pixels.shape
    if 0 in shape:
        return "tapetum.archive.decode reads files"
    if pixels.ndim == 4:
        return "a batch: give its images one by one"
    if pixels.ndim == 2:
        return "one channel: np.repeat(pixels[..., None], 3, axis=2)"
    if pixels.ndim == 3 and shape[2] == 4:
        return "a fourth channel: pixels[..., :3]"
    if pixels.ndim == 3 and shape[2] != 3 and shape[0] in (1, 3, 4):
        return "channels come first: pixels.transpose(1, 2, 0)"
    return _values(pixels)


def _values(pixels: np.ndarray) -> str:
    """What to do about numbers of another kind."""
    if not np.issubdtype(pixels.dtype, np.floating):
        return "choose the window: tapetum.archive.pixels.scale_to_byte(samples, top), or give the file with its range"
    if not np.isfinite(pixels).all():
        return "find out where NaN or infinity come from"
    least, most = float(pixels.min()), float(pixels.max())
    if least >= 0 and most <= 1:
        return "0 to 1: (255 * pixels).round().astype(np.uint8)"
    if least >= 0 and most <= 255:
        return "0 to 255: pixels.round().astype(np.uint8)"
    return "of unknown range: undo the normalisation, or give the file instead of the array"


def _padded(pixels: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "s s 3"]:
    height, width = pixels.shape[:2]
    if height == width:
        return pixels
    side = max(height, width)
    square = np.zeros((side, side, 3), dtype=np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = pixels
    return square


def _cropped(pixels: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "s s 3"]:
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return np.ascontiguousarray(pixels[top : top + side, left : left + side])
