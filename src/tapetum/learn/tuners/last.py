"""The last blocks only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from tapetum.core.errors import UsageError
from tapetum.learn.training.optimiser import ParameterGroup
from tapetum.learn.tuning.attach import freeze, module_of
from tapetum.nets import Encoder
from tapetum.nets.roles import blocks_of

__all__ = ["Last"]


@dataclass(frozen=True)
class Last:
    """Fine-tuning of the last blocks and of what follows them; all before stays frozen.

    Args:
        share: of the blocks, rounded up; above 0, at most 1.

    Returns:
        Attached: one group of parameters.

    Raises:
        UsageError: on attaching, share outside its range.

    Source: Yosinski et al., NeurIPS 2014, arXiv 1411.1792 (frozen early, trained late layers).
    Differs: batch statistics stay frozen everywhere.
    """

    PEFT: ClassVar[bool] = False
    RATE: ClassVar[float] = 2e-4
    FRESH: ClassVar[bool] = False

    share: float = 0.25

    def attach(self, encoder: Encoder) -> list[ParameterGroup]:
        """Set the last blocks free."""
        if not 0 < self.share <= 1:
            raise UsageError(f"share={self.share} for last", "above 0, at most 1", "last(share=0.25)")
        freeze(encoder)
        blocks = [name for name, _ in blocks_of(module_of(encoder))]
        chosen = blocks[-math.ceil(self.share * len(blocks)) :]
        free, reached = ParameterGroup([]), False
        for name, parameter in module_of(encoder).named_parameters():
            own = next((block for block in blocks if name.startswith(f"{block}.")), None)
            reached = reached or own == blocks[-1]
            if own in chosen or (own is None and reached):
                parameter.requires_grad_(True)
                free.parameters.append(parameter)
        return [free]

    def fold(self, encoder: Encoder) -> None:
        """Nothing: the plain weights are what was trained."""
