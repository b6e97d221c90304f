"""Every weight of the network, early layers more slowly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tapetum.core.errors import UsageError
from tapetum.learn.training.optimiser import ParameterGroup
from tapetum.learn.tuning.attach import freeze, module_of
from tapetum.nets import Encoder
from tapetum.nets.roles import blocks_of

__all__ = ["Full"]


@dataclass(frozen=True)
class Full:
    """Full fine-tuning with layer-wise decay: with L blocks, block l learns at decay^(L+1-l) of the learning rate.

    What reads the image (patches, positions, class token, stem) counts as block 0, what follows the blocks as L+1.

    Args:
        decay: above 0, at most 1; 1 = all layers alike.

    Returns:
        Attached: one group of parameters per depth, from the image to the output.

    Raises:
        UsageError: on attaching, decay outside its range.

    Source: the recipe of RETFound (Zhou et al., Nature 2023), after BEiT (Bao et al., ICLR 2022, arXiv 2106.08254).
    Differs: depth is read from the network's structure and not from names, so that every architecture gets its rates;
    no drop path, and batch statistics stay frozen; a lower rate (1e-4; published 5e-3 × batch / 256), since the head
    starts from a probe and a large first step would spoil it.
    """

    PEFT: ClassVar[bool] = False
    RATE: ClassVar[float] = 1e-4
    FRESH: ClassVar[bool] = False

    decay: float = 0.65

    def attach(self, encoder: Encoder) -> list[ParameterGroup]:
        """Set every parameter free."""
        if not 0 < self.decay <= 1:
            raise UsageError(f"decay={self.decay} for full", "above 0, at most 1", "full(decay=0.65)")
        freeze(encoder)
        blocks = [name for name, _ in blocks_of(module_of(encoder))]
        last = len(blocks) + 1
        groups: dict[int, ParameterGroup] = {}
        depth = 0
        for name, parameter in module_of(encoder).named_parameters():
            own = next((b + 1 for b, block in enumerate(blocks) if name.startswith(f"{block}.")), None)
            # Parameters are registered on the way of the image: what comes after a block belongs to no earlier one.
            depth = own if own is not None else (0 if depth == 0 else last if depth >= len(blocks) else depth)
            parameter.requires_grad_(True)
            group = groups.setdefault(depth, ParameterGroup([], rate=self.decay ** (last - depth)))
            group.parameters.append(parameter)
        return [groups[d] for d in sorted(groups)]

    def fold(self, encoder: Encoder) -> None:
        """Nothing: the plain weights are what was trained."""
