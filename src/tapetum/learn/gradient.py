"""The aligner by gradient: on cached features, or together with an image tower that is set free."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from tapetum.core.errors import UsageError
from tapetum.core.registry import Family
from tapetum.learn.alignment import Alignment
from tapetum.learn.loop import LoopSettings, batches, run_loop
from tapetum.learn.pairs import Fitted, Pairs
from tapetum.learn.ridge import patient_folds
from tapetum.nets import Aligner

FeaturesOf = Callable[[np.ndarray], Float[Tensor, "b d"]]


@dataclass(frozen=True)
class AlignmentLoss:
    """A loss of `learn/alignment` with what counts as a match.

    Args:
        spec: member of the family.
        near: cosine of two text embeddings from which they are soft positives, weighted by it.
    """

    spec: str
    near: float
    function: Alignment = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "function", Family("tapetum.learn.alignment").build(self.spec))

    def match(self, words: Float[Tensor, "b t"]) -> Float[Tensor, "b b"]:
        """1 for equal texts, the cosine for near-equal ones, else 0."""
        unit = nn.functional.normalize(words, dim=1)
        cosine = (unit @ unit.T).clamp(max=1.0)
        return torch.where(cosine >= self.near, cosine, torch.zeros_like(cosine))

    def offset(self, words: Float[Tensor, "b t"]) -> Float[Tensor, ""]:
        """The log odds of a match: the best offset of the logits as long as nothing is known."""
        return torch.logit(self.match(words).mean().clamp(1e-6, 1 - 1e-6))

    def chance(self, words: Float[Tensor, "b t"]) -> float:
        """The loss of an image side that knows nothing: no slope, best offset. ln(batch) for the softmax loss."""
        nothing = torch.zeros(len(words), 1)
        match, offset = self.match(words), self.offset(words)
        return float(self.function(nothing, nothing, match, scale=torch.tensor(1.0), bias=offset).mean())


def train_aligner(
    aligner: Aligner,
    pairs: Pairs,
    loss: AlignmentLoss,
    settings: LoopSettings,
    rng: np.random.Generator,
    *,
    held_out: float,
    tower: nn.Module | None = None,
    features_of: FeaturesOf | None = None,
) -> Fitted:
    """Train the aligner's maps, and the tower if one is given, with the loop; stop on held-out patients.

    Args:
        aligner: what is trained, in place; its logit scale starts at 10, its offset at the log odds of a match.
        pairs: of the training patients.
        loss: what is trained for.
        settings: of the loop.
        rng: of the order of the rows.
        held_out: share of the patients kept for stopping, 0..0.5; 0 keeps the last epoch.
        tower: its parameters that require a gradient are trained too.
        features_of: row numbers → the tower's features; without it the cached features of `pairs` are used.

    Raises:
        DataError: one patient only and some to be held out. UsageError: held_out outside 0..0.5.
    """
    if not 0 <= held_out <= 0.5:
        raise UsageError(f"held_out={held_out}", "a share of the patients, 0 to 0.5", "held_out=0.1")
    words = torch.from_numpy(pairs.text_features.astype(np.float32))
    cached = torch.from_numpy(pairs.features)

    def from_cache(rows: np.ndarray) -> Float[Tensor, "b d"]:
        return cached[torch.from_numpy(rows)]

    features = features_of or from_cache
    parts = nn.ModuleDict({"aligner": aligner} if tower is None else {"aligner": aligner, "tower": tower})

    def loss_of(rows: np.ndarray) -> Float[Tensor, "b"]:
        text = words[torch.from_numpy(rows)]
        return loss.function(
            aligner.encode_image(features(rows)),
            aligner.encode_text(text),
            loss.match(text),
            scale=aligner.logit_log_scale.exp().clamp(max=100.0),
            bias=aligner.logit_bias,
        )

    folds = round(1 / held_out) if held_out > 0 else 0
    fold = patient_folds(pairs.patient_ids, folds, rng) if folds else np.ones(len(pairs.texts), dtype=int)
    train, held = np.flatnonzero(fold != 0), np.flatnonzero(fold == 0)
    sample = words[torch.from_numpy(batches(rng.permutation(train), settings.batch)[0])] if len(train) else words
    with torch.no_grad():
        aligner.logit_log_scale.fill_(math.log(10.0))
        aligner.logit_bias.copy_(loss.offset(sample))
    history = run_loop(parts, loss_of, train, held, settings, rng)
    history.chance = loss.chance(sample)
    if len(held):
        history.held_chance = loss.chance(words[torch.from_numpy(batches(held, settings.batch)[0])])
    log = {**dataclasses.asdict(history), "line": history.line(), "pairs": len(pairs.texts)}
    return Fitted(aligner.eval(), log, history.alarms())
