"""Signs: what a disease paints on a retina. One file is one sign; its name is the id of the finding."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from tapetum.phantom.canvas import Canvas


class Sign(Protocol):
    """Paints one sign on the canvas and marks its pixels under its own name."""

    def __call__(self, canvas: Canvas, *, severity: float, rng: np.random.Generator) -> None:
        """Paint.

        Args:
            canvas: the retina, before the camera.
            severity: in (0, 1]; more of the same, never elsewhere.
            rng: belongs to this eye and sign, not to the visit: what was seen before is seen again.
        """
        ...
