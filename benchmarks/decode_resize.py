"""Decode and shrink a 2000 × 2000 photograph: Tapetum against Pillow's decode-then-resize, in one run.

    python benchmarks/decode_resize.py

Both sides run in turn, round by round, so that a busy machine hits both alike; medians and their ratio are printed
with the mean difference of the results in grey levels. The aim is a ratio of 2.5 and less than one grey level at 224
pixels; what 384 and 512 pixels give is printed beside it.
"""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image

from tapetum.archive import decode

SIDE, QUALITY, ROUNDS = 2000, 90, 9


def photograph(seed: int) -> bytes:
    """A photo-like disc on black: smooth shading, hundreds of thin curves, sensor noise; JPEG quality 90."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / SIDE - 0.5
    radius = np.hypot(x, y)
    image = np.stack([0.75 - 0.9 * radius, 0.42 - 0.5 * radius, 0.2 - 0.2 * radius], axis=-1) * 255
    for scale in (3, 10, 40):
        field = cv2.GaussianBlur(rng.standard_normal((SIDE, SIDE)).astype(np.float32), (0, 0), scale)
        image += (field / field.std() * 6)[..., None]
    lines = np.zeros((SIDE, SIDE), np.uint8)
    for _ in range(400):
        walk = np.cumsum(rng.normal(0, 12, (60, 2)) + rng.normal(0, 8, 2), axis=0) + rng.uniform(0, SIDE, 2)
        cv2.polylines(lines, [walk.astype(np.int32)], False, 255, int(rng.integers(1, 9)), cv2.LINE_AA)
    image -= (cv2.GaussianBlur(lines, (0, 0), 1).astype(np.float32) * 0.18)[..., None]
    image += rng.normal(0, 3, image.shape)
    image[radius > 0.48] = rng.normal(2, 1, (int((radius > 0.48).sum()), 3))
    buffer = io.BytesIO()
    Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def pillow(data: bytes, side: int) -> np.ndarray:
    """The peer: decode whole, then Pillow's antialiased bilinear resize."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BILINEAR))


def seconds(call: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    """Print one line per size."""
    data = photograph(0)
    print(f"{SIDE} × {SIDE} JPEG, quality {QUALITY}, {len(data) / 1e6:.1f} MB, {ROUNDS} rounds, medians")
    for side in (224, 256, 384, 512):
        ours, theirs = [], []
        for _ in range(ROUNDS):
            ours.append(seconds(lambda side=side: decode(data, min_side=side)))
            theirs.append(seconds(lambda side=side: pillow(data, side)))
        a, b = decode(data, min_side=side).astype(float), pillow(data, side).astype(float)
        mine, other = statistics.median(ours), statistics.median(theirs)
        print(
            f"{side:4d} px   tapetum {mine * 1e3:6.1f} ms   pillow {other * 1e3:6.1f} ms   ratio {other / mine:4.2f}   "
            f"mean difference {np.abs(a - b).mean():.3f} grey levels"
        )


if __name__ == "__main__":
    main()
