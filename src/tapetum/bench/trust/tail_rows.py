"""Rows that a long tail is learned from: one class each, or findings that occur together, thinned where asked."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from tapetum.archive import Archive
from tapetum.bench.models.adapting import taught_findings
from tapetum.bench.models.relearned import refuse_model
from tapetum.bench.trial import Trial
from tapetum.core.errors import DataError, UsageError
from tapetum.core.types import Embeddings, Split
from tapetum.learn.classifying.pictures import Pictures
from tapetum.score.imbalance import exponential_counts


@dataclass(frozen=True)
class Rows:
    """Images with one class each, or with findings that occur together.

    Attributes:
        classes: names of the classes or findings. embeddings: raw features. labels: `[n]` 0..k-1, or `[n k]` 1, 0, NaN.
        left_out: images without any of them.
    """

    classes: tuple[str, ...]
    embeddings: Embeddings
    labels: Int64[np.ndarray, "n"] | Float64[np.ndarray, "n k"]
    left_out: int = 0

    @property
    def exclusive(self) -> bool:
        """Whether each image has one class."""
        return self.labels.ndim == 1

    @property
    def told(self) -> Float64[np.ndarray, "n k"]:
        """A column of 1, 0 or NaN for each class."""
        return np.eye(len(self.classes))[self.labels.astype(np.int64)] if self.exclusive else self.labels

    @property
    def counts(self) -> Float64[np.ndarray, "k"]:
        """Images of each class, or with each finding."""
        if not self.exclusive:
            return np.nansum(self.labels, axis=0)
        return np.bincount(self.labels, minlength=len(self.classes)).astype(np.float64)


def rows_of(trial: Trial, *, together: bool = False) -> tuple[Rows, Rows, list[str]]:
    """Training and test images with exactly one class each, and notes on what was left out.

    Args:
        trial: what is learned on and tested.
        together: findings that occur together in place of classes; images of which nothing is known are left out.

    Raises:
        DataError: an image with several classes, a labelled one without any, or fewer than two classes.
    """
    classes, notes = taught_findings(trial)
    if len(classes) < 2:
        raise DataError(f"{len(classes)} classes to learn in {trial.archive.name}", "two or more")
    train = [r.image_id for r in trial.archive.in_split(Split.TRAIN)]
    chosen = bool(trial.config.findings)
    taught, tested = (
        _several(archive, classes, rows) if together else _one_each(archive, classes, rows, chosen=chosen)
        for archive, rows in (
            (trial.archive, trial.embeddings.rows(train)), (trial.test_archive, trial.test_embeddings)
        )
    )  # fmt: skip
    for rows, what in ((taught, "training"), (tested, "test")):
        if rows.left_out:
            notes.append(f"{rows.left_out} {what} images left out: no label of these")
    absent = [c for c, n in zip(classes, tested.counts, strict=True) if not n]
    if absent:
        notes.append(f"no test image, so undefined and in no mean: {', '.join(absent)}")
    return taught, tested, notes


def _one_each(archive: Archive, classes: tuple[str, ...], embeddings: Embeddings, *, chosen: bool) -> Rows:
    labels = archive.labels(classes, image_ids=list(embeddings.image_ids))
    number, silent = np.nansum(labels, axis=1), np.isnan(labels).all(axis=1)
    wrong = (number > 1) | ((number == 0) & ~silent & (not chosen))
    if wrong.any():
        raise DataError(
            f"{int(wrong.sum())} of {len(labels)} images of {archive.name} have several of the classes, or none",
            "exactly one each",
            "findings=… of classes that exclude each other; linear_probe takes findings that occur together",
        )
    kept = np.flatnonzero(number == 1)
    if not len(kept):
        raise DataError(f"no image of {archive.name} has one of the classes {', '.join(classes)}", "labels")
    rows = embeddings.rows([embeddings.image_ids[i] for i in kept])
    return Rows(classes, rows, np.nanargmax(labels[kept], axis=1).astype(np.int64), len(labels) - len(kept))


def _several(archive: Archive, findings: tuple[str, ...], embeddings: Embeddings) -> Rows:
    labels = archive.labels(findings, image_ids=list(embeddings.image_ids)).astype(np.float64)
    kept = np.flatnonzero(~np.isnan(labels).all(axis=1))
    if not len(kept):
        raise DataError(f"no image of {archive.name} has a label of {', '.join(findings)}", "labels")
    rows = embeddings.rows([embeddings.image_ids[i] for i in kept])
    return Rows(findings, rows, labels[kept], len(labels) - len(kept))


def pictures_of(trial: Trial) -> tuple[Pictures, Pictures] | None:
    """With `mode=finetune` the pictures of the archive learned on and of the tested one; None = frozen features."""
    if trial.config.mode == "frozen":
        return None
    refuse_model(trial)
    seed, encoders = trial.config.seed, trial.config.encoders
    return Pictures(trial.archive, encoders, seed=seed), Pictures(trial.test_archive, encoders, seed=seed)


@dataclass(frozen=True)
class Tail:
    """How the training images are thinned to an exponential tail.

    Args:
        imbalance: of the commonest class to the rarest; 0 = the images as they are.
        largest: images of the commonest class; 0 = as many as all classes have enough for.
    """

    imbalance: float = 0.0
    largest: int = 0

    def wanted(self, rows: Rows) -> Int64[np.ndarray, "k"]:
        """Images of each class that stay.

        Raises:
            UsageError: a ratio that cannot be. DataError: a class has too few images for it.
        """
        counts = rows.counts.astype(np.int64)
        if not self.imbalance:
            return counts
        order = np.argsort(-counts, kind="stable")
        largest = self.largest or _most(counts[order], self.imbalance)
        if largest < self.imbalance:
            found = f"{rows.classes[order[-1]]} has {counts[order[-1]]} training images"
            raise DataError(f"imbalance={self.imbalance:g}: {found}", "enough of each class, or a smaller imbalance")
        falling = exponential_counts(largest, self.imbalance, len(counts))
        wanted = np.empty_like(counts)
        wanted[order] = falling
        short = np.flatnonzero(wanted > counts)
        if len(short):
            worst = short[np.argmax(wanted[short] / np.maximum(counts[short], 1))]
            found = f"{rows.classes[worst]} has {counts[worst]} training images, {wanted[worst]} are needed"
            raise DataError(f"imbalance={self.imbalance:g}: {found}", "a larger imbalance or a smaller largest=")
        return wanted

    def thin(self, rows: Rows, rng: np.random.Generator) -> Rows:
        """The images that stay: patient after patient in a random order until each class is full."""
        if not self.imbalance:
            return rows
        if not rows.exclusive:
            raise UsageError(f"imbalance={self.imbalance:g} of findings that occur together", "classes", "imbalance=0")
        wanted = self.wanted(rows)
        people, who = np.unique(np.asarray(rows.embeddings.patient_ids), return_inverse=True)
        place = rng.permutation(len(people))[who]
        order = np.argsort(place, kind="stable")
        kept = [order[rows.labels[order] == c][:n] for c, n in enumerate(wanted)]
        chosen = np.sort(np.concatenate(kept))
        ids = [rows.embeddings.image_ids[i] for i in chosen]
        return dataclasses.replace(rows, embeddings=rows.embeddings.rows(ids), labels=rows.labels[chosen])


def _most(counts: Int64[np.ndarray, "k"], ratio: float) -> int:
    """The longest exponential tail that falling counts of the classes allow, as images of the commonest class."""
    share = ratio ** -(np.arange(len(counts)) / (len(counts) - 1))
    return int(min(np.floor(counts / share + 1e-9)))
