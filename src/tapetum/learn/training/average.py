"""A moving average of a module's weights."""

from __future__ import annotations

import contextlib
from collections.abc import Generator

import torch
from torch import Tensor, nn


class Average:
    """An exponential moving average of the parameters that are trained.

    Args:
        parameters: what is trained, by name.
        decay: per step; shorter at first, min(decay, (1 + step) / (10 + step)), so that the start is forgotten.

    Source: Polyak and Juditsky, SIAM J. Control Optim. 1992. Differs: exponential, with a decay that warms up.
    """

    def __init__(self, parameters: dict[str, nn.Parameter], decay: float) -> None:
        self.decay = decay
        self.weights: dict[str, Tensor] = {name: p.detach().clone() for name, p in parameters.items()}
        self._parameters = parameters

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the weights as they are after `step`, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, parameter in self._parameters.items():
            self.weights[name].lerp_(parameter.detach(), 1 - decay)

    def keep(self) -> None:
        """Write the average into the module."""
        self._write(self.weights)

    @contextlib.contextmanager
    def in_place(self) -> Generator[None]:
        """The module holds the average inside the block, and its own weights again after it."""
        own = {name: p.detach().clone() for name, p in self._parameters.items()}
        self._write(self.weights)
        try:
            yield
        finally:
            self._write(own)

    @torch.no_grad()
    def _write(self, weights: dict[str, Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(weights[name])
