"""AdamW over groups of parameters, each with a pace of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from tapetum.core.errors import UsageError
from tapetum.learn.training.history import LoopSettings


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that learn at their own pace.

    Args:
        parameters: those that require no gradient are left out.
        rate: multiplies the learning rate.
        weight_decay: None = that of the settings; one-dimensional parameters never decay.
    """

    parameters: list[nn.Parameter]
    rate: float = 1.0
    weight_decay: float | None = None


def adamw(
    trained: Mapping[str, nn.Parameter], groups: Sequence[ParameterGroup] | None, settings: LoopSettings
) -> torch.optim.Optimizer:
    """AdamW that decays matrices only: scales and offsets have no size to keep small.

    Args:
        trained: every parameter that requires a gradient, by name.
        groups: together all of them; None = one group.
        settings: their peak learning rate and weight decay.

    Raises:
        UsageError: a parameter in no group, in two, or a group's parameter that is not among those trained.
    """
    if groups is None:
        groups = [ParameterGroup(list(trained.values()))]
    grouped = [id(p) for group in groups for p in group.parameters if p.requires_grad]
    lost = [name for name, p in trained.items() if id(p) not in grouped]
    if lost or len(grouped) != len(trained):
        raise UsageError(
            f"{len(lost)} parameters that require a gradient stand in no group ({', '.join(lost[:3])})"
            if lost
            else "a parameter stands in two groups, or is none of the module's",
            "each trainable parameter of the module in one group",
        )
    parts: list[dict[str, object]] = []
    for group in groups:
        free = [p for p in group.parameters if p.requires_grad]
        decay = settings.weight_decay if group.weight_decay is None else group.weight_decay
        for part, weight_decay in (([p for p in free if p.ndim > 1], decay), ([p for p in free if p.ndim <= 1], 0.0)):
            if part:
                parts.append({"params": part, "weight_decay": weight_decay, "pace": group.rate})
    return torch.optim.AdamW(parts, lr=settings.learning_rate)
