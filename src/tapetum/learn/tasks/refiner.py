"""Refinement by reading: contrast, matching and the words of reports, by gradient on cached features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tapetum.learn.aligner.gradient import train_aligner
from tapetum.learn.aligner.objective import AlignmentLoss, Trains
from tapetum.learn.aligner.starting import Start
from tapetum.learn.granular.local import LocalSpace
from tapetum.learn.granular.reading import MatchLoss, Reader, WordsLoss
from tapetum.learn.granular.weighted import Weighted
from tapetum.learn.pairing.pairs import Fitted, Pairs
from tapetum.learn.training.loop import LoopSettings
from tapetum.learn.training.runlog import UNWATCHED, Watch

__all__ = ["Refiner"]


@dataclass(frozen=True)
class Refiner:
    """A small decoder learns to read reports beside images; what it looks at is what the aligner makes of them.

    Args:
        contrast, match, masked, causal: weights of the image-text loss, of telling right from wrong pairs, of hidden
            words and of the next word; 0 leaves a term out altogether.
        hidden: share of the words that are hidden. words: most word pieces of a text.
        width, layers: of the decoder, which is left behind after training; width a multiple of 4.
        rank: main directions in which tokens are kept, per encoder; 0 = all.
        negatives: member of `learn/matching`: texts that it matches are no wrong texts.
        start: `ridge` = the closed form, refined; `random`, as in `contrastive`.
        matching, sampler, dim, power, shrinkage, held_out, epochs, batch, learning_rate, weight_decay: as in
            `contrastive`, which with the same start is what remains where the other weights are 0.

    Source: after Fecso et al. (RetFiner), 2025, arXiv 2506.22149: contrast, matching, masked and generative
    modelling together. Differs: towers frozen, what is refined is the aligner; a decoder of our own from random
    weights with a vocabulary of the training reports; texts with the same findings are no negatives.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("tokens",)

    contrast: float = 1.0
    match: float = 1.0
    masked: float = 1.0
    causal: float = 1.0
    hidden: float = 0.3
    words: int = 48
    width: int = 32
    layers: int = 1
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

    def fit(self, pairs: Pairs, rng: np.random.Generator, watch: Watch = UNWATCHED) -> Fitted:
        """Train; the log holds both losses per epoch and what chance is.

        Raises:
            UsageError: pairs without tokens, where a term on words has a weight; hidden=0 with a weight of `masked`.
        """
        aligner = Start(self.start, self.dim, self.power, self.shrinkage).aligner(pairs, rng)
        terms: dict[str, tuple[float, Trains]] = {"contrast": (self.contrast, AlignmentLoss("clip", self.matching))}
        weights = {"match": self.match, "masked": self.masked, "causal": self.causal}
        if any(weights.values()):
            local = LocalSpace(pairs, aligner, rank=self.rank, rng=rng)
            across = int(aligner.image_weight.shape[1])
            reader = Reader.of(pairs, local, across, rng, width=self.width, layers=self.layers, most=self.words)
            losses = {
                "match": MatchLoss(reader, self.negatives),
                "masked": WordsLoss.hiding(reader, self.hidden),
                "causal": WordsLoss(reader),
            }
            terms |= {name: (weight, losses[name]) for name, weight in weights.items()}
        loss = Weighted.of(terms)
        settings = LoopSettings(self.epochs, self.batch, self.learning_rate, self.weight_decay)
        return train_aligner(
            aligner, pairs, loss, settings, rng, held_out=self.held_out, sampler=self.sampler, watch=watch
        )
