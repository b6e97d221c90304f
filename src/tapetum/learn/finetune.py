"""Setting image towers free: the same loop, the same loss, with features computed from pixels in every step."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tapetum.archive import Archive
from tapetum.core.errors import UsageError
from tapetum.learn.embed import Embedder, decode_side
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
        archive: whose pixels are read again in every step.
        pairs: of its training patients.
        start: an aligner fitted on the frozen towers; trained further in place.
        embedder: the towers, trained in place.
        unfreeze: `last` = the last quarter of each tower's parameter tensors, `all` = every one.
        loss: what is trained for.
        settings: of the loop.
        rng: of the held-out patients and the order of the rows.

    Returns:
        The new fit, and the state of every tower by its place among the encoders.

    Raises:
        UsageError: another word than `last` or `all`.
    """
    if unfreeze not in UNFREEZE[1:]:
        raise UsageError(f"unfreeze={unfreeze!r}", " | ".join(UNFREEZE), "unfreeze=last")
    towers = nn.ModuleList([_free(runner.encoder, unfreeze) for runner in embedder.runners])

    def features_of(rows: np.ndarray) -> Float[Tensor, "b d"]:
        sides = [decode_side(prepare.size) for prepare in embedder.preprocess]
        pixels = {s: [archive.pixels(pairs.image_ids[i], min_side=s) for i in rows] for s in sorted(set(sides))}
        inputs = [
            torch.from_numpy(np.stack([prepare(image) for image in pixels[side]]))
            for prepare, side in zip(embedder.preprocess, sides, strict=True)
        ]
        return torch.cat([tower(x) for tower, x in zip(towers, inputs, strict=True)], dim=1)

    fitted = train_aligner(
        start.aligner.train(), pairs, loss, settings, rng, held_out=0.1, tower=towers, features_of=features_of
    )
    states: dict[int, Mapping[str, Tensor]] = {
        i: {k: v.detach().clone() for k, v in tower.state_dict().items()} for i, tower in enumerate(towers)
    }
    return Fitted(fitted.aligner, {**start.log, "fine_tuning": fitted.log}, fitted.alarms), states


def _free(encoder: object, unfreeze: str) -> nn.Module:
    """The tower with gradients on; it stays in evaluation mode, since batch statistics of a few images mislead."""
    assert isinstance(encoder, nn.Module)
    parameters = list(encoder.parameters())
    first = 0 if unfreeze == "all" else len(parameters) * 3 // 4
    for i, parameter in enumerate(parameters):
        parameter.requires_grad_(i >= first)
    return encoder.eval()
