"""One picture that shows what the phantom can show: normal eyes and every sign, both eyes, all cameras."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from tapetum.core.store import atomic_write
from tapetum.core.types import Laterality
from tapetum.phantom.camera import CAMERAS
from tapetum.phantom.render import render_eye
from tapetum.phantom.spec import EyeSpec, sign_names

BANNER = "Phantom: computed pictures of nobody; they prove mechanisms, not medicine."


def phantom_sheet(out: Path, *, tile: int = 168, columns: int = 8, seed: int = 0) -> Path:
    """Write a JPEG with normal eyes of every camera and one eye per sign, labelled.

    Args:
        out: the file to write.
        tile: side of one picture in pixels, 64 and more.
        columns: pictures in a row.
        seed: of the photographs' framing and noise.

    Returns:
        `out`.
    """
    cameras = tuple(CAMERAS)
    eyes = [
        (
            f"normal, {side.value}, {camera}",
            EyeSpec(side, 40 + i, age_years=30.0 + 8 * i, pigment=0.2 * i, camera=camera),
        )
        for i, (side, camera) in enumerate(
            [(side, camera) for camera in cameras for side in (Laterality.RIGHT, Laterality.LEFT)]
        )
    ]
    for i, name in enumerate(sign_names()):
        side = (Laterality.RIGHT, Laterality.LEFT)[i % 2]
        eye = EyeSpec(side, 80 + i, {name: 0.65}, pigment=0.25 + 0.1 * (i % 6), camera=cameras[i % len(cameras)])
        eyes.append((name.replace("_", " "), eye))
    eyes += [(f"quality: {q}", EyeSpec(Laterality.RIGHT, 7, quality=q)) for q in ("blur", "dark", "off_centre")]
    tiles = [
        _labelled(render_eye(eye, size=tile, rng=np.random.default_rng([seed, i])).image, name)
        for i, (name, eye) in enumerate(eyes)
    ]
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[i : i + columns]) for i in range(0, len(tiles), columns)]
    strip = np.zeros((22, rows[0].shape[1], 3), np.uint8)
    cv2.putText(strip, BANNER, (6, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (235, 235, 235), 1, cv2.LINE_AA)
    sheet = np.ascontiguousarray(np.vstack([*rows, strip])[:, :, ::-1])
    atomic_write(Path(out), cv2.imencode(".jpg", sheet, [cv2.IMWRITE_JPEG_QUALITY, 84])[1].tobytes())
    return Path(out)


def _labelled(image: UInt8[np.ndarray, "h w 3"], name: str) -> UInt8[np.ndarray, "h+16 w 3"]:
    strip = np.zeros((16, image.shape[1], 3), np.uint8)
    scale = 0.34 if len(name) < 26 else 0.30
    cv2.putText(strip, name, (4, 12), cv2.FONT_HERSHEY_SIMPLEX, scale, (235, 235, 235), 1, cv2.LINE_AA)
    return np.vstack([strip, image])
