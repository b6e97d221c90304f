"""Noise of several raters, each with a sensitivity and a specificity."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float, Int, Real

from tapetum.core.errors import UsageError
from tapetum.score.planted import Planted, checked_classes

__all__ = ["raters"]


def raters(
    labels: Real[np.ndarray, "n"],
    features: Float[np.ndarray, "n d"] | None,
    *,
    rng: np.random.Generator,
    classes: int = 2,
    rate: float = 0.2,
    skills: tuple[tuple[float, float], ...] = (),
    combine: Literal["one", "majority"] = "one",
) -> Planted:
    """Every rater reads every image; each image keeps one rater's answer, or the most frequent one.

    A rater names a disease (class 1 and above) rightly with the chance of the sensitivity, health (class 0) with that
    of the specificity; a wrong answer is any other class alike.

    Args:
        labels: true classes, 0 = without the finding.
        features: not looked at.
        rng: the generator.
        classes: how many there are.
        rate: expected share of wrong answers of the raters together, where no skills are given: three raters with half
            of it, all of it and half as much again.
        skills: (sensitivity, specificity) of each rater, 0..1; empty = by `rate`.
        combine: `one` rater per image, drawn, as where a clinic shares its work out; `majority`, ties drawn.

    Raises:
        DataError: other labels. UsageError: skills outside 0..1, or another way to combine.

    Example:
        >>> never = ((0.0, 1.0),)
        >>> raters(np.array([0, 1, 1]), None, rng=np.random.default_rng(0), skills=never).labels.tolist()
        [0, 0, 0]

    Source: after Dawid and Skene, Applied Statistics 1979, as a generator. Differs: two numbers per rater instead of a
    confusion matrix.
    """
    del features
    given = checked_classes(labels, classes, rate)
    known = skills or tuple((right, right) for right in (1 - rate * f for f in (0.5, 1.0, 1.5)))
    able = np.clip(np.array(known, dtype=np.float64), 0.0, 1.0)
    if able.ndim != 2 or able.shape[1] != 2 or (skills and not np.array_equal(able, np.array(skills))):
        raise UsageError(f"skills={skills!r}", "a (sensitivity, specificity) in 0..1 for each rater")
    if combine not in ("one", "majority"):
        raise UsageError(f"combine={combine!r}", "one or majority")
    right = np.where(given == 0, able[:, 1:], able[:, :1])
    wrong = rng.random(right.shape) >= right
    others = rng.integers(1, classes, size=right.shape)
    answers = (given + wrong * others) % classes
    kept = _one(answers, rng) if combine == "one" else _majority(answers, classes, rng)
    return Planted(kept, kept != given)


def _one(answers: Int[np.ndarray, "r n"], rng: np.random.Generator) -> Int[np.ndarray, "n"]:
    return answers[rng.integers(len(answers), size=answers.shape[1]), np.arange(answers.shape[1])]


def _majority(answers: Int[np.ndarray, "r n"], classes: int, rng: np.random.Generator) -> Int[np.ndarray, "n"]:
    votes = np.stack([(answers == c).sum(axis=0) for c in range(classes)], axis=1)
    return (votes + rng.random(votes.shape) / 2).argmax(axis=1)
