"""The same network without what it knew: every weight drawn anew, all of them trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from tapetum.learn.training.optimiser import ParameterGroup
from tapetum.learn.tuning.attach import freeze, module_of
from tapetum.nets import Encoder

__all__ = ["Scratch"]

_SPREAD = 0.02  # of parameters that belong to no usual layer: class tokens, positions


@dataclass(frozen=True)
class Scratch:
    """Training from random weights: what the pre-training of this very architecture is worth is the difference to it.

    Batch statistics are learned with the weights, and the head starts at zero on features of the new weights.

    Args:
        seed: of the weights; the run's seed by default.

    Returns:
        Attached: one group of parameters.

    Source: He et al., ICCV 2015, arXiv 1502.01852 (variance-keeping weights). Differs: layers are drawn as torch draws
    them by default; tokens and positions by a normal distribution of spread 0.02; layer scales start at 1.
    """

    PEFT: ClassVar[bool] = False
    RATE: ClassVar[float] = 1e-3
    FRESH: ClassVar[bool] = True

    seed: int = 0

    def attach(self, encoder: Encoder) -> list[ParameterGroup]:
        """Draw every weight anew and set it free."""
        freeze(encoder)
        module = module_of(encoder)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(self.seed)
            drawn: set[int] = set()
            for part in module.modules():
                redraw = _redraw_of(part)
                if redraw:
                    redraw()
                    drawn |= {id(p) for p in part.parameters(recurse=False)}
            for parameter in module.parameters():
                if id(parameter) not in drawn:
                    # what is left with one dimension scales a layer's output
                    _ = parameter.normal_(0, _SPREAD) if parameter.ndim > 1 else parameter.fill_(1.0)
        for parameter in module.parameters():
            parameter.requires_grad_(True)
        return [ParameterGroup(list(module.parameters()))]

    def fold(self, encoder: Encoder) -> None:
        """Nothing: the plain weights are what was trained."""


def _redraw_of(part: nn.Module) -> Callable[[], None] | None:
    """How a usual layer draws its own parameters; None for what is no such layer."""
    if isinstance(part, nn.MultiheadAttention):
        return part._reset_parameters  # pyright: ignore[reportPrivateUsage]
    layers = (nn.Linear, nn.Embedding, nn.LayerNorm, nn.GroupNorm, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    if isinstance(part, (*layers, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
        return part.reset_parameters
    return None
