"""Run an exported model: onnxruntime, numpy and Pillow are all it needs.

python run.py IMAGE… prints one row per image and finding, as `tapetum predict` does. This very file lies in every
exported folder; it reads JPEG, PNG and TIFF of 8 bits. The view `local_contrast` needs OpenCV besides.
"""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

_DRAFT_MARGIN = 1.25  # a JPEG is decoded a little above the wanted size
_DARK = 15  # brighter than the black surround of a fundus photograph, in grey levels
_RESAMPLINGS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


class Exported:
    """An exported folder, ready to run.

    Args:
        folder: with `model.onnx`, `labels.json` and `preprocessing.json`.
        file: `model.onnx`, or `model_int8.onnx` where there is one.
        threads: 0 = all cores.
    """

    def __init__(self, folder: Path | str, *, file: str = "model.onnx", threads: int = 0) -> None:
        place = Path(folder)
        self.labels: dict[str, Any] = json.loads((place / "labels.json").read_text(encoding="utf-8"))
        self.preprocessing: dict[str, Any] = json.loads((place / "preprocessing.json").read_text(encoding="utf-8"))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            str(place / file), options, providers=["CPUExecutionProvider"]
        )  # fmt: skip

    def inputs(self, images: Sequence[Any]) -> dict[str, Any]:
        """What the network is fed with: one array per tower, for 8-bit RGB images."""
        towers = self.preprocessing["towers"]
        return {tower["input"]: np.stack([normalised(image, tower) for image in images]) for tower in towers}

    def __call__(self, images: Sequence[Any]) -> tuple[Any, Any]:
        """Logits and probabilities, [images, findings]; a probability without calibration is NaN."""
        logits, probs = self.session.run(["logits", "probabilities"], self.inputs(images))
        return logits, probs

    def read(self, file: Path | str) -> Any:
        """A file as 8-bit RGB, shrunk as it was for training."""
        return decoded(Path(file), self.preprocessing["decode_side"])


def decoded(file: Path, side: int) -> Any:
    """8-bit RGB, shrunk to a shorter side of `side` pixels; never enlarged."""
    with Image.open(file, formats=("JPEG", "PNG", "TIFF")) as image:
        if image.mode not in ("RGB", "L", "1", "P", "LA", "RGBA", "PA"):
            raise ValueError(f"{file} has colour mode {image.mode}; 8 bits per sample are read here")
        width, height = image.size
        if image.format == "JPEG":
            scale = _DRAFT_MARGIN * side / min(width, height)
            image.draft(None, (math.ceil(width * scale), math.ceil(height * scale)))
        turned: Any = ImageOps.exif_transpose(image)
        if turned.mode in ("RGBA", "LA", "PA") or "transparency" in turned.info:
            over = turned.convert("RGBA")
            turned = Image.alpha_composite(Image.new("RGBA", over.size, (0, 0, 0, 255)), over)
        if turned.mode == "L":
            turned = _shrunk(turned, side)
        return np.asarray(_shrunk(turned.convert("RGB"), side))


def normalised(image: Any, tower: dict[str, Any]) -> Any:
    """The square that a tower wants, in units of its standard deviations, channels first."""
    height, width = image.shape[:2]
    if tower["fit"] == "pad":
        side = max(height, width)
        square = np.zeros((side, side, 3), dtype=np.uint8)
        top, left = (side - height) // 2, (side - width) // 2
        square[top : top + height, left : left + width] = image
    else:
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        square = image[top : top + side, left : left + side]
    if side != tower["size"]:
        size = (tower["size"], tower["size"])
        square = np.array(Image.fromarray(square).resize(size, _RESAMPLINGS[tower["resample"]]))
    if tower["view"] == "local_contrast":
        square = _local_contrast(square)
    std = np.array(tower["std"], dtype=np.float32)
    scale, shift = np.float32(1) / (np.float32(255) * std), np.array(tower["mean"], dtype=np.float32) / std
    return np.ascontiguousarray((square * scale - shift).transpose(2, 0, 1))


def table(exported: Exported, files: Sequence[str]) -> list[list[Any]]:
    """Rows of image, finding, probability, threshold, decision and score; what has no operating point stays empty."""
    rows: list[list[Any]] = []
    for file in files:
        logits, probs = exported([exported.read(file)])
        for j, finding in enumerate(exported.labels["findings"]):
            prob, threshold = float(probs[0, j]), finding["threshold"]
            decision = ""
            if threshold is not None and not math.isnan(prob):
                decision = "present" if prob >= threshold else "absent"
            shown = "" if math.isnan(prob) else f"{prob:.6g}"
            limit = "" if threshold is None else f"{threshold:.6g}"
            rows.append([file, finding["id"], shown, limit, decision, f"{logits[0, j]:.6g}"])
    return rows


def _shrunk(image: Any, side: int) -> Any:
    least = min(image.size)
    if least <= side:
        return image
    size = (max(1, round(image.width * side / least)), max(1, round(image.height * side / least)))
    return image.resize(size, Image.Resampling.BILINEAR)


def _local_contrast(pixels: Any) -> Any:
    """4·(image − blurred) + 128 inside the field of view, 128 outside."""
    import cv2

    side = max(pixels.shape[:2])
    blurred = cv2.GaussianBlur(pixels, (0, 0), side / 20)
    contrast = np.clip(4 * (pixels.astype(np.int16) - blurred) + 128, 0, 255).astype(np.uint8)
    field = (pixels.max(axis=2) > _DARK).astype(np.uint8)
    rim = 2 * max(1, round(side * 0.015)) + 1
    contrast[~(cv2.erode(field, np.ones((rim, rim), dtype=np.uint8)) > 0)] = 128
    return contrast


if __name__ == "__main__":
    exported_here = Exported(Path(__file__).parent)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["image", "finding", "probability", "threshold", "decision", "score"])
    writer.writerows(table(exported_here, sys.argv[1:]))
    print(exported_here.labels["intended_use"], file=sys.stderr)
