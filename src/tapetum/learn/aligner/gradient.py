"""The aligner by gradient: on cached features, or together with an image tower that is set free."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tapetum.core.errors import UsageError
from tapetum.core.registry import Family
from tapetum.learn.aligner.objective import Trains
from tapetum.learn.fitting.ridge import patient_folds
from tapetum.learn.pairing.pairs import Fitted, Pairs
from tapetum.learn.samplers import Sampler
from tapetum.learn.training.checkpoint import Saving
from tapetum.learn.training.gradcache import cached_embedding
from tapetum.learn.training.history import History
from tapetum.learn.training.loop import LoopSettings, Order, batches, run_loop
from tapetum.learn.training.parallel import World
from tapetum.learn.training.runlog import UNWATCHED, Curve, Watch
from tapetum.nets import Aligner

FeaturesOf = Callable[[np.ndarray, int], Float[Tensor, "b d"]]


def train_aligner(
    aligner: Aligner,
    pairs: Pairs,
    loss: Trains,
    settings: LoopSettings,
    rng: np.random.Generator,
    *,
    held_out: float,
    tower: nn.Module | None = None,
    features_of: FeaturesOf | None = None,
    sampler: str = "shuffled",
    chunk: int = 0,
    saving: Saving | None = None,
    watch: Watch = UNWATCHED,
) -> Fitted:
    """Train the aligner's maps, and the tower if one is given, with the loop; stop on held-out patients.

    Args:
        aligner: what is trained, in place; its logit scale starts at 10, its offset at the log odds of a match.
        pairs: of the training patients.
        loss: what is trained for, `AlignmentLoss` or `LevelLoss`.
        settings: of the loop.
        rng: of the order of the rows.
        held_out: share of the patients kept for stopping, 0..0.5; 0 keeps the last epoch.
        tower: its parameters that require a gradient are trained too.
        features_of: row numbers and the epoch, −1 for held-out rows → the tower's features; None = those of `pairs`.
        sampler: member of `learn/samplers`: the order of the training rows.
        chunk: rows that go through the tower at a time; 0 = the whole batch (`learn/training/gradcache.py`).
        saving: where the state of the run is kept, so that the same call goes on after a kill.
        watch: who looks on.

    Raises:
        DataError: one patient only and some to be held out. UsageError: held_out outside 0..0.5, or chunk with fsdp.
        ArtefactError: the folder of `saving` holds another run.
    """
    settings = _fitting(settings, held_out, chunk)
    world = World.of(settings.parallel)
    objective = loss.on(pairs, rng)
    parts, features = _parts(aligner, tower, objective.module), features_of or _from_cache(pairs)

    def loss_of(rows: np.ndarray, epoch: int) -> Float[Tensor, "b"]:
        seen = cached_embedding(lambda part: features(part, epoch), rows, chunk)
        image, own = world.gather(aligner.encode_image(seen))
        return objective(aligner, image, _of_all(world, rows, image.device), epoch)[own]

    train, held = _split(pairs, held_out, rng)
    objective.taught_by(train)
    sample = batches(rng.permutation(train), settings.batch)[0] if len(train) else np.arange(len(pairs.texts))
    _start_scale(aligner, objective.offset(sample))
    saving = saving and _for(saving, f"{loss!r} {sampler} {_pairs_digest(pairs)}")
    curve = Curve()
    watch = watch.plus(curve).stage("aligning" if tower is None else "fine-tuning")
    history = run_loop(
        parts, loss_of, train, held, settings, rng, order=_order(sampler, pairs, settings.batch), saving=saving,
        on_step=watch.on_step, on_epoch=watch.on_epoch,
    )  # fmt: skip
    known = objective.chance(batches(held, settings.batch)[0]) if len(held) else math.nan
    history.chance, history.held_chance = objective.chance(sample), known
    return Fitted(aligner.eval(), _log(history, pairs, settings, curve), history.alarms())


def _fitting(settings: LoopSettings, held_out: float, chunk: int) -> LoopSettings:
    """The settings as a run with these options can have them."""
    if not 0 <= held_out <= 0.5:
        raise UsageError(f"held_out={held_out}", "a share of the patients, 0 to 0.5", "held_out=0.1")
    return dataclasses.replace(settings, parallel=_settled_after(settings.parallel)) if chunk else settings


def _for(saving: Saving, what: str) -> Saving:
    return dataclasses.replace(saving, data=f"{saving.data} {what}".strip())


def _parts(aligner: Aligner, tower: nn.Module | None, terms: nn.Module | None) -> nn.ModuleDict:
    """All that is trained."""
    named = {"aligner": aligner, "tower": tower, "terms": terms}
    return nn.ModuleDict({name: module for name, module in named.items() if module is not None})


def _start_scale(aligner: Aligner, offset: Float[Tensor, ""]) -> None:
    with torch.no_grad():
        aligner.logit_log_scale.fill_(math.log(10.0))
        aligner.logit_bias.copy_(offset)


def _log(history: History, pairs: Pairs, settings: LoopSettings, curve: Curve) -> dict[str, Any]:
    """What happened, with the images of a batch that failed."""
    log = {
        **dataclasses.asdict(history), "line": history.line(), "pairs": len(pairs.texts), "curve": curve.told(),
        "patients": len(set(pairs.patient_ids)), "settings": dataclasses.asdict(settings),
    }  # fmt: skip
    if history.bad_rows and pairs.image_ids:
        log["bad_images"] = [pairs.image_ids[row] for row in history.bad_rows]
    return log


def _from_cache(pairs: Pairs) -> FeaturesOf:
    """The features as they were embedded, whatever the epoch."""
    cached = torch.from_numpy(pairs.features)
    return lambda rows, epoch: cached[torch.from_numpy(rows)]


def _split(pairs: Pairs, held_out: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers to train on and to stop by, patients apart."""
    folds = round(1 / held_out) if held_out > 0 else 0
    fold = patient_folds(pairs.patient_ids, folds, rng) if folds else np.ones(len(pairs.texts), dtype=int)
    return np.flatnonzero(fold != 0), np.flatnonzero(fold == 0)


def _order(sampler: str, pairs: Pairs, batch: int) -> Order:
    """The sampler, told whose rows they are."""
    member: Sampler = Family("tapetum.learn.samplers").build(sampler)
    return lambda rows, rng: member(rows, pairs, batch, rng)


def _pairs_digest(pairs: Pairs) -> str:
    """What a run on these pairs depends on besides the pixels."""
    whole = hashlib.sha256("\0".join((*pairs.image_ids, *pairs.patient_ids, *pairs.texts)).encode())
    given = pairs.alternatives
    several = () if given is None else (given.features, given.place, given.chance)
    for array in (
        pairs.features,
        pairs.text_features,
        *several,
        *(a for a in (pairs.labels, pairs.names) if a is not None),
        *(() if pairs.groups is None else (pairs.groups.features, pairs.groups.place)),
        *(() if pairs.tokens is None else pairs.tokens.maps),
    ):
        whole.update(np.ascontiguousarray(array).tobytes())
    return f"pairs {whole.hexdigest()[:16]}"


def _of_all(world: World, rows: np.ndarray, device: torch.device) -> np.ndarray:
    """The row numbers of all processes."""
    if not world.mode:
        return rows
    return world.gather(torch.from_numpy(rows.astype(np.float64)).to(device))[0].long().cpu().numpy()


def _settled_after(parallel: str) -> str:
    """The mode for a loss that calls `backward` inside: torch's own hooks would count its gradients twice or never."""
    if parallel == "fsdp":
        raise UsageError("chunk with parallel='fsdp'", "parallel='ddp', or chunk=0", "parallel=ddp")
    return "after" if parallel else ""
