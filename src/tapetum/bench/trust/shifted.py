"""Classifiers under domain shift: every setting of every method learned without the tested domain, then one chosen."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Float64, Int
from scipy.special import logsumexp

from tapetum.bench.trust.domains import Cut, Pooled
from tapetum.bench.trust.select import RULES, Candidate
from tapetum.bench.trust.shift_settings import ERM, METHODS, Grid, Setting, needs_domains, reads_target, settings_of
from tapetum.core.errors import DataError
from tapetum.core.types import Embeddings
from tapetum.learn.classifying.pictures import Pictures
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.fitting.components import POWER, Components
from tapetum.learn.fitting.ridge import patient_folds
from tapetum.learn.fitting.standardise import signed_root
from tapetum.learn.methods import Method
from tapetum.score.ranking import rank

FAR = 10.0  # standard deviations, where a column is nearly constant in a domain
FOLDS = 5  # of the tested domain's own patients, for the reference


Without = dict[int, tuple[Int[np.ndarray, "l"], Float32[np.ndarray, "n c"]]]


@dataclass(frozen=True)
class Learner:
    """How rows become logits.

    Args:
        components: principal components that are learned on, 0 = all features. exclusive: each image has one class.
        seed: of everything that is drawn.
        pictures: of all archives, which a tower learns from, too; None = frozen features.
    """

    components: int
    exclusive: bool
    seed: int
    pictures: Pictures | None = None

    def view(
        self, pooled: Pooled, learn: Int[np.ndarray, "l"], tested: Int[np.ndarray, "t"] | None = None
    ) -> Float32[np.ndarray, "n c"]:
        """All rows as seen by components of the rows learned on; as they are where a tower learns.

        Args:
            pooled: all rows.
            learn: those learned on.
            tested: standardise each domain first, by its rows learned on or among these; None = not.
        """
        if self.pictures is not None:
            return pooled.features
        rng = np.random.default_rng([self.seed, 1])
        features = pooled.features if tested is None else _own(pooled, np.concatenate([learn, tested]))
        return Components.fit(features[learn], self.components, rng, pooled.blocks)(features)

    def logits(
        self,
        pooled: Pooled,
        view: Float32[np.ndarray, "n c"],
        learn: Int[np.ndarray, "l"],
        wanted: Sequence[Int[np.ndarray, "m"]],
        setting: Setting,
    ) -> list[Float64[np.ndarray, "m k"]]:
        """Learn from some rows and score others; each set of wanted rows is given to the classifier as a whole.

        Args:
            pooled: all rows.
            view: their features.
            learn: rows to learn from.
            wanted: rows to score, domain by domain.
            setting: of the method.

        Raises:
            UsageError: the method refuses the rows, for example where there is one domain only.
        """
        method: Method = METHODS.build(setting.spec)
        questions = _questions(pooled.labels[learn], exclusive=self.exclusive)
        found = [np.full((len(rows), pooled.labels.shape[1]), np.nan) for rows in wanted]
        for columns, known, classes in questions:
            rows = learn[known]
            taught = self._taught(pooled, view, rows, classes)
            classifier = method.fit(taught, setting.pace, np.random.default_rng([self.seed, 2]))
            for part, asked in zip(found, wanted, strict=True):
                if len(asked):
                    part[:, columns] = _against_rest(classifier(self._asked(pooled, view, asked)))[:, -len(columns) :]
        return found

    def _taught(
        self,
        pooled: Pooled,
        view: Float32[np.ndarray, "n c"],
        rows: Int[np.ndarray, "m"],
        classes: Int[np.ndarray, "m"],
    ) -> Taught:
        domains = np.unique(pooled.domains[rows], return_inverse=True)[1]
        count = pooled.labels.shape[1] if self.exclusive else 2
        if self.pictures is None:
            return Taught(view[rows], classes, count, pooled.patients[rows], domains)
        ids, people = tuple(pooled.images[i] for i in rows.tolist()), tuple(pooled.patients[rows].tolist())
        frozen = Embeddings(ids, people, view[rows], self.pictures.encoder)
        return self.pictures.taught(frozen, classes, count, domains)

    def _asked(self, pooled: Pooled, view: Float32[np.ndarray, "n c"], rows: Int[np.ndarray, "m"]) -> Any:
        return view[rows] if self.pictures is None else self.pictures.asked([pooled.images[i] for i in rows.tolist()])


def _own(pooled: Pooled, read: Int[np.ndarray, "r"]) -> Float32[np.ndarray, "n d"]:
    """Roots of the features, standardised by some rows of each domain; squared again, so that their root is theirs."""
    rooted = signed_root(pooled.features, POWER).astype(np.float32)
    for d in np.unique(pooled.domains[read]):
        of = rooted[read[pooled.domains[read] == d]]
        spread = np.maximum(of.std(0), 1e-6)
        here = pooled.domains == d
        rooted[here] = np.clip((rooted[here] - of.mean(0)) / spread, -FAR, FAR)
    return signed_root(rooted, 1 / POWER).astype(np.float32)


def _questions(
    labels: Float[np.ndarray, "l k"], *, exclusive: bool
) -> list[tuple[list[int], Int[np.ndarray, "m"], Int[np.ndarray, "m"]]]:
    """Columns, rows with a known label, and their class: all classes at once, or each finding absent or present."""
    if exclusive:
        known = np.flatnonzero(np.nansum(labels, axis=1) == 1)
        return [([*range(labels.shape[1])], known, np.nanargmax(labels[known], axis=1).astype(np.int64))]
    each: list[tuple[list[int], np.ndarray, np.ndarray]] = []
    for j in range(labels.shape[1]):
        known = np.flatnonzero(~np.isnan(labels[:, j]))
        each.append(([j], known, labels[known, j].astype(np.int64)))
    return each


def _against_rest(logits: Float64[np.ndarray, "m c"]) -> Float64[np.ndarray, "m c"]:
    """Log odds of each class against all others."""
    others = [np.delete(logits, c, axis=1) for c in range(logits.shape[1])]
    return np.stack([logits[:, c] - logsumexp(rest, axis=1) for c, rest in enumerate(others)], axis=1)


@dataclass(frozen=True)
class Run:
    """One setting, learned without the tested domain.

    Attributes:
        setting: of the method. candidate: what validation patients say. val: logits of them, row by row of `Cut.val`.
        tested: logits of `Cut.tested`. digest: of setting and scores, in place of a model's.
    """

    setting: Setting
    candidate: Candidate
    val: Float64[np.ndarray, "v k"]
    tested: Float64[np.ndarray, "t k"]
    digest: str


@dataclass(frozen=True)
class Chosen:
    """The setting that a rule chose.

    Attributes:
        method: its name. rule: of `RULES`, `""` for the reference. run: what was chosen. reads: the method looked at
            the tested images, without labels.
    """

    method: str
    rule: str
    run: Run
    reads: bool = False


def macro(logits: Float64[np.ndarray, "m k"], labels: Float[np.ndarray, "m k"]) -> float:
    """Mean AUROC over the findings that have both classes among these rows, NaN without any."""
    found: list[float] = []
    for z, y in zip(logits.T, labels.T, strict=True):
        known = ~np.isnan(y) & ~np.isnan(z)
        if len(set(y[known].tolist())) == 2:
            found.append(rank(z[known], y[known]).auroc)
    return float(np.mean(found)) if found else math.nan


def chosen_for(
    pooled: Pooled, where: Cut, methods: Sequence[str], grid: Grid, rules: Sequence[str], learner: Learner
) -> tuple[list[Chosen], list[str]]:
    """Every method's setting by every rule, and the reference that is learned on the tested domain itself.

    Args:
        pooled: all rows.
        where: the held-out domain. The rows tested are scored and not judged here.
        methods: names or specs.
        grid: what each is tried with.
        rules: of `RULES`.
        learner: how.

    Returns:
        What was chosen, method by method, the reference last; and notes on what could not be.
    """
    found: list[Chosen] = []
    notes: list[str] = []
    sources = np.unique(pooled.domains[where.learn])
    views: dict[bool, Float32[np.ndarray, "n c"]] = {}
    without: dict[bool, Without] = {}
    for name in methods:
        settings = settings_of(name, grid)
        own = settings[0].own
        if own not in views:
            views[own] = learner.view(pooled, where.learn, where.tested if own else None)
            inside = "leave_one_domain_out" in rules and len(sources) > 1
            without[own] = _without(pooled, where, learner, own=own) if inside else {}
        if needs_domains(settings[0]) and len(sources) < 2:
            notes.append(f"{name}: left out of {pooled.names[where.target]}, there is one domain only to learn on")
            continue
        inner = {} if needs_domains(settings[0]) and len(sources) < 3 else without[own]
        runs = [_run(pooled, where, views[own], inner, s, learner, "oracle" in rules) for s in settings]
        for rule in rules:
            try:
                best = RULES[rule]([r.candidate for r in runs])
            except DataError as error:
                notes.append(f"{name} by {rule}: left out of {pooled.names[where.target]}, no {error.expected}")
                continue
            run = next(r for r in runs if r.candidate is best)
            found.append(Chosen(name, rule, run, reads_target(run.setting)))
    base = next((c for c in found if c.method == ERM), None)
    own = _reference(pooled, where, base.run.setting, learner) if base else None
    if own is not None and np.isnan(own.run.tested).any():
        notes.append(f"{pooled.names[where.target]}: too few patients for a reference of its own")
        own = None
    return [*found, *([own] if own else [])], notes


def _without(pooled: Pooled, where: Cut, learner: Learner, *, own: bool) -> Without:
    """For every domain learned on: the rows without it, and all rows as these see them."""
    found: Without = {}
    for source in np.unique(pooled.domains[where.learn]):
        judged = where.val[pooled.domains[where.val] == source]
        away = (pooled.domains[where.learn] == source) | np.isin(pooled.patients[where.learn], pooled.patients[judged])
        learn = where.learn[~away]
        found[int(source)] = (learn, learner.view(pooled, learn, judged if own else None))
    return found


def _run(
    pooled: Pooled,
    where: Cut,
    view: Float32[np.ndarray, "n c"],
    without: Without,
    setting: Setting,
    learner: Learner,
    tuned: bool,
) -> Run:
    """Learn with one setting; also without each domain learned on, if the rule asks for it."""
    names = pooled.names
    of = {int(s): np.flatnonzero(pooled.domains[where.val] == s) for s in np.unique(pooled.domains[where.val])}
    wanted = [where.tested, where.tuned if tuned else where.tuned[:0], *(where.val[place] for place in of.values())]
    tested, own, *parts = learner.logits(pooled, view, where.learn, wanted, setting)
    val = np.full((len(where.val), pooled.labels.shape[1]), np.nan)
    for place, part in zip(of.values(), parts, strict=True):
        val[place] = part
    trained = {names[s]: macro(val[place], pooled.labels[where.val[place]]) for s, place in of.items()}
    left_out: dict[str, float] = {}
    for source, (learn, seen) in without.items():
        judged = where.val[of[source]] if source in of else where.val[:0]
        (logits,) = learner.logits(pooled, seen, learn, [judged], setting)
        left_out[names[source]] = macro(logits, pooled.labels[judged])
    target = macro(own, pooled.labels[where.tuned]) if tuned else math.nan
    made = hashlib.sha256(f"{setting}\0".encode() + np.ascontiguousarray(tested).tobytes()).hexdigest()
    return Run(setting, Candidate(str(setting), trained, left_out, target), val, tested, made)


def _reference(pooled: Pooled, where: Cut, setting: Setting, learner: Learner) -> Chosen:
    """Scores of the tested rows by classifiers of their own domain that never saw their patients."""
    fold = patient_folds(pooled.patients[where.own], FOLDS, np.random.default_rng([learner.seed, 3]))
    logits = np.full((len(pooled.domains), pooled.labels.shape[1]), np.nan)
    for number in range(FOLDS):
        learn, out = where.own[fold != number], where.own[fold == number]
        if len(learn) and len(out) and _both(pooled.labels[learn]):
            (logits[out],) = learner.logits(pooled, learner.view(pooled, learn), learn, [out], setting)
    tested = logits[where.tested]
    made = hashlib.sha256(b"reference\0" + np.ascontiguousarray(tested).tobytes()).hexdigest()
    nobody = np.empty((0, tested.shape[1]))
    return Chosen("reference", "", Run(setting, Candidate(str(setting)), nobody, tested, made))


def _both(labels: Float[np.ndarray, "n k"]) -> bool:
    return bool(((labels == 1).any(axis=0) & (labels == 0).any(axis=0)).all())


def learnable(pooled: Pooled, cuts: Sequence[Cut]) -> tuple[Pooled, list[str]]:
    """Only the findings with both classes among the rows learned on and the rows tested, for every held-out domain.

    Raises:
        DataError: there is none.
    """
    parts = [pooled.labels[rows] for c in cuts for rows in (c.learn, c.tested)]
    kept = [j for j in range(len(pooled.findings)) if all(_both(p[:, [j]]) for p in parts)]
    left = [f for j, f in enumerate(pooled.findings) if j not in kept]
    if not kept:
        raise DataError("no finding has both classes in every domain", "a finding that all domains tell", "label_map=…")
    notes = [f"left out, one class only in a domain: {', '.join(left)}"] if left else []
    labels, findings = pooled.labels[:, kept], tuple(pooled.findings[j] for j in kept)
    return dataclasses.replace(pooled, labels=labels, findings=findings), notes
