"""A model on spoilt images beside the clean ones: what each corruption costs, on the same draws of patients."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64, Integer

from tapetum.bench.tables.measures import FEW_DRAWS, MACRO, Context
from tapetum.bench.tables.results import read_records
from tapetum.bench.trial import Scored
from tapetum.core.errors import DataError
from tapetum.core.types import Interval, Record
from tapetum.score.calibration_draws import NOTE, calibration_error_draws, recentred
from tapetum.score.stats.bounds import drawn_difference, drawn_interval
from tapetum.score.stats.draws import cluster_weights, mean_draws
from tapetum.score.stats.intervals import macro_draws
from tapetum.score.stats.multiple import holm

ALL = "mean of all corruptions"
ERRORS = ("balanced_error", "expected_calibration_error")
LEVEL = 0.95


@dataclass(frozen=True)
class Drawn:
    """A quantity of every version of the images (the first is clean), and the same in every draw of patients.

    Attributes:
        estimates: `[v]`. drawn: `[draws v]`. note: what to say of the draws.
    """

    estimates: Float64[np.ndarray, "v"]
    drawn: Float64[np.ndarray, "b v"]
    note: str = ""

    def mean(self, versions: Sequence[int], patients: Sequence[str]) -> Interval:
        """Its mean over some versions."""
        columns = list(versions)
        value, drawn = float(self.estimates[columns].mean()), self.drawn[:, columns].mean(axis=1)
        return drawn_interval(value, drawn, patients, level=LEVEL, note=self.note)

    def minus_clean(self, versions: Sequence[int], patients: Sequence[str]) -> tuple[Interval, float]:
        """Its mean over some versions minus the clean one, paired, and the two-sided p."""
        columns = list(versions)
        value = float(self.estimates[columns].mean() - self.estimates[0])
        drawn = self.drawn[:, columns].mean(axis=1) - self.drawn[:, 0]
        apart = drawn_difference(value, drawn, patients, level=LEVEL, note=self.note)
        return apart.interval, apart.p_value


@dataclass(frozen=True)
class Measured:
    """All that is measured of every version.

    Attributes:
        versions: corruption → its places among the versions, one per severity.
        macro: by name: `auroc`, and at the fixed thresholds, where there are any, `sensitivity`, `specificity`,
            `balanced_error`, `expected_calibration_error`. by_finding: AUROC of each finding with both classes.
    """

    versions: Mapping[str, Sequence[int]]
    macro: Mapping[str, Drawn]
    by_finding: Mapping[str, Drawn]


def measure(clean: Scored, spoilt: Mapping[str, Sequence[Scored]], within: Context) -> Measured:
    """Every version on the same draws of patients.

    Args:
        clean: scores on the images as they are.
        spoilt: corruption → scores at each severity.
        within: draws, patients.
    """
    scored, versions = [clean], dict[str, Sequence[int]]()
    for name, ones in spoilt.items():
        versions[name] = range(len(scored), len(scored) + len(ones))
        scored += ones
    labels, few = clean.labels, min(FEW_DRAWS, within.draws)
    logits = [s.predictions.logits for s in scored]
    whole = macro_draws(logits, labels, within.patients, rng=within.rng(), draws=within.draws)
    macro = {"auroc": Drawn(whole.estimates, whole.drawn, whole.note)}
    weights = np.concatenate(list(cluster_weights(within.patients, few, within.rng())))
    macro |= _at_thresholds(scored, np.concatenate([np.ones((1, len(labels)), weights.dtype), weights]))
    by_finding = dict[str, Drawn]()
    for j, finding in enumerate(clean.predictions.findings):
        known = ~np.isnan(labels[:, j])
        if len(set(labels[known, j].tolist())) < 2:
            continue
        who = [p for p, k in zip(within.patients, known, strict=True) if k]
        one = macro_draws(
            [z[known, j : j + 1] for z in logits], labels[known, j : j + 1], who, rng=within.rng(), draws=few
        )
        by_finding[finding] = Drawn(one.estimates, one.drawn, one.note)
    return Measured(versions, macro, by_finding)


def _at_thresholds(scored: Sequence[Scored], weights: Integer[np.ndarray, "b n"]) -> dict[str, Drawn]:
    """Means over the findings that have a threshold and, among the tested images, both classes."""
    first = scored[0]
    labels, thresholds = first.labels, first.predictions.thresholds
    probs = [s.predictions.probs for s in scored]
    usable = [
        j for j, y in enumerate(labels.T)
        if not math.isnan(thresholds[j]) and (y == 0).any() and (y == 1).any()
        and not any(np.isnan(p[~np.isnan(y), j]).any() for p in probs)
    ]  # fmt: skip
    if not usable:
        return {}
    shape = (len(usable), len(weights), len(scored))
    found, absent, error = (np.empty(shape) for _ in range(3))
    for i, j in enumerate(usable):
        y = labels[:, j]
        known = ~np.isnan(y)
        for v, p in enumerate(probs):
            called = (p[:, j] >= thresholds[j]).astype(np.float64)
            found[i, :, v] = mean_draws(np.where(y == 1, called, np.nan), weights)
            absent[i, :, v] = mean_draws(np.where(y == 0, 1 - called, np.nan), weights)
            error[i, :, v] = calibration_error_draws(p[known, j].astype(np.float64), y[known] == 1, weights[:, known])
    right, calm = _over_findings(found), _over_findings(absent)
    few = "" if len(usable) == labels.shape[1] else f", mean over {len(usable)} of {labels.shape[1]} findings"
    values = {"sensitivity": right, "specificity": calm, "balanced_error": 1 - (right + calm) / 2}
    drawn = {name: Drawn(x[0], x[1:], few) for name, x in values.items()}
    moved = recentred(_over_findings(error))
    return drawn | {"expected_calibration_error": Drawn(moved[0], moved[1:], few + NOTE)}


def _over_findings(values: Float64[np.ndarray, "k b v"]) -> Float64[np.ndarray, "b v"]:
    """Mean over the findings that are defined in a draw."""
    known = ~np.isnan(values)
    total, defined = np.where(known, values, 0.0).sum(axis=0), known.sum(axis=0)
    return np.divide(total, defined, out=np.full(total.shape, np.nan), where=defined > 0)


def clean_records(within: Context, clean: Scored, measured: Measured) -> list[Record]:
    """Macro errors of the clean images, which the others are compared with."""
    return [
        within.record(
            clean.row, clean.supervision, MACRO, name, measured.macro[name].mean([0], within.patients), clean.labels
        )
        for name in ERRORS
        if name in measured.macro
    ]


def corrupted_records(
    within: Context, clean: Scored, measured: Measured, severities: Sequence[float]
) -> list[Record]:  # fmt: skip
    """Of every corruption, the worst first: means over severities, differences to clean, AUROC at each severity.

    Args:
        within: draws, patients.
        clean: scores on the images as they are.
        measured: of all versions.
        severities: of each corruption, in order.
    """
    patients, area = within.patients, measured.macro["auroc"]
    apart = {name: area.minus_clean(of, patients) for name, of in measured.versions.items()}
    p_values = holm(np.array([p for _, p in apart.values()]))
    sure = dict(zip(apart, p_values.tolist(), strict=True))
    order = sorted(apart, key=lambda name: (math.isnan(apart[name][0].estimate), apart[name][0].estimate))
    every = [v for of in measured.versions.values() for v in of]
    found: list[Record] = []
    for row in (ALL, *order):
        of = every if row == ALL else measured.versions[row]
        values = {"auroc_score": area.mean(of, patients), "auroc_difference": area.minus_clean(of, patients)[0]}
        if row != ALL:
            values["auroc_difference (p)"] = Interval(sure[row], math.nan, math.nan, "Holm over corruptions")
        for name in ("sensitivity", "specificity"):
            if name in measured.macro:
                values[f"{name}_difference"] = measured.macro[name].minus_clean(of, patients)[0]
        values |= {name: measured.macro[name].mean(of, patients) for name in ERRORS if name in measured.macro}
        if row != ALL:
            at = zip(severities, of, strict=True)
            values |= {f"auroc_at_{severity:g}_score": area.mean([v], patients) for severity, v in at}
        found += [within.record(row, clean.supervision, MACRO, m, x, clean.labels) for m, x in values.items()]
        for finding, drawn in measured.by_finding.items():
            column = clean.labels[:, clean.predictions.findings.index(finding)]
            interval = drawn.mean(of, patients)
            found.append(within.record(row, clean.supervision, finding, "auroc_score", interval, column))
    return found


def relative_records(
    within: Context, records: Sequence[Record], labels: Float[np.ndarray, "n k"], baseline: Path
) -> list[Record]:
    """Balanced errors in units of a baseline's, whose records were saved from a run on the same images.

    `relative_balanced_error`: the error's ratio. `relative_increase_error`: the ratio of what the corruption adds to
    the clean error; NaN where it adds nothing to the baseline's.

    Args:
        within: of this run.
        records: of this run; the first row is the clean one.
        labels: of the tested images.
        baseline: the folder of the other run.

    Raises:
        ArtefactError: no records there. DataError: of other images, or without balanced errors.
    """
    of = baseline / "records.jsonl" if baseline.is_dir() else baseline
    others = [r for r in read_records(of) if r.metric == "balanced_error" and r.finding == MACRO]
    mine = [r for r in records if r.metric == "balanced_error" and r.finding == MACRO]
    if not others or not mine:
        raise DataError(f"no balanced errors in {of if not others else 'this run'}", "a run with thresholds")
    same = all(others[0].digests.get(k) == within.digests.get(k) for k in ("test", "split"))
    if not same or (others[0].images, others[0].positives) != (mine[0].images, mine[0].positives):
        raise DataError(f"{of} was measured on other images", "the same archive, split, seed and images=")
    theirs = {r.row: r.interval.estimate for r in others}
    first, base = mine[0].interval.estimate, others[0].interval.estimate
    how = f"in units of {others[0].row} of {baseline.name}, no bounds"
    found: list[Record] = []
    for record in mine[1:]:
        if record.row not in theirs:
            continue
        value, other = record.interval.estimate, theirs[record.row]
        ratios = {
            "relative_balanced_error": value / other if other > 0 else math.nan,
            "relative_increase_error": (value - first) / (other - base) if other > base else math.nan,
        }
        found += [
            within.record(record.row, record.supervision, MACRO, m, Interval(x, math.nan, math.nan, how), labels)
            for m, x in ratios.items()
        ]
    return found
