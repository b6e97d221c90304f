"""Label noise: labels as given or with planted flips, and what a probe that never saw them says."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float64, Int

from tapetum.bench.models.relearned import refuse_model, relearned
from tapetum.bench.tables.measures import MACRO
from tapetum.bench.trial import Trial
from tapetum.core.errors import DataError, UsageError
from tapetum.core.registry import Family, Spec
from tapetum.core.types import Embeddings, Split
from tapetum.learn.adapt import held_out_logits
from tapetum.learn.adapters import Adapter
from tapetum.learn.fitting.ridge import patient_folds
from tapetum.score.calibration.platt import Platt
from tapetum.score.given import as_classes
from tapetum.score.noise_rate import ESTIMATORS
from tapetum.score.planted import Planted, by_finding
from tapetum.score.selecting import doubted

AS_GIVEN, SHUFFLED = "labels as given", "shuffled labels"


@dataclass(frozen=True)
class Learned:
    """The images that are learned on, train and val, with their labels.

    Attributes:
        rows: features beside ids. labels: one column per finding or class; NaN unknown. exclusive: each image has one
            class and no other.
    """

    rows: Embeddings
    findings: tuple[str, ...]
    labels: Float64[np.ndarray, "n k"]
    exclusive: bool


@dataclass(frozen=True)
class Question:
    """One question of one version of the labels: which class was given, and what the probe thinks.

    Attributes:
        name: the finding, or `macro` for all classes at once. classes: names of the columns of `probs`.
        rows: image numbers among those learned on. probs: out of fold. given: class of each. flipped: what was planted.
    """

    name: str
    classes: tuple[str, ...]
    rows: Int[np.ndarray, "m"]
    probs: Float64[np.ndarray, "m c"]
    given: Int[np.ndarray, "m"]
    flipped: Bool[np.ndarray, "m"]


@dataclass(frozen=True)
class Version:
    """The labels as given, planted with flips, or shuffled; with the out-of-fold scores of a probe that learned them.

    Attributes:
        name: `labels as given`, a spec of `score/planting`, or `shuffled labels`.
        planted: labels and what was flipped, `[n k]`. logits: out of fold, of the probe. exclusive: see `Learned`.
    """

    name: str
    findings: tuple[str, ...]
    planted: Planted
    logits: Float64[np.ndarray, "n k"]
    exclusive: bool

    @cached_property
    def questions(self) -> tuple[Question, ...]:
        """One per finding, or one for all classes.

        Probabilities are the logits after Platt's line, fitted on the same images: two numbers per finding from all
        of them, which no single label can move. Where the scores do not rise with the labels, every image gets the
        share of positives.
        """
        labels = self.planted.labels
        fitted = Platt().fit(self.logits, labels)
        probs = np.clip(fitted(self.logits), 1e-6, 1 - 1e-6)
        for j in fitted.uncalibrated:
            probs[:, j] = np.nanmean(labels[:, j])
        if self.exclusive:
            rows, given = np.arange(len(labels)), labels.argmax(axis=1)
            flipped = np.asarray(self.planted.flipped[:, 0])
            return (Question(MACRO, self.findings, rows, probs / probs.sum(axis=1, keepdims=True), given, flipped),)
        found: list[Question] = []
        for j, finding in enumerate(self.findings):
            rows = np.flatnonzero(~np.isnan(labels[:, j]))
            given = labels[rows, j].astype(np.int64)
            sides = (f"{finding} absent", finding)
            found.append(
                Question(finding, sides, rows, as_classes(probs[rows, j]), given, self.planted.flipped[rows, j])
            )
        return tuple(found)

    def doubts(self, method: str, by: str) -> list[Bool[np.ndarray, "m"]]:
        """Of every question the labels that a method trusts least, as many of each class as were estimated wrong."""
        judge = Family("tapetum.score.noise").build(method)
        wrong = [ESTIMATORS[by](q.probs, q.given).wrong for q in self.questions]
        return [doubted(judge(q.probs, q.given), q.given, w) for q, w in zip(self.questions, wrong, strict=True)]

    def without(self, doubts: Sequence[Bool[np.ndarray, "m"]]) -> Float64[np.ndarray, "n k"]:
        """The labels with those in doubt made unknown: of a class, the whole image's; of a finding, that one's."""
        labels = self.planted.labels.astype(np.float64)
        for j, (question, doubt) in enumerate(zip(self.questions, doubts, strict=True)):
            labels[question.rows[doubt], slice(None) if self.exclusive else slice(j, j + 1)] = np.nan
        return labels


def learned_on(trial: Trial, findings: Sequence[str]) -> Learned:
    """Train and val images with a label; with `exclusive` or `ordinal` those with exactly one, grades in their order.

    Raises:
        DataError: no finding, or no image with a label. UsageError: a grade is no number.
    """
    config = trial.config
    if not findings:
        raise DataError(f"{trial.archive.name} has no labels", "labels to doubt", "tapetum ingest … --labels COLUMN")
    if config.ordinal:
        try:
            findings = sorted(findings, key=float)
        except ValueError:
            raise UsageError(f"the grades {', '.join(findings)}", "numbers", "ordinal=false") from None
    ids = [r.image_id for split in (Split.TRAIN, Split.VAL) for r in trial.archive.in_split(split)]
    labels = trial.archive.labels(findings, image_ids=ids)
    exclusive = config.exclusive or config.ordinal
    known = (np.nansum(labels, axis=1) == 1) if exclusive else ~np.isnan(labels).all(axis=1)
    if not known.any() or (exclusive and len(findings) < 2):
        raise DataError(f"no image of {trial.archive.name} has a label to judge", "labels of the asked findings")
    kept = np.flatnonzero(known)
    return Learned(trial.embeddings.rows([ids[i] for i in kept]), tuple(findings), labels[kept], exclusive)


def at_rates(kinds: Sequence[str], rates: Sequence[float]) -> list[str]:
    """Every maker at every rate.

    Example:
        >>> at_rates(["pair"], [0.1, 0.3])
        ['pair(rate=0.1)', 'pair(rate=0.3)']
    """
    specs = [Spec.parse(kind) for kind in kinds]
    return [str(Spec(spec.name, {**spec.options, "rate": rate})) for spec in specs for rate in rates]


def plant(learned: Learned, spec: str, rng: np.random.Generator) -> Planted:
    """Flips of a member of `score/planting` among the labels learned on.

    Args:
        learned: whose labels count as right.
        spec: of the maker.
        rng: the generator.
    """
    maker = Family("tapetum.score.planting").build(spec)
    if not learned.exclusive:
        return by_finding(maker, learned.labels, learned.rows.features, rng=rng)
    k = len(learned.findings)
    made: Planted = maker(learned.labels.argmax(axis=1), learned.rows.features, classes=k, rng=rng)
    return Planted(np.eye(k)[made.labels], np.repeat(made.flipped[:, None], k, axis=1))


def versions_of(
    trial: Trial, learned: Learned, makers: Sequence[str], probe: str, folds: int
) -> tuple[list[Version], list[str]]:
    """The labels as given, with each maker's flips, and shuffled between images; one probe learns them all.

    Args:
        trial: whose seed decides flips and folds.
        learned: see `learned_on`.
        makers: specs of `score/planting`.
        probe: spec of a member of `learn/adapters` that needs no words.
        folds: patient folds, at least 2; every image is judged by a probe that never saw its patient.

    Returns:
        The versions, and a note on those left out since a finding would have one class only.

    Raises:
        UsageError: folds below 2, or a probe that starts from words. DataError: a finding of one class only.
    """
    refuse_model(trial)
    adapter: Adapter = Family("tapetum.learn.adapters").build(probe)
    if folds < 2 or "anchors" in adapter.NEEDS:
        raise UsageError(f"folds={folds}, probe={probe}", "at least 2 folds, an adapter that needs no words")
    seed = trial.config.seed
    nothing = np.zeros(learned.labels.shape, bool)
    given = Planted(learned.labels, nothing)
    mixed = learned.labels[np.random.default_rng([seed, 1]).permutation(len(learned.labels))]
    made = {spec: plant(learned, spec, np.random.default_rng([seed, 2, i])) for i, spec in enumerate(makers)}
    wanted = {AS_GIVEN: given, **made, SHUFFLED: Planted(mixed, nothing)}
    kept = {name: p for name, p in wanted.items() if _both_classes(p.labels)}
    if AS_GIVEN not in kept:
        raise DataError("a finding has one class only among the images learned on", "both", "findings=… without it")
    notes = [f"{name}: left out, a finding has one class only" for name in wanted if name not in kept]
    side_by_side = np.concatenate([p.labels for p in kept.values()], axis=1)
    rng = np.random.default_rng([seed, 3])
    if trial.config.mode == "frozen":
        logits = held_out_logits(probe, learned.rows, side_by_side, rng, folds=folds)
        parts = np.split(logits, len(kept), axis=1)
    else:
        fold = patient_folds(learned.rows.patient_ids, folds, rng)
        parts = [_held_out(trial, learned.rows, p.labels, fold) for p in kept.values()]
    found = [
        Version(name, learned.findings, p, z, learned.exclusive)
        for (name, p), z in zip(kept.items(), parts, strict=True)
    ]
    return found, notes


def _held_out(
    trial: Trial, rows: Embeddings, labels: Float64[np.ndarray, "n k"], fold: Int[np.ndarray, "n"]
) -> Float64[np.ndarray, "n k"]:
    """Logits of every image from a tower that never saw its patient, tuned on the other folds."""
    logits = np.zeros(labels.shape)
    for number in np.unique(fold):
        seen, out = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        some = rows.rows([rows.image_ids[i] for i in seen])
        logits[out] = relearned(trial, some, labels[seen], trial.archive, [rows.image_ids[i] for i in out])
    return logits


def tested(
    trial: Trial, learned: Learned, probe: str, labels: Sequence[np.ndarray]
) -> list[Float64[np.ndarray, "m k"]]:
    """Scores of the tested images by a probe, or a tuned tower, that learned each of several versions of the labels."""
    if trial.config.mode != "frozen":
        asked = [r.image_id for r in trial.test_records]
        return [relearned(trial, learned.rows, truth, trial.test_archive, asked) for truth in labels]
    adapter: Adapter = Family("tapetum.learn.adapters").build(probe)
    rows = learned.rows
    adapter.fit(rows.features, np.concatenate(labels, axis=1), np.asarray(rows.patient_ids), rows.blocks)
    scores = np.nan_to_num(adapter(trial.test_embeddings.features).astype(np.float64))
    return np.split(scores, len(labels), axis=1)


def probe_digest(learned: Learned, probe: str) -> str:
    """SHA-256 over the probe's spec, the towers and the images learned on: in place of a model's digest."""
    whole = hashlib.sha256(f"{Spec.parse(probe)}\0{learned.rows.encoder}\n".encode())
    whole.update("\0".join(learned.rows.image_ids).encode())
    return whole.hexdigest()


def _both_classes(labels: Float64[np.ndarray, "n k"]) -> bool:
    return bool(((labels == 1).any(axis=0) & (labels == 0).any(axis=0)).all())
