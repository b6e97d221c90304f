"""Losses of a small decoder that reads reports beside images: do they belong together, which words are hidden, next."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from tapetum.core.errors import UsageError
from tapetum.core.registry import Family
from tapetum.learn.aligner.objective import Objective
from tapetum.learn.granular.local import LocalSpace
from tapetum.learn.matching import Matching
from tapetum.learn.pairing.pairs import Pairs
from tapetum.nets import Aligner
from tapetum.nets.decoder import ReportDecoder
from tapetum.nets.pieces import END, MASK, PAD, START, word_pieces


@dataclass(frozen=True)
class Reader:
    """A decoder, the words of all rows and what they may look at: what the terms share.

    Args:
        decoder: trained with the aligner, then left behind.
        ids: words of every row. vocabulary: what they stand for.
        local: the tokens of the images; None = the words see each image as a whole only.
    """

    decoder: ReportDecoder
    ids: Int[Tensor, "n l"]
    vocabulary: tuple[str, ...]
    local: LocalSpace | None

    @staticmethod
    def of(
        pairs: Pairs,
        local: LocalSpace | None,
        dim: int,
        rng: np.random.Generator,
        *,
        width: int,
        layers: int,
        most: int,
    ) -> Reader:
        """A new decoder for the first wording of these pairs' texts.

        Raises:
            UsageError: most below 3, or a width that is no multiple of 4.
        """
        if most < 3:
            raise UsageError(f"most={most} words", "at least 3, start and end included", "words=48")
        ids, vocabulary = word_pieces(pairs.texts, most=most)
        generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
        decoder = ReportDecoder(
            len(vocabulary), ids.shape[1], dim, width=width, layers=layers, heads=4, generator=generator
        )
        return Reader(decoder, torch.from_numpy(ids), vocabulary, local)

    def seen(self, aligner: Aligner, image: Float[Tensor, "b e"], rows: Int[np.ndarray, "b"]) -> Float[Tensor, "b m e"]:
        """What the words may look at: the image as a whole, then its places if they are seen."""
        whole = image[:, None]
        return whole if self.local is None else torch.cat([whole, self.local(aligner, rows)], 1)


class _Reading:
    """What the terms on one reader share."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.module: nn.Module | None = reader.decoder

    def taught_by(self, rows: Int[np.ndarray, "n"]) -> None:
        del rows

    def offset(self, rows: Int[np.ndarray, "b"]) -> Float[Tensor, ""]:
        del rows
        return torch.zeros(())


@dataclass(frozen=True)
class MatchLoss:
    """Does this text belong to this image? Asked of each pair, and of the likest wrong text and wrong image.

    Args:
        reader: the decoder.
        matching: member of `learn/matching`; whatever it gives more than 0 is no negative.
    """

    reader: Reader = field(repr=False)
    matching: str = "category"

    def on(self, pairs: Pairs, rng: np.random.Generator) -> Objective:
        """The loss on the texts of these pairs; nothing is drawn.

        Raises:
            UsageError: a rule that needs findings, and pairs without.
        """
        del rng
        return _Match(self, pairs)


class _Match(_Reading):
    def __init__(self, loss: MatchLoss, pairs: Pairs) -> None:
        super().__init__(loss.reader)
        self.rule: Matching = Family("tapetum.learn.matching").build(loss.matching)
        self.words = torch.from_numpy(pairs.text_features.astype(np.float32))
        self.labels = None if pairs.labels is None else torch.from_numpy(pairs.labels.astype(np.float32))
        self._no_negatives(np.arange(min(2, len(pairs.texts))))  # refuses a rule without findings before training

    def __call__(
        self, aligner: Aligner, image: Float[Tensor, "b e"], rows: Int[np.ndarray, "b"], epoch: int
    ) -> Float[Tensor, "b"]:
        del epoch
        chosen = torch.from_numpy(rows)
        text, other = hardest(
            image.detach() @ aligner.encode_text(self.words[chosen]).detach().T, self._no_negatives(rows)
        )
        ids, seen = self.reader.ids[chosen], self.reader.seen(aligner, image, rows)
        own = self._logit(ids, seen)
        wrong_text, wrong_image = self._logit(ids[text], seen), self._logit(ids, seen[other])
        return match_loss(own, wrong_text, wrong_image, (text >= 0), (other >= 0))

    def chance(self, rows: Int[np.ndarray, "b"]) -> float:
        excluded = self._no_negatives(rows)
        text, other = hardest(torch.zeros(excluded.shape), excluded)
        nothing = torch.zeros(len(rows))
        return float(match_loss(nothing, nothing, nothing, text >= 0, other >= 0).mean())

    def _logit(self, ids: Int[Tensor, "b l"], seen: Float[Tensor, "b m e"]) -> Float[Tensor, "b"]:
        decoder = self.reader.decoder
        return decoder.match_logit(decoder(ids, seen, causal=False))

    def _no_negatives(self, rows: Int[np.ndarray, "b"]) -> Bool[Tensor, "b b"]:
        chosen = torch.from_numpy(rows)
        return self.rule(self.words[chosen], None if self.labels is None else self.labels[chosen]) > 0


def hardest(scores: Float[Tensor, "b b"], excluded: Bool[Tensor, "b b"]) -> tuple[Int[Tensor, "b"], Int[Tensor, "b"]]:
    """For each image the likest wrong text, for each text the likest wrong image; −1 where none is wrong.

    Args:
        scores: of image i and text j.
        excluded: pairs that are no negatives.

    Example:
        >>> hardest(torch.tensor([[3.0, 2.0], [1.0, 3.0]]), torch.eye(2, dtype=torch.bool))
        (tensor([1, 0]), tensor([1, 0]))
    """
    left = scores.masked_fill(excluded, float("-inf"))
    none = torch.full((len(scores),), -1)
    return (
        torch.where(excluded.all(1), none, left.argmax(1)),
        torch.where(excluded.all(0), none, left.argmax(0)),
    )


def match_loss(
    own: Float[Tensor, "b"],
    wrong_text: Float[Tensor, "b"],
    wrong_image: Float[Tensor, "b"],
    has_text: Bool[Tensor, "b"],
    has_image: Bool[Tensor, "b"],
) -> Float[Tensor, "b"]:
    """Binary cross-entropy of a pair and of its negatives, pair and negatives weighing alike.

    Args:
        own: log odds of the pair.
        wrong_text: of the image with the likest wrong text.
        wrong_image: of the text with the likest wrong image.
        has_text: whether there is such a text.
        has_image: whether there is such an image.

    Returns:
        In nats; ln 2 where nothing is known, half of it for a pair without a negative.
    """
    yes, no = torch.ones_like(own), torch.zeros_like(own)
    count = has_text.to(own.dtype) + has_image
    wrong = binary_cross_entropy_with_logits(wrong_text, no, reduction="none") * has_text
    wrong = wrong + binary_cross_entropy_with_logits(wrong_image, no, reduction="none") * has_image
    return (binary_cross_entropy_with_logits(own, yes, reduction="none") + wrong / count.clamp_min(1)) / 2


@dataclass(frozen=True)
class WordsLoss:
    """Which words were hidden, or which word comes next, given the image.

    Args:
        reader: the decoder.
        share: of the words that are hidden; 0 = none is, and the next word is written.
    """

    reader: Reader = field(repr=False)
    share: float = 0.0

    @staticmethod
    def hiding(reader: Reader, share: float) -> WordsLoss:
        """The loss on hidden words, drawn anew in every epoch.

        Raises:
            UsageError: share not above 0 and at most 1.
        """
        if not 0 < share <= 1:
            raise UsageError(f"hidden={share}", "a share of the words, above 0 and at most 1", "hidden=0.3")
        return WordsLoss(reader, share)

    def on(self, pairs: Pairs, rng: np.random.Generator) -> Objective:
        """The loss on the texts of these pairs; `rng` is drawn from where words are hidden."""
        del pairs
        return _Words(self, int(rng.integers(2**31)) if self.share else 0)


class _Words(_Reading):
    def __init__(self, loss: WordsLoss, seed: int) -> None:
        super().__init__(loss.reader)
        self.share, self.seed = loss.share, seed

    def __call__(
        self, aligner: Aligner, image: Float[Tensor, "b e"], rows: Int[np.ndarray, "b"], epoch: int
    ) -> Float[Tensor, "b"]:
        ids, seen = self.reader.ids[torch.from_numpy(rows)], self.reader.seen(aligner, image, rows)
        decoder = self.reader.decoder
        if not self.share:
            states = decoder(ids[:, :-1], seen, causal=True)
            return mean_of_words(decoder.word_logits(states), ids[:, 1:], ids[:, 1:] != PAD)
        hidden = self._hidden(rows, epoch)
        states = decoder(ids.masked_fill(hidden, MASK), seen, causal=False)
        return mean_of_words(decoder.word_logits(states), ids, hidden)

    def chance(self, rows: Int[np.ndarray, "b"]) -> float:
        """How often each word stands in the texts is known; nothing else."""
        ids = self.reader.ids
        wanted = ids[:, 1:] if not self.share else ids
        counted = (wanted != PAD) if not self.share else (wanted != PAD) & (wanted != START) & (wanted != END)
        often = torch.bincount(wanted[counted], minlength=len(self.reader.vocabulary)).float()
        logs = (often / often.sum()).clamp_min(1e-12).log().expand(len(rows), wanted.shape[1], -1)
        at = torch.from_numpy(rows)
        return float(mean_of_words(logs, wanted[at], counted[at]).mean())

    def _hidden(self, rows: Int[np.ndarray, "b"], epoch: int) -> Bool[Tensor, "b l"]:
        """Of each text its share of words, at least one; the same for a row and epoch whatever the batch."""
        ids = self.reader.ids
        order = np.random.default_rng([self.seed, epoch + 1]).random(ids.shape)[rows]
        words = ids[torch.from_numpy(rows)]
        may = (words != PAD) & (words != START) & (words != END)
        order = torch.from_numpy(order).masked_fill(~may, math.inf)
        wanted = (may.sum(1) * self.share).round().clamp_min(1)[:, None]
        return may & (order.argsort(1).argsort(1) < wanted)


def mean_of_words(
    logits: Float[Tensor, "b l v"], ids: Int[Tensor, "b l"], counted: Bool[Tensor, "b l"]
) -> Float[Tensor, "b"]:
    """Mean cross-entropy of the words of each text that count, in nats; 0 where none does."""
    losses = cross_entropy(logits.transpose(1, 2), ids, reduction="none")
    return (losses * counted).sum(1) / counted.sum(1).clamp_min(1)
