"""From scores and truth to Records: every number with its interval, every choice with its rule."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from tapetum.core.errors import DataError, UsageError
from tapetum.core.registry import Family
from tapetum.core.types import Interval, Record
from tapetum.score import (
    auroc_interval,
    bootstrap_interval,
    delong_interval,
    macro_auroc_interval,
    operating_point,
)

MACRO = "macro"
RANKING = ("auroc_score", "auroc_score (DeLong)", "average_precision_score")
FEW_DRAWS = 500  # for metrics that are computed draw by draw


@dataclass(frozen=True)
class Context:
    """What all Records of one run share."""

    protocol: str
    patients: tuple[str, ...]
    seed: int
    draws: int
    selection: str
    test_reads: int
    digests: Mapping[str, str]
    data: str
    phantom: bool

    def record(
        self,
        row: str,
        supervision: str,
        finding: str,
        metric: str,
        interval: Interval,
        labels: Float[np.ndarray, "n"] | Float[np.ndarray, "n k"],
    ) -> Record:
        """A Record with the counts of its labels filled in."""
        known = np.asarray(~np.isnan(labels.reshape(len(labels), -1)).all(axis=1))
        who = {p for p, k in zip(self.patients, known, strict=True) if k}
        return Record(
            self.protocol, row, supervision, finding, metric, interval, int(known.sum()), len(who),
            int(np.nansum(labels)), (self.seed,), self.selection, self.test_reads, dict(self.digests), self.data,
            self.phantom,
        )  # fmt: skip

    def rng(self) -> np.random.Generator:
        """A fresh generator with the run's seed, so that every metric sees the same draws of patients."""
        return np.random.default_rng(self.seed)


def ranking_records(
    context: Context,
    row: str,
    supervision: str,
    findings: Sequence[str],
    logits: Float[np.ndarray, "n k"],
    labels: Float[np.ndarray, "n k"],
) -> list[Record]:
    """AUROC per finding (cluster bootstrap, and DeLong beside it), their macro mean, and average precision."""
    found: list[Record] = []

    def add(finding: str, metric: str, interval: Interval, column: np.ndarray) -> None:
        found.append(context.record(row, supervision, finding, metric, interval, column))

    add(
        MACRO,
        "auroc_score",
        macro_auroc_interval(logits, labels, context.patients, rng=context.rng(), draws=context.draws),
        labels,
    )
    precision = Family("tapetum.score.metrics").build("average_precision_score")
    for j, finding in enumerate(findings):
        known = ~np.isnan(labels[:, j])
        scores, truth, who = logits[known, j], labels[known, j], _who(context.patients, known)
        column = labels[:, j]
        if not known.any():
            unknown = Interval(math.nan, math.nan, math.nan, "no label of a tested image speaks of it")
            found += [context.record(row, supervision, finding, m, unknown, column) for m in RANKING]
            continue
        add(finding, "auroc_score", auroc_interval(scores, truth, who, rng=context.rng(), draws=context.draws), column)
        add(finding, "auroc_score (DeLong)", delong_interval(scores, truth), column)
        add(finding, "average_precision_score", _few(context, precision, [scores, truth.astype(int)], who), column)
    return found


def decision_records(
    context: Context,
    row: str,
    supervision: str,
    findings: Sequence[str],
    probs: Float[np.ndarray, "n k"],
    thresholds: Float[np.ndarray, "k"],
    labels: Float[np.ndarray, "n k"],
) -> list[Record]:
    """At the threshold that was fixed beforehand: sensitivity, specificity, PPV, NPV, balanced accuracy, ECE, Brier."""
    found: list[Record] = []
    family = Family("tapetum.score.metrics")
    for j, finding in enumerate(findings):
        known = ~np.isnan(labels[:, j]) & ~np.isnan(probs[:, j])
        if not known.any() or np.isnan(thresholds[j]):
            continue
        p, truth, who = probs[known, j], labels[known, j].astype(int), _who(context.patients, known)
        point = operating_point(p, truth, float(thresholds[j]), who)
        parts = {"sensitivity_score": point.sensitivity, "specificity_score": point.specificity}
        parts |= {"ppv_score": point.ppv, "npv_score": point.npv}
        spec = f"balanced_accuracy_score(threshold={float(thresholds[j])!r})"
        for metric, name in (
            (spec, "balanced_accuracy_score"),
            ("expected_calibration_error", "expected_calibration_error"),
            ("brier_error", "brier_error"),
        ):
            parts[name] = _few(context, family.build(metric), [p, truth], who)
        for metric, interval in parts.items():
            found.append(context.record(row, supervision, finding, metric, interval, labels[:, j]))
    return found


def grade_records(
    context: Context,
    row: str,
    supervision: str,
    grades: Sequence[str],
    probs: Float[np.ndarray, "n k"],
    labels: Float[np.ndarray, "n k"],
) -> list[Record]:
    """Quadratic κ and accuracy of the most probable grade; images without exactly one grade are left out.

    Raises:
        UsageError: a grade is no number. DataError: no image has exactly one.
    """
    try:
        order = np.argsort([float(g) for g in grades])
    except ValueError:
        raise UsageError(
            f"the grades {', '.join(grades)}", "numbers, in whose order the grades stand", "ordinal=false"
        ) from None
    known = _one_each(labels, "grades", "ordinal=false")
    labels = np.where(known[:, None], labels, np.nan)
    truth = labels[known][:, order].argmax(1)
    called = probs[known][:, order].argmax(1)
    one_hot = np.eye(len(grades))[called]
    kappa = Family("tapetum.score.metrics").build("cohen_kappa_score(weights='quadratic')")
    who = _who(context.patients, known)
    interval = _few(context, kappa, [one_hot, truth], who)
    return [
        context.record(row, supervision, MACRO, "quadratic_kappa_score", interval, labels),
        *class_records(context, row, supervision, probs, labels),
    ]


def class_records(
    context: Context,
    row: str,
    supervision: str,
    probs: Float[np.ndarray, "n k"],
    labels: Float[np.ndarray, "n k"],
) -> list[Record]:
    """Accuracy of the most probable class; images without exactly one class are left out.

    Raises:
        DataError: no image has exactly one.
    """
    known = _one_each(labels, "classes", "exclusive=false")
    labels = np.where(known[:, None], labels, np.nan)
    called, truth = probs[known].argmax(1), labels[known].argmax(1)
    who = _who(context.patients, known)
    accuracy = bootstrap_interval(_accuracy, [called, truth], who, rng=context.rng(), draws=FEW_DRAWS)
    return [context.record(row, supervision, MACRO, "accuracy_score", accuracy, labels)]


def _one_each(labels: Float[np.ndarray, "n k"], what: str, instead: str) -> np.ndarray:
    known = np.nansum(labels, axis=1) == 1
    if not known.any():
        raise DataError(
            f"no tested image has exactly one of {labels.shape[1]} labels", f"labels that are {what}", instead
        )
    return known


def rename(records: Sequence[Record], metric: str, to: str) -> list[Record]:
    """The records with one metric's name changed, for example to mark values before calibration."""
    return [dataclasses.replace(r, metric=to) if r.metric == metric else r for r in records]


def _accuracy(called: Float[np.ndarray, "n"], truth: Float[np.ndarray, "n"]) -> float:
    return float((called == truth).mean())


def _few(context: Context, metric: Callable[..., float], arrays: Sequence[np.ndarray], who: Sequence[str]) -> Interval:
    draws = min(FEW_DRAWS, context.draws)
    return bootstrap_interval(metric, arrays, who, rng=context.rng(), draws=draws)


def _who(patients: Sequence[str], known: np.ndarray) -> list[str]:
    return [p for p, k in zip(patients, known, strict=True) if k]
