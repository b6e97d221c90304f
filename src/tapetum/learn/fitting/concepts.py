"""Concepts: sentences of what is seen, as directions in the space of images and words."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int

if TYPE_CHECKING:
    from tapetum.learn.model import Model


@dataclass(frozen=True)
class Described:
    """Sentences, and which finding each speaks for.

    Attributes:
        names: the sentences.
        directions: of unit length, column by column.
        speaks: whether a sentence describes the finding of that column, or one below it in the pack's tree.
        taught: the column of the very finding that a sentence describes, whose labels say where it is absent; −1 where
            that finding is not among the columns.

    Example:
        >>> Described(("a", "b"), np.eye(3)[:, :2], np.eye(2, dtype=bool), np.arange(2)).shuffled(
        ...     np.random.default_rng(0)).directions[:, 0]
        array([0., 1., 0.])
    """

    names: tuple[str, ...]
    directions: Float[np.ndarray, "d c"]
    speaks: Bool[np.ndarray, "c k"]
    taught: Int[np.ndarray, "c"]

    def randomised(self, rng: np.random.Generator) -> Described:
        """As many directions that mean nothing, drawn evenly; a negative control."""
        drawn = rng.normal(size=self.directions.shape)
        return dataclasses.replace(self, directions=drawn / np.linalg.norm(drawn, axis=0))

    def shuffled(self, rng: np.random.Generator) -> Described:
        """The same directions under each other's names, none under its own; a negative control."""
        ring = rng.permutation(len(self.names))
        order = np.empty_like(ring)
        order[ring] = np.roll(ring, 1)
        return dataclasses.replace(self, directions=self.directions[:, order])


def described(model: Model, findings: Sequence[str]) -> Described | None:
    """The descriptions of all findings of the model's pack that an image can show; None without a pack.

    Args:
        model: with an aligner.
        findings: the columns.

    Raises:
        UsageError: the model has no aligner.
    """
    from tapetum.knowledge import load_pack

    if not model.pack:
        return None
    pack, column = load_pack(model.pack), {f: j for j, f in enumerate(findings)}
    of: dict[str, list[str]] = {}
    for name, finding in pack.findings.items():
        for sentence in finding.descriptions if finding.visible else ():
            of.setdefault(sentence, []).append(name)
    speaks = np.zeros((len(of), len(findings)), dtype=bool)
    for c, about in enumerate(of.values()):
        for name in about:
            speaks[c, [column[f] for f in (name, *pack.ancestors(name)) if f in column]] = True
    taught = np.array([next((column[f] for f in about if f in column), -1) for about in of.values()])
    return Described(tuple(of), sentence_directions(model, tuple(of)), speaks, taught)


def sentence_directions(model: Model, sentences: Sequence[str]) -> Float[np.ndarray, "d c"]:
    """Sentences in the space of images and words, of unit length, column by column."""
    found = model.encode_text([model.space.prompt(s) for s in sentences] if model.space else list(sentences))
    return found.T.astype(np.float64)
