"""From a gate and predictions to Records: errors against coverage, sets against their promise, images let through."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float, Float64

from tapetum.bench.tables.measures import FEW_DRAWS, MACRO, Context
from tapetum.bench.trial import Scored
from tapetum.core.types import Doubts, Interval, Predictions, Record
from tapetum.score import bootstrap_interval
from tapetum.score.selective import area_under_risk_coverage, error_at_coverage
from tapetum.score.stats.proportions import clustered_wilson_interval

COVERAGES = (1.0, 0.9, 0.8, 0.5)
Measure = Callable[[Float64[np.ndarray, "n"], Float64[np.ndarray, "n"]], float]


def doubt_kinds(
    predictions: Predictions, doubts: Doubts, rng: np.random.Generator
) -> dict[str, Float64[np.ndarray, "n k"]]:
    """What may be asked to leave the uncertain ones to a person, higher = sooner; the last one knows nothing.

    `near the threshold`: how near the probability lies to the operating point, in log odds. `unlike the known`: the
    gate's score. `blind`: drawn from the generator, a negative control.
    """
    near = -np.abs(_log_odds(predictions.probs) - _log_odds(predictions.thresholds))
    shape = predictions.logits.shape
    return {
        "near the threshold": near,
        "unlike the known": np.broadcast_to(doubts.outlying[:, None], shape),
        "blind": rng.random(shape),
    }


def coverage_records(within: Context, kinds: dict[str, Float64[np.ndarray, "n k"]], scored: Scored) -> list[Record]:
    """Area under risk and coverage, and the error at some coverages, per finding and for all answers together."""
    predictions, labels = scored.predictions, scored.labels
    wrong = ((predictions.probs >= predictions.thresholds) != (labels == 1)).astype(np.float64)
    wrong[np.isnan(labels) | np.isnan(predictions.probs) | np.isnan(predictions.thresholds)] = np.nan
    measures: dict[str, Measure] = {"aurc_error": area_under_risk_coverage}
    measures |= {f"error_at_{100 * c:.0f}_coverage": _at(c) for c in COVERAGES}
    found: list[Record] = []
    for kind, doubt in kinds.items():
        supervision = "negative control" if kind == "blind" else scored.supervision
        for finding, columns in _columns(predictions.findings):
            known = ~np.isnan(wrong[:, columns])
            rows = np.nonzero(known)[0]
            values = [doubt[:, columns][known], wrong[:, columns][known]]
            who = [within.patients[i] for i in rows]
            for metric, measure in measures.items():
                draws = min(FEW_DRAWS, within.draws)
                interval = (
                    bootstrap_interval(measure, values, who, rng=within.rng(), draws=draws)
                    if len(rows)
                    else Interval(np.nan, np.nan, np.nan, "no operating point, or no label")
                )
                found.append(within.record(kind, supervision, finding, metric, interval, labels[:, columns]))
    return found


def set_records(within: Context, doubts: Doubts, scored: Scored, row: str) -> list[Record]:
    """Shares of true answers that the sets keep, of answers they leave open, and of single answers that are right."""
    predictions, labels = scored.predictions, scored.labels
    present, absent, size = doubts.possible[..., 1], doubts.possible[..., 0], doubts.possible.sum(axis=2)
    single = size == 1
    right = np.where(labels == 1, present, absent)
    parts = {
        "present_kept_score": np.where(labels == 1, present, np.nan),
        "absent_kept_score": np.where(labels == 0, absent, np.nan),
        "single_answer_score": np.where(np.isnan(labels), np.nan, single),
        "single_answer_right_score": np.where(np.isnan(labels) | ~single, np.nan, right),
    }
    found: list[Record] = []
    for finding, columns in _columns(predictions.findings):
        for metric, values in parts.items():
            interval = _share(within, values[:, columns])
            found.append(within.record(row, scored.supervision, finding, metric, interval, labels[:, columns]))
    return found


def kept_record(within: Context, let_in: Bool[np.ndarray, "n"], labels: Float[np.ndarray, "n k"], row: str) -> Record:
    """The share of tested images that the gate lets through."""
    interval = _share(within, let_in.astype(np.float64)[:, None])
    return within.record(row, "unsupervised", "images", "let_through_score", interval, labels)


def _share(within: Context, values: Float64[np.ndarray, "n j"]) -> Interval:
    known = ~np.isnan(values)
    who = [within.patients[i] for i in np.nonzero(known)[0]]
    if not who:
        return Interval(np.nan, np.nan, np.nan, "no such image")
    return clustered_wilson_interval(values[known] == 1, who)


def _columns(findings: Sequence[str]) -> list[tuple[str, list[int]]]:
    """All findings together, then each."""
    return [(MACRO, list(range(len(findings)))), *((f, [j]) for j, f in enumerate(findings))]


def _at(coverage: float) -> Measure:
    def measure(doubt: Float64[np.ndarray, "n"], wrong: Float64[np.ndarray, "n"]) -> float:
        return error_at_coverage(doubt, wrong == 1, coverage=coverage)

    return measure


def _log_odds(probs: Float[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    inside = np.clip(probs, 1e-6, 1 - 1e-6)
    return np.log(inside) - np.log1p(-inside)
