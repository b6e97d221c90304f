"""Text inside a picture, found by a text detector and covered line by line; nothing is read out.

The detector is the one that `rapidocr-onnxruntime` carries in its wheel; it is run through OpenCV, so that only the
file is needed and none of that package's own dependencies.

Source: Liao et al., Real-time Scene Text Detection with Differentiable Binarization, AAAI 2020 (the network).
Differs: regions are grown by a share of their height instead of by polygon offset; whole boxes are returned.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, UInt8

from tapetum.core.errors import MissingExtraError

_MODEL = ("models", "ch_PP-OCRv4_det_infer.onnx")
_LARGEST, _SMALLEST = 1600, 640
_STEP = 32
_IS_TEXT, _SURELY = 0.3, 0.5
_GROWN = 0.6
# Of the image's shorter side: what is taller is anatomy. A square of doubtful strokes is a marker, a disc, a spot.
_TALLEST = 0.10
_LINE, _PLAINLY = 1.4, 0.75


def find_lettering(image: UInt8[np.ndarray, "h w 3"]) -> Bool[np.ndarray, "h w"]:
    """Where text stands in a picture, as boxes with a margin.

    Args:
        image: RGB at full size.

    Returns:
        True where text was found; all false where there is none.

    Raises:
        MissingExtraError: the detector is not installed.
    """
    height, width = image.shape[:2]
    longest = min(max(height, width, _SMALLEST), _LARGEST)
    scale = longest / max(height, width)
    size = tuple(max(_STEP, round(side * scale / _STEP) * _STEP) for side in (width, height))
    shrunk = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    network = _network()
    # Channels as OpenCV reads them, values to −1..1, as the network was trained.
    network.setInput(cv2.dnn.blobFromImage(shrunk[..., ::-1], 1 / 127.5, size, (127.5, 127.5, 127.5)))
    chance = np.asarray(network.forward())[0, 0]
    mask = np.zeros((height, width), bool)
    count, labels, stats, _ = cv2.connectedComponentsWithStats((chance > _IS_TEXT).astype(np.uint8))
    across, down = width / size[0], height / size[1]
    for number in range(1, count):
        x, y, w, h, area = (int(v) for v in stats[number])
        sure = float(chance[labels == number].mean())
        if min(w, h) < 3 or area < 12 or sure < _SURELY or min(w, h) > _TALLEST * min(size):
            continue
        if max(w, h) < _LINE * min(w, h) and sure < _PLAINLY:
            continue
        # The network marks the middle of a line, shrunk from its outline.
        margin = _GROWN * min(w, h) + 2
        top, bottom = max(0, int((y - margin) * down)), int(np.ceil((y + h + margin) * down))
        left, right = max(0, int((x - margin) * across)), int(np.ceil((x + w + margin) * across))
        mask[top:bottom, left:right] = True
    return mask


@functools.cache
def _network() -> Any:
    found = importlib.util.find_spec("rapidocr_onnxruntime")
    place = Path(found.origin).parent.joinpath(*_MODEL) if found and found.origin else None
    if place is None or not place.is_file():
        raise MissingExtraError(
            "text in pixels cannot be looked for: the text detector is not installed",
            "its model file, which comes with a package; without that package's own dependencies",
            "pip install --no-deps rapidocr-onnxruntime",
        )
    return cv2.dnn.readNetFromONNX(str(place))
