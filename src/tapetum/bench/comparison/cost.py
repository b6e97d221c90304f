"""What a method costs: parameters, seconds, bytes; measured on this machine, and counted."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from jaxtyping import UInt8
from torch import nn

from tapetum.learn.features.embed import Embedder
from tapetum.learn.model import Model

_ROUNDS = 3
_STANDARDISER = ("mean", "scale", "power")


@dataclass(frozen=True)
class Cost:
    """The price of a cell of a comparison, means over its runs.

    Attributes:
        parameters: of the image towers.
        learned: values that were learned from labels or reports, or are kept as neighbours.
        megabytes: of the file that comes on top of the towers.
        image_ms: milliseconds per image through the towers. images: that were learned from.
        fit_s: seconds of everything behind the towers; of the whole training where the towers are trained themselves.
        trains_towers: whether the towers are trained, so that `fit_s` holds all of it.
    """

    parameters: int
    learned: int
    megabytes: float
    image_ms: float
    images: int
    fit_s: float
    trains_towers: bool = False

    @property
    def learn_s(self) -> float:
        """Seconds from labelled images to a model: the towers once for every image, then the fit."""
        return self.fit_s + (0.0 if self.trains_towers else self.images * self.image_ms / 1000)


def tower_parameters(embedder: Embedder) -> int:
    """Parameters of all towers, as loaded."""
    return sum(p.numel() for runner in embedder.runners for p in cast(nn.Module, runner.encoder).parameters())


def image_milliseconds(embedder: Embedder, images: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> float:
    """Median over rounds of the milliseconds per decoded image, preprocessing included; towers are exported first.

    Args:
        embedder: with the threads that count.
        images: decoded, at least one; they go through as one batch.
    """
    embedder.pixels(images[:1])
    taken: list[float] = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        embedder.pixels(images)
        taken.append(time.perf_counter() - start)
    return float(np.median(taken)) * 1000 / len(images)


def learned_values(model: Model) -> int:
    """Values that were learned or are kept, standardisation left out; whole towers count where they were trained."""
    total = sum(tensor.numel() for state in model.towers.values() for tensor in state.values())
    total += sum(delta.numbers for delta in model.deltas.values())
    if model.adapter is not None:
        total += sum(v.size for k, v in model.adapter.state().items() if k not in _STANDARDISER)
    if model.aligner is not None:
        total += sum(p.numel() for p in model.aligner.parameters())
    return total


def stored_megabytes(model: Model) -> float:
    """Size of the weights that a checkpoint of this model holds, in units of 10⁶ bytes; the towers are not in it."""
    with tempfile.TemporaryDirectory(prefix="tapetum-size-") as folder:
        place = model.save(Path(folder) / "model")
        return sum(f.stat().st_size for f in place.glob("*.safetensors")) / 1e6
