"""Flame haemorrhages: red streaks along the nerve fibres.

Source: Keith, Wagener and Barker, American Journal of the Medical Sciences 1939 (hypertensive signs). Differs: the
course of nerve fibres is taken as radial to the disc.
"""

from __future__ import annotations

import numpy as np

from tapetum.phantom.canvas import Canvas
from tapetum.phantom.placing import amount, round_disc
from tapetum.phantom.streaks import flames

__all__ = ["flame_haemorrhage"]


def flame_haemorrhage(canvas: Canvas, *, severity: float, rng: np.random.Generator) -> None:
    """Feathered red streaks that point towards the disc."""
    flames(canvas, round_disc(canvas, rng, amount(severity, 2, 16)), rng, name="flame_haemorrhage")
