"""Setting image towers free: the same loop, the same loss, with features computed from pixels in every step."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tapetum.archive import Archive
from tapetum.core.errors import UsageError
from tapetum.learn.embed import Embedder
from tapetum.learn.gradient import AlignmentLoss, train_aligner
from tapetum.learn.loop import LoopSettings
from tapetum.learn.pairs import Fitted, Pairs

UNFREEZE = ("none", "last", "all")


def fine_tune(
    archive: Archive,
    pairs: Pairs,
    start: Fitted,
    embedder: Embedder,
    *,
    unfreeze: str,
    loss: AlignmentLoss,
    settings: LoopSettings,
    rng: np.random.Generator,
) -> tuple[Fitted, dict[int, Mapping[str, Tensor]]]:
    """Train towers and aligner together, starting from an aligner fitted on frozen towers.

    Args:
        unfreeze: `last` = the last quarter of each tower's parameter tensors, `all` = every one.

    Returns:
        The new fit, and the state of every tower by its place among the encoders.

    Raises:
        UsageError: another word than `last` or `all`.
    """
    if unfreeze not in UNFREEZE[1:]:
        raise UsageError(f"unfreeze={unfreeze!r}", " | ".join(UNFREEZE), "unfreeze=last")
    towers = nn.ModuleList([_free(runner.encoder, unfreeze) for runner in embedder.runners])

    def features_of(rows: np.ndarray) -> Float[Tensor, "b d"]:
        pixels = [archive.pixels(pairs.image_ids[i], min_side=0) for i in rows]
        inputs = [torch.from_numpy(np.stack([prepare(p) for p in pixels])) for prepare in embedder.preprocess]
        return torch.cat([tower(x) for tower, x in zip(towers, inputs, strict=True)], dim=1)

    fitted = train_aligner(
        start.aligner.train(), pairs, loss, settings, rng, held_out=0.1, tower=towers, features_of=features_of
    )
    states = {i: {k: v.detach().clone() for k, v in tower.state_dict().items()} for i, tower in enumerate(towers)}
    return Fitted(fitted.aligner, {**start.log, "fine_tuning": fitted.log}, fitted.alarms), states


def _free(encoder: object, unfreeze: str) -> nn.Module:
    """The tower with gradients on; it stays in evaluation mode, since batch statistics of a few images mislead."""
    assert isinstance(encoder, nn.Module)
    parameters = list(encoder.parameters())
    first = 0 if unfreeze == "all" else len(parameters) * 3 // 4
    for i, parameter in enumerate(parameters):
        parameter.requires_grad_(i >= first)
    return encoder.eval()
