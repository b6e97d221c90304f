"""What an aligner is trained for: a loss of `learn/alignment` on the texts of the pairs, or a loss over a tree."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from tapetum.core.errors import UsageError
from tapetum.core.registry import Family
from tapetum.learn.aligner.equal import equal_texts
from tapetum.learn.alignment import Alignment
from tapetum.learn.matching import Matching
from tapetum.learn.pairing.pairs import Pairs
from tapetum.nets import Aligner


class Objective(Protocol):
    """A loss that knows the words of all rows.

    Attributes:
        module: what is learned beside the aligner and left behind with the training, None where there is nothing.
    """

    module: nn.Module | None

    def taught_by(self, rows: Int[np.ndarray, "n"]) -> None:
        """Be told before training which rows may be learned from; the others are held out."""
        ...

    def __call__(
        self, aligner: Aligner, image: Float[Tensor, "b e"], rows: Int[np.ndarray, "b"], epoch: int
    ) -> Float[Tensor, "b"]:
        """Loss per row in nats, lower is better. Epoch −1 = held-out rows: every text in its first wording."""
        ...

    def offset(self, rows: Int[np.ndarray, "b"]) -> Float[Tensor, ""]:
        """The best offset of the logits as long as nothing is known."""
        ...

    def chance(self, rows: Int[np.ndarray, "b"]) -> float:
        """The loss of an image side that knows nothing: no slope, best offset."""
        ...


class Trains(Protocol):
    """A loss before it is told the pairs."""

    def on(self, pairs: Pairs, rng: np.random.Generator) -> Objective:
        """The loss on the words of these pairs; `rng` is drawn from only where texts have several wordings."""
        ...


@dataclass(frozen=True)
class AlignmentLoss:
    """A loss of `learn/alignment` with what counts as a match.

    Args:
        spec: member of the family.
        matching: member of `learn/matching`.
    """

    spec: str
    matching: str = "same_text"
    function: Alignment = field(init=False, repr=False)
    rule: Matching = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "function", Family("tapetum.learn.alignment").build(self.spec))
        object.__setattr__(self, "rule", Family("tapetum.learn.matching").build(self.matching))

    def on(self, pairs: Pairs, rng: np.random.Generator) -> Objective:
        """The loss on the words of these pairs."""
        return _Contrast(self, pairs, rng)

    def match(self, words: Float[Tensor, "b t"], labels: Float[Tensor, "b k"] | None = None) -> Float[Tensor, "b b"]:
        """How much text j speaks of image i."""
        return self.rule(words, labels)

    def offset(self, words: Float[Tensor, "b t"], labels: Float[Tensor, "b k"] | None = None) -> Float[Tensor, ""]:
        """The log odds of a match: the best offset of the logits as long as nothing is known."""
        return _log_odds(self.match(words, labels))

    def chance(self, words: Float[Tensor, "b t"], labels: Float[Tensor, "b k"] | None = None) -> float:
        """The loss of an image side that knows nothing: no slope, best offset. ln(batch) for the softmax loss."""
        return float(self.knowing_nothing(self.match(words, labels)).mean())

    def knowing_nothing(self, match: Float[Tensor, "b b"]) -> Float[Tensor, "b"]:
        """The loss of every row where all cosines are 0."""
        nothing = torch.zeros(len(match), 1)
        return self.function(nothing, nothing, match, scale=torch.tensor(1.0), bias=_log_odds(match))


def _log_odds(match: Float[Tensor, "b b"]) -> Float[Tensor, ""]:
    return torch.logit(match.mean().clamp(1e-6, 1 - 1e-6))


_LossOfText = Callable[[Tensor, Tensor, Tensor], Tensor]
_Text = tuple[Bool[Tensor, "b"], Float[Tensor, "p t"], Float[Tensor, "p p"]]


class _Contrast:
    """Every text of an image is contrasted with the same kind of text of the other images; the mean over its texts."""

    module: nn.Module | None = None

    def taught_by(self, rows: Int[np.ndarray, "n"]) -> None:
        """Nothing is read off the rows beforehand."""

    def __init__(self, loss: AlignmentLoss, pairs: Pairs, rng: np.random.Generator) -> None:
        self.loss = loss
        self.words = torch.from_numpy(pairs.text_features.astype(np.float32))
        self.labels = None if pairs.labels is None else torch.from_numpy(pairs.labels.astype(np.float32))
        self.alternatives = pairs.alternatives
        if pairs.alternatives is not None:
            self.seed = int(rng.integers(2**31))
            self.wordings = torch.from_numpy(pairs.alternatives.features.astype(np.float32))
            self.drawn = (-1, pairs.alternatives.draw(None))

    def __call__(
        self, aligner: Aligner, image: Float[Tensor, "b e"], rows: Int[np.ndarray, "b"], epoch: int
    ) -> Float[Tensor, "b"]:
        scale = aligner.logit_log_scale.exp().clamp(max=100.0)
        return self._over_texts(
            rows,
            epoch,
            lambda here, words, match: self.loss.function(
                image[here], aligner.encode_text(words), match, scale=scale, bias=aligner.logit_bias
            ),
        )

    def offset(self, rows: Int[np.ndarray, "b"]) -> Float[Tensor, ""]:
        return torch.stack([_log_odds(match) for _, _, match in self._texts(rows, -1)]).mean()

    def chance(self, rows: Int[np.ndarray, "b"]) -> float:
        return float(self._over_texts(rows, -1, lambda here, words, match: self.loss.knowing_nothing(match)).mean())

    def _texts(self, rows: Int[np.ndarray, "b"], epoch: int) -> Iterator[_Text]:
        """For each text of the images: which rows have it, its features, and its matches."""
        labels = None if self.labels is None else self.labels[torch.from_numpy(rows)]
        if self.alternatives is None:
            words = self.words[torch.from_numpy(rows)]
            yield torch.ones(len(rows), dtype=torch.bool), words, self.loss.match(words, labels)
            return
        for place in torch.from_numpy(self._drawn(epoch)[rows]).T:
            here = place >= 0
            if here.any():
                words = self.wordings[place[here]]
                match = self.loss.match(words, None if labels is None else labels[here])
                # Two images of one place have equal texts on the place, whatever their findings: no negatives.
                yield here, words, torch.maximum(match, equal_texts(words))

    def _over_texts(self, rows: Int[np.ndarray, "b"], epoch: int, loss: _LossOfText) -> Float[Tensor, "b"]:
        """The mean over the texts that a row has."""
        found = [(here, loss(here, words, match)) for here, words, match in self._texts(rows, epoch)]
        if len(found) == 1 and found[0][0].all():
            return found[0][1]
        total, count = torch.zeros(len(rows)), torch.zeros(len(rows))
        for here, losses in found:
            total = total.index_add(0, here.nonzero()[:, 0], losses)
            count += here
        return total / count

    def _drawn(self, epoch: int) -> Int[np.ndarray, "n s"]:
        """The wordings of an epoch, the same however its rows are cut into batches."""
        assert self.alternatives is not None
        if epoch < 0:
            return self.alternatives.draw(None)
        if self.drawn[0] != epoch:
            self.drawn = (epoch, self.alternatives.draw(np.random.default_rng([self.seed, epoch])))
        return self.drawn[1]


@dataclass(frozen=True)
class LevelLoss:
    """Cross-entropy at every level of the tree of findings, the names of the findings being the classes.

    Args:
        finest: weight of an image's finest level; the levels above weigh 1.

    Raises:
        UsageError: finest not above 0.
    """

    finest: float = 2.0

    def __post_init__(self) -> None:
        if not self.finest > 0:
            raise UsageError(f"finest={self.finest}", "a weight above 0", "finest=2")

    def on(self, pairs: Pairs, rng: np.random.Generator) -> Objective:
        """The loss on the findings of these pairs.

        Raises:
            UsageError: pairs without a tree or without the features of its names.
        """
        del rng
        if pairs.tree is None or pairs.labels is None or pairs.names is None:
            raise UsageError("pairs without a tree of findings", "an archive with a domain pack", "task=contrastive")
        return _Levels(self.finest, pairs.labels, pairs.names, pairs.tree.depth)


class _Levels:
    module: nn.Module | None = None

    def taught_by(self, rows: Int[np.ndarray, "n"]) -> None:
        """Nothing is read off the rows beforehand."""

    def __init__(self, finest: float, labels: np.ndarray, names: np.ndarray, depth: np.ndarray) -> None:
        self.finest = finest
        self.labels = torch.from_numpy(labels.astype(np.float32))
        self.names = torch.from_numpy(names.astype(np.float32))
        self.depth = torch.from_numpy(depth)

    def __call__(
        self, aligner: Aligner, image: Float[Tensor, "b e"], rows: Int[np.ndarray, "b"], epoch: int
    ) -> Float[Tensor, "b"]:
        del epoch
        scale = aligner.logit_log_scale.exp().clamp(max=100.0)
        return level_cross_entropy(
            scale * image @ aligner.encode_text(self.names).T,
            self.labels[torch.from_numpy(rows)],
            self.depth,
            finest=self.finest,
        )

    def offset(self, rows: Int[np.ndarray, "b"]) -> Float[Tensor, ""]:
        del rows
        return torch.zeros(())

    def chance(self, rows: Int[np.ndarray, "b"]) -> float:
        labels = self.labels[torch.from_numpy(rows)]
        return float(level_cross_entropy(torch.zeros_like(labels), labels, self.depth, finest=self.finest).mean())


def level_cross_entropy(
    logits: Float[Tensor, "b k"], labels: Float[Tensor, "b k"], depth: Int[Tensor, "k"], *, finest: float
) -> Float[Tensor, "b"]:
    """Weighted mean over the levels of the cross-entropy among the findings of that level.

    Args:
        logits: of every finding.
        labels: 1 where an image has a finding, closed over the tree; several at one level share its target.
        depth: level of every finding, from 0.
        finest: weight of the deepest level that an image reaches; the levels above weigh 1, those below 0.

    Returns:
        Loss per image in nats; 0 for an image without any finding.
    """
    levels = range(int(depth.max()) + 1 if len(depth) else 0)
    reached = torch.stack([labels[:, depth == d].sum(1) > 0 for d in levels], 1)
    numbers = torch.arange(len(levels))
    deepest = torch.where(reached, numbers, -1).amax(1, keepdim=True)
    weight = reached * torch.where(numbers == deepest, finest, 1.0)
    total = torch.zeros(len(logits), dtype=logits.dtype)
    for d in levels:
        at = depth == d
        target = labels[:, at] / labels[:, at].sum(1, keepdim=True).clamp_min(1)
        total = total - weight[:, d] * (target * log_softmax(logits[:, at], 1)).sum(1)
    return total / weight.sum(1).clamp_min(1e-12)
