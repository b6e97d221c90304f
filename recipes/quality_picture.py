"""Draw docs/images/quality.jpg: nine corruptions of phantom photographs at five strengths, each with its verdict."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from train_quality import photograph

from tapetum.archive.quality import features, judge
from tapetum.phantom.corruptions import corrupt

OUT = Path(__file__).parents[1] / "docs" / "images" / "quality.jpg"
KINDS = ("defocus", "dark", "overexposed", "haze", "uneven", "jpeg", "lashes", "motion", "fog")
STRENGTHS = (0.0, 0.2, 0.4, 0.6, 0.9)
TILE = 150


def main() -> None:
    """Render, judge, label, write."""
    rows: list[np.ndarray] = []
    for i, kind in enumerate(KINDS):
        good = photograph(np.random.default_rng([41, i]))
        tiles: list[np.ndarray] = []
        for strength in STRENGTHS:
            shot = corrupt(good, kind, strength, rng=np.random.default_rng(i))
            verdict = judge(features(shot.image))
            tile = np.zeros((TILE + 18, TILE, 3), np.uint8)
            tile[18:] = cv2.resize(shot.image, (TILE, TILE), interpolation=cv2.INTER_AREA)
            head = kind if strength == 0 else f"{strength:g}"
            text = f"{head}: {verdict.gradable:.2f} {verdict.reason}"
            cv2.putText(tile, text, (3, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.36, (235, 235, 235), 1, cv2.LINE_AA)
            tiles.append(tile)
        rows.append(np.hstack(tiles))
    _, data = cv2.imencode(".jpg", np.vstack(rows)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 82])
    OUT.write_bytes(data.tobytes())


if __name__ == "__main__":
    main()
