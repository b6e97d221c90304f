"""Setting image towers free: the same loop, the same loss, with features computed from pixels in every step."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tapetum.archive import Archive
from tapetum.core.errors import UsageError
from tapetum.learn.aligner.gradient import train_aligner
from tapetum.learn.aligner.objective import Trains
from tapetum.learn.features.embed import Embedder
from tapetum.learn.features.loader import Loader
from tapetum.learn.pairing.pairs import Fitted, Pairs
from tapetum.learn.training.checkpoint import Saving
from tapetum.learn.training.loop import LoopSettings
from tapetum.learn.training.memory import MemoryEstimate, activation_bytes, memory_estimate, refuse_too_large
from tapetum.learn.training.runlog import UNWATCHED, Watch

UNFREEZE = ("none", "last", "all")


def fine_tune(
    archive: Archive,
    pairs: Pairs,
    start: Fitted,
    embedder: Embedder,
    *,
    unfreeze: str,
    loss: Trains,
    settings: LoopSettings,
    rng: np.random.Generator,
    augment: str = "",
    sampler: str = "shuffled",
    chunk: int = 0,
    saving: Saving | None = None,
    watch: Watch = UNWATCHED,
) -> tuple[Fitted, dict[int, Mapping[str, Tensor]]]:
    """Train towers and aligner together, starting from an aligner fitted on frozen towers.

    Args:
        archive: whose pixels are decoded once and kept as squares.
        pairs: of its training patients.
        start: an aligner fitted on the frozen towers; trained further in place.
        embedder: the towers, trained in place.
        unfreeze: `last` = the last quarter of each tower's parameter tensors, `all` = every one.
        loss: what is trained for.
        settings: of the loop.
        rng: of the held-out patients, the order of the rows and the augmentation.
        augment: specs of `learn/augment` joined by `+`, for training rows only.
        sampler: member of `learn/samplers`.
        chunk: images that go through the towers at a time, so that a large batch fits; 0 = the whole batch.
        saving: where the state of the run is kept, so that the same call goes on after a kill.
        watch: who looks on.

    Returns:
        The new fit, and the state of every tower by its place among the encoders.

    Raises:
        UsageError: another word than `last` or `all`, an unknown augmentation, or more memory than there is.
        ArtefactError: the folder of `saving` holds a run of other data or settings.
    """
    if unfreeze not in UNFREEZE[1:]:
        raise UsageError(f"unfreeze={unfreeze!r}", " | ".join(UNFREEZE), "unfreeze=last")
    towers = nn.ModuleList([_free(runner.encoder, unfreeze) for runner in embedder.runners])

    seed = int(rng.integers(2**31)) if augment else 0
    loaders = [Loader(archive, prepare, pairs.image_ids, augment=augment, seed=seed) for prepare in embedder.preprocess]

    def features_of(rows: np.ndarray, epoch: int) -> Float[Tensor, "b d"]:
        return torch.cat([tower(load(rows, epoch)) for tower, load in zip(towers, loaders, strict=True)], dim=1)

    memory = _memory(towers, embedder, settings, chunk)
    refuse_too_large(memory)
    fitted = train_aligner(
        start.aligner.train(), pairs, loss, settings, rng,
        held_out=0.1, tower=towers, features_of=features_of, sampler=sampler, chunk=chunk,
        saving=_for(saving, archive, augment, seed), watch=watch,
    )  # fmt: skip
    log = {**start.log, "fine_tuning": {**fitted.log, "memory": memory.line()}}
    return Fitted(fitted.aligner, log, fitted.alarms), _states(towers)


def _states(towers: nn.ModuleList) -> dict[int, Mapping[str, Tensor]]:
    return {i: {k: v.detach().clone() for k, v in tower.state_dict().items()} for i, tower in enumerate(towers)}


def _for(saving: Saving | None, archive: Archive, augment: str, seed: int) -> Saving | None:
    """A run goes on only with the same images, changed in the same way."""
    if saving is None or saving.data:
        return saving
    return dataclasses.replace(saving, data=f"{archive.digest} {augment} {seed}")


def _memory(towers: nn.Module, embedder: Embedder, settings: LoopSettings, chunk: int) -> MemoryEstimate:
    """What a step will take, judged by one image."""
    images = [torch.zeros(1, 3, prepare.size, prepare.size) for prepare in embedder.preprocess]

    def one() -> Tensor:
        return torch.cat([tower(x) for tower, x in zip(towers.children(), images, strict=True)], dim=1)

    at_once = min(chunk or settings.batch, settings.batch)
    inputs = at_once * sum(4 * x.numel() for x in images)
    kept = activation_bytes(one) * at_once
    return memory_estimate(towers, inputs, activations=kept, average=settings.ema > 0)


def _free(encoder: object, unfreeze: str) -> nn.Module:
    """The tower with gradients on; it stays in evaluation mode, since batch statistics of a few images mislead."""
    assert isinstance(encoder, nn.Module)
    parameters = list(encoder.parameters())
    first = 0 if unfreeze == "all" else len(parameters) * 3 // 4
    for i, parameter in enumerate(parameters):
        parameter.requires_grad_(i >= first)
    return encoder.eval()
