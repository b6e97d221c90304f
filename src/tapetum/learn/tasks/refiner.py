"""Refinement by reading: contrast, matching and the words of reports, by gradient on cached features."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np

from tapetum.core.errors import UsageError
from tapetum.learn.aligner.gradient import train_aligner
from tapetum.learn.aligner.objective import AlignmentLoss, Trains
from tapetum.learn.aligner.starting import Start
from tapetum.learn.granular.local import LocalSpace
from tapetum.learn.granular.reading import MatchLoss, Reader, WordsLoss
from tapetum.learn.granular.weighted import Weighted
from tapetum.learn.pairing.pairs import Fitted, Pairs
from tapetum.learn.training.loop import LoopSettings
from tapetum.learn.training.runlog import UNWATCHED, Watch
from tapetum.nets import Aligner

__all__ = ["Refiner"]


@dataclass(frozen=True)
class Refiner:
    """A small decoder learns to read reports beside images; what it looks at is what the aligner makes of them.

    Args:
        contrast, match, masked, causal: weights of the image-text loss, of telling right from wrong pairs, of hidden
            words and of the next word; 0 leaves a term out altogether.
        hidden: share of the words that are hidden. words: most word pieces of a text.
        width, layers: of the decoder, which is left behind after training; width a multiple of 4.
        sees: `image` = the words look at what the aligner makes of the whole image, which is what is kept and refined;
            `places` = at its tokens too, most of what they look at being thrown away then.
        warm_up: epochs in which the decoder alone learns to read, the aligner standing still; 0 = none. A decoder that
            cannot read yet has nothing to teach.
        rank: main directions in which tokens are kept, per encoder; 0 = all. Of `places` only.
        negatives: member of `learn/matching`: texts that it matches are no wrong texts.
        start: `ridge` = the closed form, refined; `random`, as in `contrastive`.
        matching, sampler, dim, power, shrinkage, held_out, epochs, batch, learning_rate, weight_decay: as in
            `contrastive`, which with the same start is what remains where the other weights are 0.

    Source: after Fecso et al. (RetFiner), 2025, arXiv 2506.22149: contrast, matching, masked and generative
    modelling together. Differs: towers frozen, what is refined is the aligner; a decoder of our own from random
    weights with a vocabulary of the training reports, which reads alone for a while first; texts with the same
    findings are no negatives.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ()

    contrast: float = 1.0
    match: float = 1.0
    masked: float = 1.0
    causal: float = 1.0
    hidden: float = 0.3
    words: int = 48
    width: int = 32
    layers: int = 1
    sees: str = "image"
    warm_up: int = 20
    rank: int = 128
    negatives: str = "category"
    matching: str = "same_text"
    sampler: str = "shuffled"
    start: str = "ridge"
    dim: int = 256
    power: float = 0.5
    shrinkage: float = 0.1
    held_out: float = 0.1
    epochs: int = 60
    batch: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.5

    def __post_init__(self) -> None:
        if self.sees not in ("image", "places"):
            raise UsageError(f"sees={self.sees!r}", "image | places", "refiner(sees='image')")
        if self.warm_up < 0:
            raise UsageError(f"warm_up={self.warm_up}", "a number of epochs, 0 or more", "refiner(warm_up=20)")
        if self._places:  # on this instance: no other way to see asks for tokens
            object.__setattr__(self, "NEEDS", ("tokens",))

    @property
    def _reads(self) -> bool:
        """Whether any term has to do with words."""
        return any((self.match, self.masked, self.causal))

    @property
    def _places(self) -> bool:
        return self.sees == "places"

    def fit(self, pairs: Pairs, rng: np.random.Generator, watch: Watch = UNWATCHED) -> Fitted:
        """Train; the log holds both losses per epoch and what chance is.

        Raises:
            UsageError: pairs without tokens, where places are seen; hidden=0 with a weight of `masked`.
        """
        aligner = Start(self.start, self.dim, self.power, self.shrinkage).aligner(pairs, rng)
        loss = self._loss(pairs, aligner, rng)
        settings = LoopSettings(self.epochs, self.batch, self.learning_rate, self.weight_decay)
        train = partial(train_aligner, held_out=self.held_out, sampler=self.sampler, watch=watch)
        if self.warm_up and self._reads:
            alone = dataclasses.replace(settings, epochs=self.warm_up)
            aligner.requires_grad_(requires_grad=False)
            # a copy of the generator draws the same held-out patients: the decoder must not have read their reports
            train(aligner, pairs, loss, alone, copy.deepcopy(rng))
            aligner.requires_grad_(requires_grad=True)
        return train(aligner, pairs, loss, settings, rng)

    def _loss(self, pairs: Pairs, aligner: Aligner, rng: np.random.Generator) -> Weighted:
        """The sum of what has a weight; its terms share one new decoder."""
        terms: dict[str, tuple[float, Trains]] = {"contrast": (self.contrast, AlignmentLoss("clip", self.matching))}
        if self._reads:
            local = LocalSpace(pairs, aligner, rank=self.rank, rng=rng) if self._places else None
            across = int(aligner.image_weight.shape[1])
            reader = Reader.of(pairs, local, across, rng, width=self.width, layers=self.layers, most=self.words)
            terms |= {
                "match": (self.match, MatchLoss(reader, self.negatives)),
                "masked": (self.masked, WordsLoss.hiding(reader, self.hidden)),
                "causal": (self.causal, WordsLoss(reader)),
            }
        return Weighted.of(terms)
