"""Rendered eyes, each with signs drawn for itself."""

from __future__ import annotations

import numpy as np

from tapetum.core.types import Laterality
from tapetum.phantom import EyeSpec, RenderedEye, render_eye

SIGNS = (
    "hard_exudate", "cotton_wool_spot", "flame_haemorrhage", "choroidal_naevus", "chorioretinal_atrophy",
    "myelinated_nerve_fibres", "branch_retinal_vein_occlusion", "laser_scar",
)  # fmt: skip


def rendered(count: int, size: int, often: float, seed: int) -> list[tuple[tuple[str, ...], RenderedEye]]:
    """The signs of each eye, and its picture.

    Args:
        count: of eyes.
        size: of the pictures in pixels.
        often: how often an eye has each sign.
        seed: of all of them.
    """
    rng = np.random.default_rng(seed)
    found: list[tuple[tuple[str, ...], RenderedEye]] = []
    for i in range(count):
        signs = {sign: float(rng.uniform(0.6, 1.0)) for sign in SIGNS if rng.random() < often}
        side = Laterality.RIGHT if rng.random() < 0.5 else Laterality.LEFT
        eye = render_eye(EyeSpec(side, seed * 100_000 + i, signs), size=size, rng=np.random.default_rng([seed, i]))
        found.append((tuple(signs), eye))
    return found
