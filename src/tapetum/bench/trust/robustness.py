"""Training methods under wrong labels: the same flips for all of them, what they came to, and whom they trusted."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int

from tapetum.bench.tables.measures import FEW_DRAWS, MACRO, Context
from tapetum.bench.trust.label_noise import AS_GIVEN
from tapetum.bench.trust.tail_methods import method_of
from tapetum.bench.trust.tail_rows import Rows
from tapetum.bench.trust.tailed import SUPERVISED, Runs, measure, tail_records
from tapetum.core.errors import UsageError
from tapetum.core.registry import Family
from tapetum.core.types import Interval, Record
from tapetum.learn.classifying.doubt import out_of_fold
from tapetum.learn.classifying.pictures import Pictures
from tapetum.learn.classifying.plan import Pace
from tapetum.learn.classifying.taught import Taught
from tapetum.learn.fitting.components import Components
from tapetum.learn.methods import Classifier, Method
from tapetum.score.grading import kappa_draws
from tapetum.score.imbalance import GROUPS, frequency_groups
from tapetum.score.noise_rate import ESTIMATORS
from tapetum.score.planted import Planted
from tapetum.score.stats.bounds import drawn_difference, drawn_interval
from tapetum.score.stats.draws import cluster_weights

LOST = 0.25  # share of a class's right labels below which it is named as lost
TRUSTED = ("trusted_precision_score", "trusted_recall_score")


@dataclass(frozen=True)
class Features:
    """Rows of a trial as the methods get them.

    Attributes:
        train, test: one class each. taught: features of the first, fitted on them alone. asked: of the second, or their
            pictures. pictures: of the first, where a tower learns from them.
    """

    train: Rows
    test: Rows
    taught: Float[np.ndarray, "n d"]
    asked: Any
    pictures: Pictures | None = None

    @staticmethod
    def of(
        train: Rows,
        test: Rows,
        components: int,
        rng: np.random.Generator,
        pictures: tuple[Pictures, Pictures] | None = None,
    ) -> Features:
        """Standardise, and keep the largest components; 0 = all columns. Where a tower learns, features stay."""
        of = train.embeddings
        if pictures:
            learned, asked = pictures
            return Features(train, test, of.features, asked.asked(test.embeddings.image_ids), learned)
        fitted = Components.fit(of.features, components, rng, of.blocks)
        return Features(train, test, fitted(of.features), fitted(test.embeddings.features))


@dataclass(frozen=True)
class Version:
    """One kind of wrong labels, and what every method made of them.

    Attributes:
        name: `labels as given` or a spec of `score/planting`. planted: of each seed. held_out: probabilities of each
            seed's rows by a network that saw neither the row nor its patient. rates: share of wrong labels that was
            estimated from them, by each estimate. runs: what the methods gave on the tested images.
        trust: method → how far each row was trusted, `[s n]`, for methods that choose among the rows.
    """

    name: str
    planted: tuple[Planted, ...]
    held_out: Float64[np.ndarray, "s n k"]
    rates: dict[str, Float64[np.ndarray, "s"]]
    runs: Runs
    trust: dict[str, Float64[np.ndarray, "s n"]]


def in_order(rows: Rows) -> Rows:
    """Grades in their order.

    Raises:
        UsageError: a grade is no number.
    """
    try:
        order = np.argsort([float(c) for c in rows.classes], kind="stable")
    except ValueError:
        raise UsageError(f"the grades {', '.join(rows.classes)}", "numbers", "ordinal=false") from None
    place = np.argsort(order)
    return dataclasses.replace(rows, classes=tuple(rows.classes[i] for i in order), labels=place[rows.labels])


def plant(rows: Rows, maker: str, rng: np.random.Generator) -> Planted:
    """Flips of a member of `score/planting`; `labels as given` has none."""
    if maker == AS_GIVEN:
        return Planted(rows.labels, np.zeros(len(rows.labels), dtype=bool))
    build = Family("tapetum.score.planting").build(maker)
    return build(rows.labels, rows.embeddings.features, classes=len(rows.classes), rng=rng)


@dataclass(frozen=True)
class Learned:
    """What the methods made of one draw of wrong labels.

    Attributes:
        planted: which labels, and which of them are wrong. held_out: probabilities by a network that saw neither the
            row nor its patient, of those labels. fitted: one classifier per method.
    """

    planted: Planted
    held_out: Float64[np.ndarray, "n k"]
    fitted: tuple[Classifier, ...]


def learned(
    rows: Rows,
    features: Float[np.ndarray, "n d"],
    maker: str,
    built: Sequence[Method],
    seed: int,
    pace: Pace,
    pictures: Pictures | None = None,
) -> Learned:
    """Plant, judge out of fold, and teach every method the same.

    A method is given features, labels as they now stand, patients, and probabilities out of fold that were made from
    those labels: neither which were flipped nor how many.

    Args:
        rows: whose labels count as right.
        features: of them, as the methods read them.
        maker: spec of `score/planting`, or `labels as given`.
        built: methods.
        seed: of flips, folds and training.
        pace: of all methods.
        pictures: of the rows, from which a tower learns, too: one in each fold, and one for each method.
    """
    made = plant(rows, maker, np.random.default_rng([seed, 2]))
    labels, who = made.labels.astype(np.int64), np.asarray(rows.embeddings.patient_ids)
    if pictures is None:
        bare = Taught(features, labels, len(rows.classes), who)
    else:
        bare = pictures.taught(rows.embeddings, labels, len(rows.classes))
    held_out = out_of_fold(bare, pace, np.random.default_rng([seed, 3]))
    taught = dataclasses.replace(bare, held_out=held_out)
    fitted = tuple(method.fit(taught, pace, np.random.default_rng([seed, 4])) for method in built)
    return Learned(made, held_out, fitted)


def run_version(features: Features, maker: str, methods: Sequence[str], seeds: Sequence[int], pace: Pace) -> Version:
    """Every method from every seed on the same wrong labels, see `learned`.

    Args:
        features: of the trial.
        maker: spec of `score/planting`, or `labels as given`.
        methods: specs of `learn/methods`.
        seeds: of flips, folds and training.
        pace: of all methods.

    Raises:
        UsageError: an unknown name, or a method that cannot learn classes.
    """
    built, train = [method_of(m) for m in methods], features.train
    logits, trusts = [list[np.ndarray]() for _ in methods], [list[np.ndarray]() for _ in methods]
    each: list[Learned] = []
    for seed in seeds:
        each.append(learned(train, features.taught, maker, built, seed, pace, features.pictures))
        for i, fitted in enumerate(each[-1].fitted):
            logits[i].append(fitted(features.asked))
            trust = getattr(fitted, "trust", None)
            if trust is not None:
                trusts[i].append(trust)
    planted, judged = tuple(x.planted for x in each), [x.held_out for x in each]
    runs = Runs(tuple(methods), tuple(seeds), train.counts, np.stack([run for of in logits for run in of]))
    trusted = {m: np.stack(t) for m, t in zip(methods, trusts, strict=True) if t}
    pairs = list(zip(judged, (p.labels.astype(np.int64) for p in planted), strict=True))
    rates = {
        by: np.array([estimate(probs, given).rate for probs, given in pairs]) for by, estimate in ESTIMATORS.items()
    }
    return Version(maker, planted, np.stack(judged), rates, runs, trusted)


def tested_records(within: Context, features: Features, version: Version, ordinal: bool) -> list[Record]:
    """Of every method on the tested images: measures, and differences to the first method on the same wrong labels.

    Args:
        within: of the tested images.
        features: whose test rows are the truth.
        version: what was run.
        ordinal: whether quadratic kappa is wanted.
    """
    rows = {m: f"{m} on {version.name}" for m in version.runs.methods}
    found = tail_records(within, measure(version.runs, features.test, (), within), features.test)
    found = [dataclasses.replace(r, row=rows[r.row]) for r in found]
    if ordinal:
        made = {r.row: r for r in found if r.metric == "balanced_accuracy_score"}
        for m, (value, apart) in kappas(within, features.test, version.runs).items():
            like = made[rows[m]]
            found.append(dataclasses.replace(like, metric="quadratic_kappa_score", interval=value))
            if apart is not None:
                found.append(dataclasses.replace(like, metric="quadratic_kappa_difference", interval=apart))
    return found


def kappas(within: Context, test: Rows, runs: Runs) -> dict[str, tuple[Interval, Interval | None]]:
    """Quadratic kappa of every method, and its difference to the first one, on the same draws of patients and runs."""
    called, grades, number = runs.logits.argmax(axis=2), test.labels, len(test.classes)
    once = kappa_draws(called, grades, number, np.ones((1, len(grades)), np.uint8))[0]
    blocks = cluster_weights(within.patients, within.draws, within.rng())
    drawn = np.concatenate([kappa_draws(called, grades, number, w) for w in blocks])
    seeds = len(runs.seeds)
    shares = within.rng().multinomial(seeds, np.full(seeds, 1 / seeds), size=within.draws) / seeds
    note = f" of patients and of {seeds} runs" if seeds > 1 else ""
    found: dict[str, tuple[Interval, Interval | None]] = {}
    for i, method in enumerate(runs.methods):
        of, first = runs.of(i), runs.of(0)
        mean = (drawn[:, of] * shares).sum(axis=1)
        value = drawn_interval(float(once[of].mean()), mean, within.patients, level=0.95, note=note)
        apart = None
        if i:
            less = ((drawn[:, of] - drawn[:, first]) * shares).sum(axis=1)
            estimate = float((once[of] - once[first]).mean())
            apart = drawn_difference(estimate, less, within.patients, level=0.95, note=note).interval
        found[method] = value, apart
    return found


def trusted_records(within: Context, features: Features, version: Version) -> list[Record]:
    """Whom the methods trusted at the end, where it is known what is wrong: per given class, by frequency, and all.

    Precision is the share of trust that lies on right labels, recall the trust that right labels have. Intervals are
    over patients and runs.

    Args:
        within: of the images learned on.
        features: whose training rows were flipped.
        version: what was run.
    """
    train, draws = features.train, min(FEW_DRAWS, within.draws)
    given = np.stack([p.labels.astype(np.int64) for p in version.planted])
    right = np.stack([~p.flipped for p in version.planted]).astype(np.float64)
    group = frequency_groups(version.runs.counts)
    units = {MACRO: np.ones(given.shape, bool)}
    units |= {name: group[given] == g for g, name in enumerate(GROUPS) if (group == g).any()}
    units |= {name: given == c for c, name in enumerate(train.classes)}
    whole = np.eye(len(train.classes))[train.labels]
    columns = {MACRO: whole, **{name: whole[:, group == g] for g, name in enumerate(GROUPS)}}
    weights = np.concatenate(list(cluster_weights(within.patients, draws, within.rng()))).astype(np.float32)
    found: list[Record] = []
    for method, trust in version.trust.items():
        for name, unit in units.items():
            column = columns.get(name)
            column = whole[:, train.classes.index(name)] if column is None else column
            of = trust * unit
            for metric, below in zip(TRUSTED, (of, right * unit), strict=True):
                interval = _ratio(of * right, below, weights, within)
                record = within.record(f"{method} on {version.name}", SUPERVISED, name, metric, interval, column)
                found.append(dataclasses.replace(record, seeds=version.runs.seeds))
    return found


def lost_classes(records: Sequence[Record]) -> list[str]:
    """Methods that dropped most right labels of a class, one line each.

    Args:
        records: of `trusted_records`.
    """
    groups = (MACRO, *GROUPS)
    found: dict[str, list[str]] = {}
    for r in records:
        if r.metric == "trusted_recall_score" and r.finding not in groups and r.interval.estimate < LOST:
            found.setdefault(r.row, []).append(f"{r.finding} ({100 * r.interval.estimate:.0f} %)")
    return [f"{row} learned little from right labels of {', '.join(lost)}" for row, lost in found.items()]


def rate_records(within: Context, version: Version, whole: Int[np.ndarray, "n k"]) -> list[Record]:
    """The estimated share of wrong labels, mean of the seeds, and the planted one, which no method is told."""
    values = {f"noise_rate ({by})": rates for by, rates in version.rates.items()}
    how = f"mean of {len(version.planted)} seeds, no bounds"
    if version.name != AS_GIVEN:
        values["planted_rate"] = np.array([p.rate for p in version.planted])
    row = f"shares on {version.name}"
    return [
        within.record(row, SUPERVISED, MACRO, metric, Interval(float(np.mean(v)), np.nan, np.nan, how), whole)
        for metric, v in values.items()
    ]


def runs_digest(features: Features, methods: Sequence[str], pace: Pace) -> str:
    """SHA-256 over what is taught and how: in place of a model's digest."""
    whole = hashlib.sha256(f"{tuple(methods)}\0{pace}\0".encode())
    whole.update(np.ascontiguousarray(features.taught).tobytes())
    return whole.hexdigest()


def _ratio(
    above: Float64[np.ndarray, "s n"], below: Float64[np.ndarray, "s n"], weights: Float[np.ndarray, "b n"],
    within: Context,
) -> Interval:  # fmt: skip
    """Mean over runs of a ratio of sums; a run without any is left out."""
    seeds = len(above)

    def ratio(up: np.ndarray, down: np.ndarray) -> np.ndarray:
        return np.divide(up, down, out=np.full(up.shape, np.nan), where=down > 0)

    whole = ratio(above.sum(axis=1), below.sum(axis=1))
    drawn = ratio((weights @ above.T).astype(np.float64), (weights @ below.T).astype(np.float64))
    shares = within.rng().multinomial(seeds, np.full(seeds, 1 / seeds), size=len(drawn))
    counted = np.where(np.isnan(drawn), 0, shares)
    mean = ratio((np.nan_to_num(drawn) * counted).sum(axis=1), counted.sum(axis=1).astype(np.float64))
    estimate = float(np.nanmean(whole)) if np.isfinite(whole).any() else float("nan")
    note = f" of patients and of {seeds} runs" if seeds > 1 else ""
    return drawn_interval(estimate, mean, within.patients, level=0.95, note=note)
