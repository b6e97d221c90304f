"""Adapters × shots × draws: everything learns from the same few images, and is tested on the same patients."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from tapetum.bench.trial import Trial
from tapetum.core.errors import DataError, UsageError
from tapetum.core.registry import Family, Spec
from tapetum.core.types import Embeddings, Interval, Split
from tapetum.knowledge import load_pack
from tapetum.learn import Model
from tapetum.learn.adapters import Adapter
from tapetum.learn.fitting.anchors import Anchors, anchors_of
from tapetum.learn.fitting.shots import draw_shots
from tapetum.score.ranking import rank
from tapetum.score.stats.draws import auroc_draws, cluster_weights

_FEWEST = 0.5  # bounds are given only if at least this share of the bootstrap draws is defined


@dataclass(frozen=True)
class Grid:
    """Scores of every adapter after every number of shots and every draw, on the same tested images.

    Attributes:
        adapters: canonical specs, the baseline first. shots: images with, and as many without, each finding.
        scores: `[adapters, shots, draws, images, findings]`. labels: of the tested images.
        support: images learned from, `[shots, draws]`. seconds: fitting and scoring, per adapter, all shots and draws.
        digests: per adapter, SHA-256 over its spec, the model behind its words and the images of every draw.
    """

    adapters: tuple[str, ...]
    shots: tuple[int, ...]
    scores: Float64[np.ndarray, "a s r n k"]
    labels: Float[np.ndarray, "n k"]
    support: np.ndarray
    seconds: tuple[float, ...]
    digests: tuple[str, ...]


@dataclass(frozen=True)
class Rows:
    """Training and test rows in one space, and the zero-shot head in it where there is one."""

    train: Embeddings
    test: Float[np.ndarray, "m d"]
    anchors: Anchors | None = None


def needs_words(spec: str) -> bool:
    """Whether an adapter starts from the words of the findings, and so from a model that has read the reports.

    Example:
        >>> needs_words("clap()"), needs_words("knn(k=5)")
        (True, False)
    """
    adapter: Adapter = Family("tapetum.learn.adapters").build(spec)
    return "anchors" in adapter.NEEDS


def needs_concepts(spec: str) -> bool:
    """Whether an adapter reads the descriptions of the pack, too."""
    adapter: Adapter = Family("tapetum.learn.adapters").build(spec)
    return "concepts" in adapter.NEEDS


def choose_adapters(trial: Trial, wanted: Sequence[str], baseline: str) -> tuple[tuple[str, ...], list[str]]:
    """Canonical specs, the baseline first, and a note on members of the family that cannot run here.

    Args:
        trial: whose model says whether words are known.
        wanted: specs; every member of the family that can run if empty.
        baseline: spec of what all are compared with; added where it is not among them.

    Raises:
        UsageError: an adapter that was asked for starts from words, and no model knows any.
    """
    family = Family("tapetum.learn.adapters")
    asked = [str(Spec.parse(spec)) for spec in (baseline, *wanted)]
    specs = dict.fromkeys(asked if wanted else [*asked, *(f"{name}()" for name in family.names())])
    wordy = {spec for spec in specs if needs_words(spec)}
    if trial.model is not None and trial.model.aligner is not None:
        return tuple(specs), []
    refused = [spec for spec in asked if spec in wordy]
    if refused:
        raise UsageError(
            f"{refused[0]} starts from the words of the findings, and no model here knows words",
            "a model that joins images and words",
            "tapetum pretrain ARCHIVE --out MODEL, then --model MODEL",
        )
    left_out = [spec for spec in specs if spec in wordy]
    notes = [f"left out, no model that knows words (--model): {', '.join(left_out)}"] if left_out else []
    return tuple(spec for spec in specs if spec not in wordy), notes


def nameable(trial: Trial, findings: Sequence[str], adapters: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
    """The findings that the words of every adapter can name, and a note on the others.

    Labels that no pack knows ("other diseases") cannot be asked for by words: they are left out for all adapters, so
    that all are measured on the same findings, unless none of the adapters needs words or the findings were asked for.
    """
    model = trial.model
    wordy = any(needs_words(spec) for spec in adapters)
    if not wordy or model is None or not model.pack or trial.config.findings:
        return tuple(findings), []
    known = load_pack(model.pack).findings
    left_out = [f for f in findings if f not in known]
    notes = [f"left out, the pack {model.pack} has no words for: {', '.join(left_out)}"] if left_out else []
    return tuple(f for f in findings if f in known), notes


def run_grid(trial: Trial, findings: Sequence[str], adapters: Sequence[str], shots: Sequence[int], draws: int) -> Grid:
    """Fit every adapter on every draw; images are embedded once.

    Draw r is the one that `adapt` makes with `AdaptConfig(shots=…, seed=seed + r)`; all adapters see it, and more shots
    go further down the same order of images.

    Args:
        trial: what is learned on (training patients only) and tested.
        findings: columns to learn, each with both classes among the training images.
        adapters: specs, see `choose_adapters`.
        shots: numbers of images with, and as many without, each finding, rising, at least 1.
        draws: at least 1.

    Raises:
        UsageError: shots or draws that cannot be.
        DataError: no training image has a label, or a finding has one class only among them.
    """
    if draws < 1 or not shots or min(shots) < 1 or list(shots) != sorted(set(shots)):
        raise UsageError(
            f"shots={tuple(shots)}, draws={draws}", "rising shots from 1 on, at least one draw", "draws=10"
        )
    plain, labels = plain_rows(trial, findings)
    truth, _ = trial.labels(findings)
    who, seed = plain.train.patient_ids, trial.config.seed
    chosen = [[draw_shots(labels, who, n, np.random.default_rng(seed + r)) for r in range(draws)] for n in shots]
    wordy = any(needs_words(spec) for spec in adapters)
    words = in_words(trial.model, plain, findings, concepts=any(map(needs_concepts, adapters))) if wordy else None
    scores = np.empty((len(adapters), len(shots), draws, *truth.shape))
    seconds: list[float] = []
    for a, spec in enumerate(adapters):
        start = time.perf_counter()
        for s, of_shots in enumerate(chosen):
            for r, rows in enumerate(of_shots):
                scores[a, s, r] = _fitted_scores(spec, plain, words, rows, labels[rows])
        seconds.append(time.perf_counter() - start)
    return Grid(
        tuple(adapters), tuple(shots), scores, truth, np.array([[len(rows) for rows in x] for x in chosen]),
        tuple(seconds), tuple(_digest(trial, spec, plain, chosen) for spec in adapters),
    )  # fmt: skip


@dataclass(frozen=True)
class Curves:
    """Macro AUROC of a grid: estimates, and bootstrap draws of patients and of the draws of shots.

    Attributes:
        each: `[adapters, shots, draws]`, macro AUROC on all tested images.
        drawn: `[adapters, shots, bootstrap draws]`, each on resampled patients and the mean over resampled draws of
            shots, the same ones for all adapters and numbers of shots.
        method: how the bounds are found.
    """

    each: Float64[np.ndarray, "a s r"]
    drawn: Float64[np.ndarray, "a s b"]
    method: str
    patients: int

    def auroc(self, adapter: int, shot: int) -> Interval:
        """Mean over the draws of shots."""
        return self._interval(float(self.each[adapter, shot].mean()), self.drawn[adapter, shot])

    def range(self, adapter: int, shot: int) -> Interval:
        """Mean, smallest and largest of the draws of shots on the same tested images: no confidence interval."""
        values = self.each[adapter, shot]
        deviation = f", standard deviation {values.std(ddof=1):.4f}" if len(values) > 1 else ""
        method = f"smallest and largest of {len(values)} draws of shots{deviation}"
        return Interval(float(values.mean()), float(values.min()), float(values.max()), method, 1.0)

    def difference(self, adapter: int, baseline: int, shot: int) -> Interval:
        """One adapter minus another after the same draws, on the same patients; the method names its p value."""
        apart = self.each[adapter, shot].mean() - self.each[baseline, shot].mean()
        return self._interval(float(apart), self.drawn[adapter, shot] - self.drawn[baseline, shot], paired=True)

    def area(self, adapter: int, shots: Sequence[int], *, minus: int | None = None) -> Interval:
        """Area under AUROC against log2(shots), divided by the width: the mean height of the curve; or a difference.

        Args:
            adapter: which one.
            shots: those of the grid.
            minus: another adapter that is subtracted.
        """
        weight = _trapezoid(np.log2(np.asarray(shots, dtype=np.float64)))
        estimate, drawn = weight @ self.each[adapter].mean(1), weight @ self.drawn[adapter]
        if minus is None:
            return self._interval(float(estimate), drawn)
        estimate, drawn = estimate - weight @ self.each[minus].mean(1), drawn - weight @ self.drawn[minus]
        return self._interval(float(estimate), drawn, paired=True)

    def _interval(self, estimate: float, drawn: Float64[np.ndarray, "b"], *, paired: bool = False) -> Interval:
        known, method = drawn[~np.isnan(drawn)], self.method
        if math.isnan(estimate) or self.patients < 2 or len(known) < _FEWEST * len(drawn):
            return Interval(estimate, math.nan, math.nan, f"{method}, no bounds: too few patients or classes")
        if paired:
            sides = min(1 + int((known <= 0).sum()), 1 + int((known >= 0).sum()))
            method += f", paired, p = {min(1.0, 2 * sides / (len(known) + 1)):.3g}"
        low, high = np.quantile(known, [0.025, 0.975])
        return Interval(estimate, float(low), float(high), method)


def curves(grid: Grid, patients: Sequence[str], *, rng: np.random.Generator, draws: int) -> Curves:
    """Macro AUROC of every adapter, number of shots and draw, with a bootstrap over patients and draws.

    Args:
        grid: scores beside the truth.
        patients: of the tested images; resampled as wholes.
        rng: the generator; the same state gives the same draws.
        draws: of the bootstrap.

    Raises:
        DataError: no finding has both classes among the tested images, or a score is no number.
    """
    a, s, r = grid.scores.shape[:3]
    usable = [j for j, y in enumerate(grid.labels.T) if (y == 0).any() and (y == 1).any()]
    if not usable:
        raise DataError("no finding has both classes among the tested images", "a test set with some of each")
    columns = grid.scores.reshape(a * s * r, *grid.scores.shape[3:])
    each = np.zeros(len(columns))
    for j in usable:
        known = ~np.isnan(grid.labels[:, j])
        each += [rank(column[known, j], grid.labels[known, j]).auroc for column in columns]
    parts: list[Float64[np.ndarray, "m b"]] = []
    for block in cluster_weights(np.asarray(patients), draws, rng):
        total, defined = np.zeros((len(block), len(columns))), np.zeros((len(block), 1))
        for j in usable:
            drawn = np.asarray(auroc_draws(columns[:, :, j].T, grid.labels[:, j], block))
            there = ~np.isnan(drawn[:, :1])
            total += np.where(there, drawn, 0.0)
            defined += there
        parts.append(np.divide(total, defined, out=np.full(total.shape, np.nan), where=defined > 0))
    runs = rng.multinomial(r, np.full(r, 1 / r), size=draws) / r
    mixed = np.einsum("basr,br->asb", np.concatenate(parts).reshape(draws, a, s, r), runs)
    method = f"patient-cluster bootstrap, {draws} draws of patients and of {r} draws of shots, percentile"
    if len(usable) < grid.labels.shape[1]:
        method += f", mean over the {len(usable)} of {grid.labels.shape[1]} findings with both classes"
    return Curves((each / len(usable)).reshape(a, s, r), mixed, method, len(set(patients)))


def _trapezoid(x: Float64[np.ndarray, "s"]) -> Float64[np.ndarray, "s"]:
    """Weights of the mean height of a polyline over its whole width; 1 for a single point."""
    if len(x) == 1:
        return np.ones(1)
    steps = np.diff(x) / (x[-1] - x[0])
    return (np.append(steps, 0) + np.append(0, steps)) / 2


def plain_rows(trial: Trial, findings: Sequence[str]) -> tuple[Rows, Float[np.ndarray, "n k"]]:
    """Tower features of the training images that have a label with these labels, and of the tested ones.

    Raises:
        DataError: no training image has a label, or a finding has one class only among them.
    """
    ids = [r.image_id for r in trial.archive.in_split(Split.TRAIN)]
    labels = trial.archive.labels(findings, image_ids=ids)
    known = np.flatnonzero(~np.isnan(labels).all(axis=1))
    if not len(known):
        raise DataError(f"no training image of {trial.archive.name} has a label", "labels to learn from")
    one = [f for f, y in zip(findings, labels.T, strict=True) if not ((y == 1).any() and (y == 0).any())]
    if one:
        raise DataError(f"{one[0]!r} has one class only among the training images", "both", "findings=… without it")
    return Rows(trial.embeddings.rows([ids[i] for i in known]), trial.test_embeddings.features), labels[known]


def in_words(model: Model | None, plain: Rows, findings: Sequence[str], *, concepts: bool) -> Rows:
    """The same rows in the common space; the head is scaled on training images without their labels, as in `adapt`.

    Args:
        model: with an aligner.
        plain: rows of the towers.
        findings: the columns.
        concepts: whether an adapter needs the pack's descriptions, too.

    Raises:
        UsageError: no model.
    """
    if model is None:
        raise UsageError("no model that knows words", "a model that joins images and words", "--model MODEL")
    train, test = model.encode_image(plain.train.features), model.encode_image(plain.test)
    ids = (plain.train.image_ids, plain.train.patient_ids)
    anchors = anchors_of(model, findings, train, concepts=concepts)
    return Rows(Embeddings(*ids, train, plain.train.encoder), test, anchors)


def _fitted_scores(
    spec: str, plain: Rows, words: Rows | None, rows: np.ndarray, labels: Float[np.ndarray, "n k"]
) -> Float[np.ndarray, "m k"]:
    adapter: Adapter = Family("tapetum.learn.adapters").build(spec)
    space = words if words is not None and needs_words(spec) else plain
    who = np.asarray(space.train.patient_ids)[rows]
    adapter.fit(space.train.features[rows], labels, who, space.train.blocks, space.anchors)
    return adapter(space.test)


def _digest(trial: Trial, spec: str, plain: Rows, chosen: Sequence[Sequence[np.ndarray]]) -> str:
    whole = hashlib.sha256(f"{spec}\0{trial.model.digest if trial.model else ''}\n".encode())
    for of_shots in chosen:
        for rows in of_shots:
            whole.update("\0".join(plain.train.image_ids[i] for i in rows.tolist()).encode() + b"\n")
    return whole.hexdigest()
