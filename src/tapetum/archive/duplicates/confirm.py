"""Whether two textures are one: laid upon each other as exactly as they will go, then compared in full."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, Float32

from tapetum.archive.duplicates.search import TURNS, WINDOWS, Candidates, turned, windowed
from tapetum.archive.duplicates.texture import KEPT, RADIUS, SIDE, as_maps

# A question below it is not followed. Of ODIR's planted copies cut by 15 % at one side, the hardest, 97 % reach it.
WORTH_A_LOOK = 0.48
MOST_LOOKS = 10_000  # the most promising ones: 100,000 eyes have millions of neighbours that are a little alike
_INSIDE = RADIUS < 0.85
_STEPS = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 15, 1e-4)
_SCALE, _SKEW, _OVERLAP = (0.75, 1.2), 0.1, 0.6
_SQUARES = tuple((slice(y, y + 6), slice(x, x + 6)) for y in range(4, 28, 6) for x in range(4, 28, 6))
_LEAST_CELLS, _WEAKEST = 24, 20
_BLOCK = 4096


def similarities(values: Float[np.ndarray, "n d"], found: Candidates) -> Float32[np.ndarray, "m"]:
    """Likeness of the two textures of each candidate after registration, -1..1; -1 where they do not fit.

    Args:
        values: textures.
        found: which to compare, and how they may lie.
    """
    rough = _rough(values, found)
    result = np.full(len(rough), -1, np.float32)
    doubtful = np.flatnonzero(rough >= WORTH_A_LOOK)
    for k in doubtful[np.argsort(-rough[doubtful], kind="stable")][:MOST_LOOKS]:
        one, two = as_maps(values[[found.asking[k], found.found[k]]])
        result[k] = register(turned(one[None], int(found.turn[k]))[0], two, int(found.window[k]))
    return result


def register(one: Float32[np.ndarray, "32 32"], two: Float32[np.ndarray, "32 32"], window: int) -> float:
    """Correlation after the best affine fit that begins at a window and stays close to it.

    Args:
        one: texture as a square.
        two: the other one, which may be a window of it.
        window: number in `WINDOWS` where the search begins.
    """
    left, top, right, bottom = WINDOWS[window]
    across, down = 1 - left - right, 1 - top - bottom
    start = np.array([[across, 0, left * SIDE + (across - 1) / 2], [0, down, top * SIDE + (down - 1) / 2]], np.float32)
    best = _correlation(one, two, start)
    try:
        _, warp = cv2.findTransformECC(
            two * SIDE, one * SIDE, start.copy(), cv2.MOTION_AFFINE, _STEPS, _INSIDE.astype(np.uint8), 3
        )
    except cv2.error:  # no progress: then the window itself is all there is
        return best
    scales, skews = (warp[0, 0], warp[1, 1]), (warp[0, 1], warp[1, 0])
    if not all(_SCALE[0] <= s <= _SCALE[1] for s in scales) or max(map(abs, skews)) > _SKEW:
        return best
    return max(best, _correlation(one, two, np.asarray(warp, np.float32)))


def kind_of(turn: int) -> str:
    """`near`, `mirrored` or `turned`."""
    mirrored, upside_down, _ = TURNS[turn]
    return "turned" if upside_down else "mirrored" if mirrored else "near"


def _correlation(
    one: Float32[np.ndarray, "32 32"], two: Float32[np.ndarray, "32 32"], warp: Float32[np.ndarray, "2 3"]
) -> float:
    """The least of three: overall, in the finest detail, and in the weakest fifth of the places.

    Dirt on one lens or one camera's glare makes two eyes alike in a few places, a copy is alike in all.
    """
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(one, warp, (SIDE, SIDE), flags=flags)
    there = cv2.warpAffine(KEPT.astype(np.float32), warp, (SIDE, SIDE), flags=flags) > 0.99
    both = there & _INSIDE
    if both.sum() < _OVERLAP * _INSIDE.sum():
        return -1.0
    fine = [m - cv2.GaussianBlur(m, (0, 0), 1) for m in (moved, two)]
    blocks = [
        _pearson(moved[square][both[square]], two[square][both[square]])
        for square in _SQUARES
        if both[square].sum() >= _LEAST_CELLS
    ]
    places = float(np.percentile(blocks, _WEAKEST)) if blocks else -1.0
    return min(_pearson(moved[both], two[both]), _pearson(fine[0][both], fine[1][both]), places)


def _pearson(a: Float32[np.ndarray, "n"], b: Float32[np.ndarray, "n"]) -> float:
    a, b = a - a.mean(), b - b.mean()
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / length if length > 1e-9 else -1.0


def _rough(values: Float[np.ndarray, "n d"], found: Candidates) -> Float32[np.ndarray, "m"]:
    """Correlation as the question has it, without registration."""
    result = np.zeros(len(found.asking), np.float32)
    for turn, window in {*zip(found.turn.tolist(), found.window.tolist(), strict=True)}:
        rows = np.flatnonzero((found.turn == turn) & (found.window == window))
        for part in np.array_split(rows, len(rows) // _BLOCK + 1):
            one = windowed(turned(as_maps(values[found.asking[part]]), turn), WINDOWS[window])[:, _INSIDE]
            two = as_maps(values[found.found[part]])[:, _INSIDE]
            one, two = one - one.mean(axis=1, keepdims=True), two - two.mean(axis=1, keepdims=True)
            lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
            result[part] = np.einsum("nd,nd->n", one, two) / np.maximum(lengths, 1e-9)
    return result
