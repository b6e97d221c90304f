"""Letters burnt into a corner, more and larger."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import UInt8

from tapetum.bench.altered.photographed import check_severity

__all__ = ["lettering"]


def lettering(
    image: UInt8[np.ndarray, "h w 3"], *, severity: float, rng: np.random.Generator
) -> UInt8[np.ndarray, "h w 3"]:
    """Letters burnt into a corner, more and larger.

    Args:
        image: RGB.
        severity: 0..1.
        rng: the generator.

    Raises:
        UsageError: a severity out of range.

    Source: characters of MedMNIST-C (arXiv 2406.17536). Differs: one line in a corner, as on radiographs, up to six
    letters.
    """
    check_severity(severity)
    if severity == 0:
        return image.copy()
    rows, columns = image.shape[:2]
    drawn = rng.integers(65, 91, size=6)
    text = "".join(chr(int(code)) for code in drawn[: 1 + round(5 * severity)])
    right, below = rng.random(2) < 0.5
    height = (0.04 + 0.14 * severity) * min(rows, columns)
    scale, thick = height / 22, max(1, round(height / 9))  # the font's capitals are 22 pixels high
    wide = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thick)[0][0]
    margin = max(1, round(0.03 * min(rows, columns)))
    left = max(margin, columns - margin - wide) if right else margin
    base = rows - margin if below else margin + round(height)
    bright = (245, 245, 245)
    spoilt = image.copy()
    cv2.putText(spoilt, text, (left, base), cv2.FONT_HERSHEY_SIMPLEX, scale, bright, thick, cv2.LINE_AA)
    return spoilt
