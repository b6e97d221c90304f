"""Losses below and above the level of whole images: pieces of text and local features, prototypes, concepts."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from tapetum.core.errors import UsageError
from tapetum.learn.aligner.objective import Objective
from tapetum.learn.granular.local import LocalSpace
from tapetum.learn.granular.terms import (
    POOLS,
    both_kinds_alike,
    concept_loss,
    concept_scores,
    pieces_seen,
    swapped,
    tokens_told,
)
from tapetum.learn.pairing.pairs import Pairs
from tapetum.nets import Aligner

SIDES = ("both", "text", "image")


@dataclass(frozen=True)
class PieceLoss:
    """Pieces of a text and local features of its image find one another by attention.

    Args:
        local: the tokens.
        sides: `text` = what a piece sees, among all pieces of the batch; `image` = what a token reads, among the tokens
            of its image; `both` = their mean.
        sharpness: of the attention, above 0.

    Raises:
        UsageError: another side, or sharpness not above 0.
    """

    local: LocalSpace = field(repr=False)
    sides: str = "both"
    sharpness: float = 10.0

    def __post_init__(self) -> None:
        if self.sides not in SIDES or not self.sharpness > 0:
            found = f"sides={self.sides!r}, sharpness={self.sharpness}"
            raise UsageError(found, f"{' | '.join(SIDES)}, and above 0", "sides='both'")

    def on(self, pairs: Pairs, rng: np.random.Generator) -> Objective:
        """The loss on the pieces of these pairs.

        Raises:
            UsageError: pairs without pieces.
        """
        del rng
        return _Pieces(self, pairs)


class _Still:
    """What an objective without weights or offset of its own shares with others of its kind."""

    module: nn.Module | None = None

    def taught_by(self, rows: Int[np.ndarray, "n"]) -> None:
        del rows

    def offset(self, rows: Int[np.ndarray, "b"]) -> Float[Tensor, ""]:
        del rows
        return torch.zeros(())


class _Pieces(_Still):
    def __init__(self, loss: PieceLoss, pairs: Pairs) -> None:
        if pairs.groups is None:
            raise UsageError("pairs without the pieces of their texts", "a task whose NEEDS hold groups", "tokens=0")
        self.loss = loss
        self.features = torch.from_numpy(pairs.groups.features.astype(np.float32))
        self.place = torch.from_numpy(pairs.groups.place)

    def __call__(
        self, aligner: Aligner, image: Float[Tensor, "b e"], rows: Int[np.ndarray, "b"], epoch: int
    ) -> Float[Tensor, "b"]:
        del image, epoch
        used, place = self._of_batch(rows)
        tokens, pieces = self.loss.local(aligner, rows), aligner.encode_text(self.features[used])
        scale, sharpness = aligner.logit_log_scale.exp().clamp(max=100.0), self.loss.sharpness
        terms = {"text": pieces_seen, "image": tokens_told}
        wanted = [term for side, term in terms.items() if self.loss.sides in (side, "both")]
        found = [term(tokens, pieces, place, scale=scale, sharpness=sharpness) for term in wanted]
        return torch.stack(found).mean(0)

    def chance(self, rows: Int[np.ndarray, "b"]) -> float:
        used, place = self._of_batch(rows)
        count = self.loss.local.count
        several = float(((place >= 0).sum(1) > 1).float().mean())
        known = {"text": math.log(len(used)), "image": math.log(count) * several}
        return float(np.mean([v for side, v in known.items() if self.loss.sides in (side, "both")]))

    def _of_batch(self, rows: Int[np.ndarray, "b"]) -> tuple[Int[Tensor, "u"], Int[Tensor, "b s"]]:
        """Which pieces stand in the batch, each once, and where."""
        place = self.place[torch.from_numpy(rows)]
        used, number = torch.unique(place, return_inverse=True)
        lacking = int(used[0] < 0)
        return used[lacking:], number - lacking


@dataclass(frozen=True)
class PrototypeLoss:
    """Images and their texts belong to the same of some learned prototypes.

    Args:
        count: of prototypes, at least 2. dim: columns of the common space.
        scale: multiplier of the cosines that predict. sharpness, rounds: of the assignment that is predicted.

    Raises:
        UsageError: an option out of range.
    """

    count: int
    dim: int
    scale: float = 5.0
    sharpness: float = 20.0
    rounds: int = 3

    def __post_init__(self) -> None:
        if self.count < 2 or self.rounds < 1 or not min(self.scale, self.sharpness) > 0:
            raise UsageError(f"{self}", "count ≥ 2, rounds ≥ 1, scale and sharpness above 0", "count=32")

    def on(self, pairs: Pairs, rng: np.random.Generator) -> Objective:
        """The loss on the texts of these pairs; the prototypes start at random."""
        return _Prototypes(self, pairs, rng)


class _Prototypes(_Still):
    def __init__(self, loss: PrototypeLoss, pairs: Pairs, rng: np.random.Generator) -> None:
        self.loss = loss
        self.words = torch.from_numpy(pairs.text_features.astype(np.float32))
        start = rng.standard_normal((loss.count, loss.dim)).astype(np.float32)
        self.prototypes = nn.Parameter(torch.from_numpy(start))
        self.module: nn.Module | None = nn.ParameterList([self.prototypes])

    def __call__(
        self, aligner: Aligner, image: Float[Tensor, "b e"], rows: Int[np.ndarray, "b"], epoch: int
    ) -> Float[Tensor, "b"]:
        del epoch
        text = aligner.encode_text(self.words[torch.from_numpy(rows)])
        given = self.loss
        return swapped(image, text, self.prototypes, scale=given.scale, sharpness=given.sharpness, rounds=given.rounds)

    def chance(self, rows: Int[np.ndarray, "b"]) -> float:
        del rows
        return math.log(self.loss.count)


@dataclass(frozen=True)
class ConceptLoss:
    """Of every concept that a report affirms some place of the image shows it, and of every other one no place does.

    Args:
        local: the tokens. pool, sharpness: of `concept_scores`.

    Raises:
        UsageError: another pool, or sharpness not above 0.
    """

    local: LocalSpace = field(repr=False)
    pool: str = "soft"
    sharpness: float = 10.0

    def __post_init__(self) -> None:
        if self.pool not in POOLS or not self.sharpness > 0:
            found = f"pool={self.pool!r}, sharpness={self.sharpness}"
            raise UsageError(found, f"{' | '.join(POOLS)}, and above 0", "pool='soft'")

    def on(self, pairs: Pairs, rng: np.random.Generator) -> Objective:
        """The loss on the findings of these pairs.

        Raises:
            UsageError: pairs without findings or without the features of their names.
        """
        del rng
        if pairs.labels is None or pairs.names is None:
            raise UsageError("pairs without a tree of findings", "an archive with a domain pack", "patches=0")
        return _Concepts(self, pairs.labels, pairs.names)


class _Concepts(_Still):
    def __init__(self, loss: ConceptLoss, labels: np.ndarray, names: np.ndarray) -> None:
        self.loss = loss
        self.labels = torch.from_numpy(labels.astype(np.float32))
        self.names = torch.from_numpy(names.astype(np.float32))
        self.weights = both_kinds_alike(self.labels)
        self.offsets = nn.Parameter(torch.zeros(len(names)))
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.module: nn.Module | None = nn.ParameterList([self.offsets, self.log_scale])

    def __call__(
        self, aligner: Aligner, image: Float[Tensor, "b e"], rows: Int[np.ndarray, "b"], epoch: int
    ) -> Float[Tensor, "b"]:
        del image, epoch
        concepts = aligner.encode_text(self.names)
        found = concept_scores(
            self.loss.local(aligner, rows), concepts, pool=self.loss.pool, sharpness=self.loss.sharpness
        )
        labels = self.labels[torch.from_numpy(rows)]
        logits = self.log_scale.exp().clamp(max=100.0) * found + self.offsets
        return concept_loss(logits, labels, self._weight(labels))

    def taught_by(self, rows: Int[np.ndarray, "n"]) -> None:
        self.weights = both_kinds_alike(self.labels[torch.from_numpy(rows)])

    def chance(self, rows: Int[np.ndarray, "b"]) -> float:
        labels = self.labels[torch.from_numpy(rows)]
        return float(concept_loss(torch.zeros_like(labels), labels, self._weight(labels)).mean())

    def _weight(self, labels: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        have, lack = self.weights
        return labels * have + (1 - labels) * lack
