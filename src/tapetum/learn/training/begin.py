"""What stands before the first step of a loop: processes, optimiser, and the state that a killed run left."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int
from torch import nn

from tapetum.core.errors import UsageError
from tapetum.learn.training.average import Average
from tapetum.learn.training.checkpoint import Run, Saver, Saving, rows_digest, to_json
from tapetum.learn.training.history import LoopSettings
from tapetum.learn.training.memory import has_bf16
from tapetum.learn.training.optimiser import ParameterGroup, adamw
from tapetum.learn.training.parallel import LossOf, World
from tapetum.learn.training.schedule import batches


def begun(
    module: nn.Module,
    loss_of: LossOf,
    train: Int[np.ndarray, "n"],
    held: Int[np.ndarray, "m"],
    settings: LoopSettings,
    rng: np.random.Generator,
    groups: Sequence[ParameterGroup] | None,
    saving: Saving | None,
) -> tuple[Run, LossOf, World, Saver | None]:
    """A run at its beginning, or where it was when it ended.

    The arguments are those of `run_loop`.

    Returns:
        The state of the run, the loss as the processes call it, the processes, and who keeps the state.

    Raises:
        UsageError: a trainable parameter in no group or in two; bf16 without the hardware, parallel without torchrun.
        ArtefactError: the folder of `saving` holds a run of other data or settings.
    """
    world = _world(module, train, held, settings)
    start = to_json(rng.bit_generator.state)
    names = _names(module, groups or ())
    call = world.share(module, loss_of)
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    groups = groups and _renamed(module, groups, names)
    run = Run(module, adamw(trained, groups, settings), rng, Average(trained, settings.ema) if settings.ema else None)
    saver = _resumed(run, settings, saving, train, held, start, world) if saving else None
    return run, call, world, saver


def _resumed(
    run: Run, settings: LoopSettings, saving: Saving, train: np.ndarray, held: np.ndarray, start: Any, world: World
) -> Saver:
    """Who keeps the state; the run is then where it was when it ended."""
    paces = [(g["pace"], g["weight_decay"], len(g["params"])) for g in run.optimiser.param_groups]
    saver = Saver(saving, run, _identity(run, settings, saving, train, held, [start, paces], world), world)
    saver.resume()
    return saver


def _world(module: nn.Module, train: Int[np.ndarray, "n"], held: Int[np.ndarray, "m"], settings: LoopSettings) -> World:
    """The processes that train together, once nothing stands against it."""
    world = World.of(settings.parallel)
    least = min(len(b) for rows in (train, held) for b in batches(rows, settings.batch))
    if least < world.size:
        raise UsageError(f"batches of {least} rows for {world.size} processes", "a row for each", "a larger batch")
    device = next(module.parameters()).device
    if settings.bf16 and not has_bf16(device):
        raise UsageError(f"bf16 on {device}", "hardware with bfloat16", "bf16=False")
    return world


def _names(module: nn.Module, groups: Sequence[ParameterGroup]) -> list[list[str]]:
    known = {id(p): name for name, p in module.named_parameters()}
    return [[known.get(id(p), "") for p in group.parameters if p.requires_grad] for group in groups]


def _renamed(module: nn.Module, groups: Sequence[ParameterGroup], names: list[list[str]]) -> list[ParameterGroup]:
    """The groups with the parameters that bear their names now: `fully_shard` puts others in their places."""
    now = dict(module.named_parameters())
    return [
        dataclasses.replace(group, parameters=[now.get(n, nn.Parameter()) for n in of])
        for group, of in zip(groups, names, strict=True)
    ]


def _identity(
    run: Run, settings: LoopSettings, saving: Saving, train: np.ndarray, held: np.ndarray, start: Any, world: World
) -> dict[str, Any]:
    """What must be equal for a run to go on."""
    shapes = [(name, tuple(t.shape)) for name, t in run.module.state_dict().items()]
    return {
        "data": saving.data,
        "training rows": rows_digest(train),
        "held-out rows": rows_digest(held),
        "network": f"{len(shapes)} tensors {rows_digest(np.frombuffer(repr(shapes).encode(), np.uint8))[:16]}",
        "generator and groups": rows_digest(np.frombuffer(repr(start).encode(), np.uint8))[:16],
        "processes": world.size,
        **{f"settings.{k}": v for k, v in dataclasses.asdict(settings).items()},
    }
