"""Operating points: logits become probabilities, and probabilities a decision, on validation patients only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from tapetum.core.registry import Family
from tapetum.score import threshold_for_sensitivity

FEWEST = 5  # positives and negatives below which a threshold would be an accident


@dataclass(frozen=True)
class Operating:
    """Calibration and thresholds of some findings, with what they were chosen on.

    Attributes:
        findings: length k. calibrator: spec of a member of `score/calibration`; `state` its fitted arrays.
        thresholds: on probabilities, for the stated sensitivity; NaN where there were too few images to choose.
        sensitivity: the share of diseased images that was to be caught on the validation patients, 0..1.
        truth: `labels` or `reports`, whatever the validation labels came from.
        positives, negatives: validation images per finding.
    """

    findings: tuple[str, ...]
    calibrator: str
    state: Mapping[str, Float[np.ndarray, "..."]]
    thresholds: Float[np.ndarray, "k"]
    sensitivity: float
    truth: str
    positives: tuple[int, ...]
    negatives: tuple[int, ...]

    def probabilities(self, findings: tuple[str, ...], logits: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
        """Calibrated probabilities; a finding that was never calibrated is NaN, not a guess."""
        calibrator = Family("tapetum.score.calibration").build(self.calibrator).restore(self.state)
        out = np.full(logits.shape, np.nan)
        place = {finding: j for j, finding in enumerate(findings)}
        whole = np.zeros((len(logits), len(self.findings)))
        shared = [(j, place[f]) for j, f in enumerate(self.findings) if f in place]
        for mine, theirs in shared:
            whole[:, mine] = logits[:, theirs]
        probs = calibrator(whole)
        for mine, theirs in shared:
            out[:, theirs] = probs[:, mine]
        return out

    def thresholds_of(self, findings: tuple[str, ...]) -> Float[np.ndarray, "k"]:
        """Thresholds in the order of `findings`, NaN where none was chosen."""
        known = dict(zip(self.findings, self.thresholds, strict=True))
        return np.array([known.get(finding, np.nan) for finding in findings])

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, NaN as None."""
        return {
            "findings": list(self.findings),
            "calibrator": self.calibrator,
            "state": {key: _plain(values) for key, values in self.state.items()},
            "thresholds": _plain(self.thresholds),
            "sensitivity": self.sensitivity,
            "truth": self.truth,
            "positives": list(self.positives),
            "negatives": list(self.negatives),
        }

    @staticmethod
    def from_dict(raw: Mapping[str, Any]) -> Operating:
        """The inverse of `as_dict`."""
        return Operating(
            tuple(raw["findings"]),
            raw["calibrator"],
            {key: _array(values) for key, values in raw["state"].items()},
            _array(raw["thresholds"]),
            raw["sensitivity"],
            raw["truth"],
            tuple(raw["positives"]),
            tuple(raw["negatives"]),
        )


def choose_operating(
    findings: tuple[str, ...],
    logits: Float[np.ndarray, "n k"],
    labels: Float[np.ndarray, "n k"],
    *,
    calibrator: str,
    sensitivity: float,
    truth: str,
) -> Operating | None:
    """Fit the calibrator and choose thresholds on validation images; None when no finding has enough of them.

    Args:
        findings: the columns.
        logits: finite.
        labels: 0, 1, NaN unknown.
        calibrator: spec of a member of `score/calibration`.
        truth: where the labels come from.
        sensitivity: wanted share of the positives above the threshold, 0..1.
    """
    positives, negatives = (labels == 1).sum(0), (labels == 0).sum(0)
    kept = np.flatnonzero((positives >= FEWEST) & (negatives >= FEWEST))
    if not len(kept):
        return None
    fitted = Family("tapetum.score.calibration").build(calibrator).fit(logits[:, kept], labels[:, kept])
    probs = fitted(logits[:, kept])
    thresholds = np.full(len(kept), np.nan)
    for j, column in enumerate(kept):
        known = ~np.isnan(labels[:, column]) & ~np.isnan(probs[:, j])
        if known.any():
            thresholds[j] = threshold_for_sensitivity(probs[known, j], labels[known, column], sensitivity=sensitivity)
    return Operating(
        tuple(findings[c] for c in kept),
        calibrator,
        fitted.state(),
        thresholds,
        sensitivity,
        truth,
        tuple(int(positives[c]) for c in kept),
        tuple(int(negatives[c]) for c in kept),
    )


def _plain(values: Float[np.ndarray, "*k"]) -> Any:
    return [_plain(v) if np.ndim(v) else None if np.isnan(v) else float(v) for v in np.atleast_1d(values)]


def _array(values: Any) -> Float[np.ndarray, "*k"]:
    # None becomes NaN at any depth when objects are turned into numbers
    return np.array(np.array(values, dtype=object), dtype=np.float64)
