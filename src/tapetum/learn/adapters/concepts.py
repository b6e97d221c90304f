"""A concept bottleneck: images are seen only as agreement with sentences, and a linear layer reads nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

import numpy as np
from jaxtyping import Bool, Float

from tapetum.core.errors import UsageError
from tapetum.core.registry import nearest
from tapetum.learn.fitting.anchors import SPREAD, Anchors, need_anchors
from tapetum.learn.fitting.concepts import Described
from tapetum.learn.fitting.ridge import best_penalty, patient_folds
from tapetum.learn.fitting.sigmoid import Targets, curvature
from tapetum.score.metrics.auroc_score import auroc_score

__all__ = ["Concepts"]

PENALTIES = (1.0, 0.1, 0.01, 0.001)  # from large to small: each starts the next
STEPS = 150
EVERY = "what all images share"


@dataclass
class Concepts:
    """Cosine with each description of the pack, standardised, then a linear layer that starts at what the pack says.

    A description of a finding, or of one below it, may only speak for it (weight ≥ 0); all others may speak for or
    against, as far as they are worth their price. Without descriptions the findings' own prompts are the concepts.

    Args:
        penalty: on the squared distance of the weights from those of the pack; 0 = choose, finding by finding, for its
            AUROC on inner patient folds, the largest where no fold can judge.
        sparse: price of the weights of all descriptions that are not the finding's own; higher = fewer of them. The
            default was chosen on a clinic of the phantom: half as many as at 0.01, and as good.
        grounding: 0..1, how far the direction of a description follows the labels of its finding, the mean of images
            with it minus that of images without; then it means what the labels mean, shortcuts included.
        folds: inner patient folds. seed: of the folds.

    Returns:
        Log odds for as many images with as without. A finding without a positive or without a negative image keeps what
        the pack says: its own descriptions, equally.

    Raises:
        UsageError: on fitting, an option out of range; no anchors, or anchors of other rows or findings.

    Source: after Yang et al., NeurIPS 2024, arXiv 2405.14839 (KnoBo) and Yan et al., arXiv 2310.03182 (Robust-CBM).
    Differs: sentences of the pack instead of retrieved or generated ones; cosines instead of trained graders; the prior
    is a sign, a start and an L2 pull; an L1 price on the sentences of other findings.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("anchors", "concepts")
    penalty: float = 0.0
    sparse: float = 0.05
    grounding: float = 0.0
    folds: int = 4
    seed: int = 0
    names_: tuple[str, ...] = field(init=False, repr=False)
    directions_: Float[np.ndarray, "d c"] = field(init=False, repr=False)
    mean_: Float[np.ndarray, "c"] = field(init=False, repr=False)
    scale_: Float[np.ndarray, "c"] = field(init=False, repr=False)
    weight_: Float[np.ndarray, "c k"] = field(init=False, repr=False)
    bias_: Float[np.ndarray, "k"] = field(init=False, repr=False)
    penalty_: Float[np.ndarray, "k"] = field(init=False, repr=False)
    absent_: Float[np.ndarray, "c"] = field(init=False, repr=False)

    def fit(
        self,
        support: Float[np.ndarray, "n d"],
        labels: Float[np.ndarray, "n k"],
        groups: np.ndarray | None = None,
        blocks: Mapping[str, tuple[int, int]] | None = None,
        anchors: Anchors | None = None,
    ) -> Self:
        """Score the concepts, choose penalties, solve; without `groups` every image counts as its own patient."""
        del blocks
        if self.penalty < 0 or self.sparse < 0 or not 0 <= self.grounding <= 1 or self.folds < 2:
            found = f"penalty={self.penalty:g}, sparse={self.sparse:g}, grounding={self.grounding:g}"
            raise UsageError(
                f"{found}, folds={self.folds}", "penalty ≥ 0, sparse ≥ 0, grounding in 0..1, folds ≥ 2", "concepts()"
            )
        head = need_anchors(anchors, support, labels)
        rows, truth = np.asarray(support, dtype=np.float64), np.asarray(labels, dtype=np.float64)
        said = head.described or _own_words(head)
        who = np.arange(len(truth)) if groups is None else np.asarray(groups)
        self.penalty_ = self._penalties(rows, truth, said, head, who)
        whole = _Bottleneck.of(rows, truth, said, head, self.grounding)
        self.names_, self.directions_, self.mean_, self.scale_ = said.names, whole.directions, whole.mean, whole.scale
        self.weight_, self.bias_ = whole.solve(Targets.of(truth), self.penalty_, self.sparse, steps=2 * STEPS)
        self.absent_ = whole.absent(truth, said)
        return self

    def __call__(self, query: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m k"]:
        """Logits per query and finding."""
        return self.scores(query) @ self.weight_ + self.bias_

    def scores(self, query: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m c"]:
        """Agreement with each concept, in standard deviations of the training images from their mean."""
        return (np.asarray(query, dtype=np.float64) @ self.directions_ - self.mean_) / self.scale_

    def explained(self, row: Float[np.ndarray, "d"], finding: int) -> list[tuple[str, float]]:
        """What the logit of a finding is made of, the largest part first; the parts sum to the logit.

        Args:
            row: one image in the common space.
            finding: number of the column.
        """
        parts = self.scores(row[None])[0] * self.weight_[:, finding]
        used = np.flatnonzero(self.weight_[:, finding])
        order = used[np.argsort(-np.abs(parts[used]), kind="stable")]
        return [*((self.names_[c], float(parts[c])) for c in order), (EVERY, float(self.bias_[finding]))]

    def without(self, query: Float[np.ndarray, "m d"], concepts: Sequence[str]) -> Float[np.ndarray, "m k"]:
        """Logits if these concepts were absent: each is set to its mean over training images without its finding.

        A concept of a finding that has no labels is set to its mean over all training images.

        Args:
            query: images in the common space.
            concepts: sentences.

        Raises:
            UsageError: a sentence that is no concept; the message names the nearest.
        """
        scores = self.scores(query)
        for name in concepts:
            if name not in self.names_:
                raise UsageError(f"no concept {name!r}", nearest(name, self.names_))
            scores[:, self.names_.index(name)] = self.absent_[self.names_.index(name)]
        return scores @ self.weight_ + self.bias_

    def state(self) -> dict[str, np.ndarray]:
        """Sentences, as UTF-8 with an end of line between them, and all numbers; weights are of scores, not of rows."""
        return {
            "names": np.frombuffer("\n".join(self.names_).encode(), dtype=np.uint8), "directions": self.directions_,
            "score_mean": self.mean_, "score_scale": self.scale_, "score_weight": self.weight_,
            "score_bias": self.bias_,
            "penalty": self.penalty_, "absent": self.absent_,
        }  # fmt: skip

    def restore(self, state: Mapping[str, np.ndarray]) -> Self:
        """Take them back."""
        self.names_ = tuple(np.asarray(state["names"]).tobytes().decode().split("\n"))
        self.directions_, self.mean_, self.scale_ = state["directions"], state["score_mean"], state["score_scale"]
        self.weight_, self.bias_ = state["score_weight"], state["score_bias"]
        self.penalty_, self.absent_ = state["penalty"], state["absent"]
        return self

    def _penalties(
        self,
        rows: Float[np.ndarray, "n d"],
        truth: Float[np.ndarray, "n k"],
        said: Described,
        head: Anchors,
        who: np.ndarray,
    ) -> Float[np.ndarray, "k"]:
        """One per finding; whatever comes from labels, grounding included, is learned without the fold."""
        if self.penalty > 0:
            return np.full(truth.shape[1], self.penalty)
        fold = patient_folds(who, self.folds, np.random.default_rng(self.seed))
        table = np.full((len(PENALTIES), self.folds, truth.shape[1]), np.nan)
        for f in range(self.folds):
            out = fold == f
            if not out.any() or out.all():
                continue
            part, targets = _Bottleneck.of(rows[~out], truth[~out], said, head, self.grounding), Targets.of(truth[~out])
            start, scores = None, part.scores(rows[out])
            for p, penalty in enumerate(PENALTIES):
                start = part.solve(targets, np.full(truth.shape[1], penalty), self.sparse, start=start)
                logits = scores @ start[0]
                for j in np.flatnonzero(targets.taught):
                    known = ~np.isnan(truth[out, j])
                    table[p, f, j] = auroc_score(logits[known, j], truth[out, j][known].astype(int))
        counted = ~np.isnan(table)
        quality = np.divide(
            np.where(counted, table, 0).sum(1), counted.sum(1), out=np.full(table[:, 0].shape, np.nan),
            where=counted.any(1),
        )  # fmt: skip
        chosen = [best_penalty(column[::-1], PENALTIES[::-1]) for column in quality.T]
        return np.array([PENALTIES[0] if np.isnan(p) else p for p in chosen])


@dataclass(frozen=True)
class _Bottleneck:
    """Concept scores of training rows, and the linear layer that the pack would write down."""

    directions: Float[np.ndarray, "d c"]
    mean: Float[np.ndarray, "c"]
    scale: Float[np.ndarray, "c"]
    seen: Float[np.ndarray, "n c"]
    speaks: Bool[np.ndarray, "c k"]
    weight: Float[np.ndarray, "c k"]
    bias: Float[np.ndarray, "k"]

    @staticmethod
    def of(
        rows: Float[np.ndarray, "n d"],
        truth: Float[np.ndarray, "n k"],
        said: Described,
        head: Anchors,
        grounding: float,
    ) -> _Bottleneck:
        """Own descriptions weigh equally, and so much that logits spread by 2; own words alone as in the anchors."""
        directions = _grounded(rows, truth, said, grounding)
        cosine = rows @ directions
        mean, scale = cosine.mean(0), cosine.std(0)
        scale = np.where(scale > 1e-9, scale, 1.0)
        seen = (cosine - mean) / scale
        if head.described is None and not grounding:
            weight = np.diag(head.lengths * scale)
            return _Bottleneck(directions, mean, scale, seen, said.speaks, weight, head.bias + mean * head.lengths)
        weight = said.speaks / np.maximum(said.speaks.sum(0), 1)
        spread = (seen @ weight).std(0)
        weight = weight * np.where(spread > 1e-9, SPREAD / np.maximum(spread, 1e-9), SPREAD)
        return _Bottleneck(directions, mean, scale, seen, said.speaks, weight, np.zeros(weight.shape[1]))

    def scores(self, rows: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m c"]:
        """Of other rows."""
        return (rows @ self.directions - self.mean) / self.scale

    def absent(self, truth: Float[np.ndarray, "n k"], said: Described) -> Float[np.ndarray, "c"]:
        """Mean score of images without the finding that each concept describes; 0 where no label says so."""
        found = np.zeros(len(said.names))
        for c in np.flatnonzero(said.taught >= 0):
            lacks = truth[:, said.taught[c]] == 0
            found[c] = self.seen[lacks, c].mean() if lacks.any() else 0.0
        return found

    def solve(
        self,
        targets: Targets,
        penalty: Float[np.ndarray, "k"],
        sparse: float,
        *,
        start: tuple[Float[np.ndarray, "c k"], Float[np.ndarray, "k"]] | None = None,
        steps: int = STEPS,
    ) -> tuple[Float[np.ndarray, "c k"], Float[np.ndarray, "k"]]:
        """Proximal gradient steps with momentum; a finding without both classes stays where the pack puts it."""
        weight, bias = (self.weight, self.bias) if start is None else start
        length = 1 / (curvature(self.seen, targets.weight) + penalty)
        ahead, ahead_bias, pace = weight, bias, 1.0
        for _ in range(steps):
            slope = targets.slope(self.seen @ ahead + ahead_bias)
            moved = ahead - length * (self.seen.T @ slope + penalty * (ahead - self.weight))
            shrunk = np.sign(moved) * np.maximum(np.abs(moved) - length * sparse, 0)
            new = np.where(self.speaks, np.maximum(moved, 0), shrunk)
            new_bias, faster = ahead_bias - length * slope.sum(0), (1 + np.sqrt(1 + 4 * pace**2)) / 2
            ahead, ahead_bias = (
                new + (pace - 1) / faster * (new - weight),
                new_bias + (pace - 1) / faster * (new_bias - bias),
            )
            weight, bias, pace = new, new_bias, faster
        taught = targets.taught
        return np.where(taught, weight, self.weight), np.where(taught, bias, self.bias)


def _own_words(head: Anchors) -> Described:
    """The findings' prompts as concepts, where there are no descriptions."""
    columns = head.weight.shape[1]
    return Described(
        tuple(f"finding {j}" for j in range(columns)), head.weight / head.lengths, np.eye(columns, dtype=bool),
        np.arange(columns),
    )  # fmt: skip


def _grounded(
    rows: Float[np.ndarray, "n d"], truth: Float[np.ndarray, "n k"], said: Described, grounding: float
) -> Float[np.ndarray, "d c"]:
    """Directions, drawn towards what tells images with the finding of a concept from those without."""
    directions = np.array(said.directions, dtype=np.float64)
    for c in np.flatnonzero(said.taught >= 0) if grounding else ():
        label = truth[:, said.taught[c]]
        if (label == 1).any() and (label == 0).any():
            apart = rows[label == 1].mean(0) - rows[label == 0].mean(0)
            apart /= max(float(np.linalg.norm(apart)), 1e-12)
            directions[:, c] = (1 - grounding) * directions[:, c] + grounding * apart
    return directions
