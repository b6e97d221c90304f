"""Can a finding be told without looking at the organ? Probes on traces of how an image was made, beside the features'.

A probe learns from the training patients and is tested on others. It is no proof that a model uses what the probe
finds; it shows that a model could, and that its AUROC would not tell.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from tapetum.bench.models.controls import exchange_between_patients
from tapetum.bench.tables.measures import MACRO, Context
from tapetum.bench.trial import Scored, Trial
from tapetum.bench.trust.acquisition import ACQUISITION, BORDER, DEVICE, MISSING, Bins, Traces, traces_of
from tapetum.core.types import ImageRecord, Interval, Record
from tapetum.learn.adapters.logistic import Logistic
from tapetum.score import auroc_interval, macro_auroc_interval
from tapetum.score.ranking import rank
from tapetum.score.stats.clustered import obuchowski_paired
from tapetum.score.stats.multiple import holm

SHUFFLES = 20
FEWEST = 10  # patients with and without, below which nothing is warned of
SURE = 0.05
SUPERVISED, CONTROL = "supervised", "negative control"
TELLS: Mapping[str, str] = {
    BORDER: "four strips along the image's border tell",
    ACQUISITION: "border, corners, size and file of the image tell",
    MISSING: "which values were filled in tells",
    DEVICE: "the camera tells",
}


@dataclass(frozen=True)
class Learned:
    """The images that a probe learns from, with their labels, and the tested ones.

    Attributes:
        labels: `[n k]`, NaN unknown. traces, tested: kind → name → one value per image.
    """

    patients: tuple[str, ...]
    labels: Float64[np.ndarray, "n k"]
    traces: Mapping[str, Traces]
    tested: Mapping[str, Traces]


@dataclass(frozen=True)
class Probe:
    """A probe's scores on the tested images.

    Attributes:
        kind: of its traces. used: those that differ between training images. logits: `[n k]`. shuffled: `[s n k]`, of
            probes that learned labels exchanged between patients.
    """

    kind: str
    used: tuple[str, ...]
    logits: Float64[np.ndarray, "n k"]
    shuffled: Float64[np.ndarray, "s n k"]


def learned_traces(trial: Trial, records: Sequence[ImageRecord], labels: Float64[np.ndarray, "n k"]) -> Learned:
    """Read the traces of the images learned on and tested.

    Raises:
        DataError: an image cannot be decoded.
    """
    return Learned(
        tuple(r.patient_id for r in records), labels, traces_of(trial.archive, records),
        traces_of(trial.test_archive, trial.test_records),
    )  # fmt: skip


def probes_of(learned: Learned, rng: np.random.Generator) -> list[Probe]:
    """One probe per kind of trace that differs between training images, each with its negative control."""
    exchanged = [learned.labels[exchange_between_patients(learned.patients, rng)] for _ in range(SHUFFLES)]
    shuffled = np.concatenate(exchanged, axis=1)
    found: list[Probe] = []
    for kind, traces in learned.traces.items():
        bins = Bins.fit(traces)
        if not bins.names:
            continue
        seen, asked, who = bins(traces), bins(learned.tested[kind]), np.asarray(learned.patients)
        probe = Logistic(power=1.0).fit(seen, learned.labels, who)
        # The shuffled ones take over the penalty, which costs most of the time to choose.
        control = Logistic(power=1.0, penalty=float(np.nanmedian(probe.penalty_))).fit(seen, shuffled, who)
        main, others = (np.nan_to_num(np.asarray(p(asked), np.float64)) for p in (probe, control))
        found.append(Probe(kind, bins.names, main, np.stack(np.split(others, SHUFFLES, axis=1))))
    return found


@dataclass(frozen=True)
class Told:
    """How well a probe tells a finding, beside the image features.

    Attributes:
        share: of what the features tell above chance, NaN where they tell nothing. p_value: one-sided, that it tells
            nothing; NaN where `clear` is False. clear: enough patients of both kinds to say so.
    """

    kind: str
    finding: str
    interval: Interval
    features: float
    share: float
    p_value: float
    clear: bool

    def warning(self) -> str:
        """One sentence for the head of a table."""
        share = "" if math.isnan(self.share) else f", {min(self.share, 1):.0%} of what these tell above chance"
        return (
            f"{self.finding}: {TELLS.get(self.kind, self.kind)} it at AUROC {self.interval}, the image features at "
            f"{self.features:.3f}{share}. A model can learn this instead of the disease"
        )


def told_by(probe: Probe, main: Scored, within: Context) -> list[Told]:
    """What a probe tells of every finding that both classes of the test set allow to measure."""
    found: list[Told] = []
    for j, finding in enumerate(main.predictions.findings):
        known = ~np.isnan(main.labels[:, j])
        truth, who = main.labels[known, j], np.asarray(within.patients)[known]
        interval = auroc_interval(probe.logits[known, j], truth, who, rng=within.rng(), draws=within.draws)
        if math.isnan(interval.estimate):
            continue
        features = rank(main.predictions.logits[known, j], truth).auroc
        share = (interval.estimate - 0.5) / (features - 0.5) if features > 0.5 else math.nan
        fewer = min(len(set(who[truth == c])) for c in (0, 1))
        enough = fewer >= FEWEST
        p_value = _better_than_chance(probe.logits[known, j], truth, who) if enough else math.nan
        found.append(Told(probe.kind, finding, interval, features, share, p_value, enough))
    return found


def _better_than_chance(scores: np.ndarray, truth: np.ndarray, who: np.ndarray) -> float:
    """One-sided p of an AUROC of 0.5; 0 where the classes are fully apart, which has no variance."""
    apart = obuchowski_paired(scores, np.zeros(len(scores)), truth, who)
    if math.isnan(apart.p_value):
        return 0.0 if apart.interval.estimate > 0 else 1.0
    return apart.p_value / 2 if apart.interval.estimate > 0 else 1 - apart.p_value / 2


def probe_records(within: Context, probe: Probe, told: Sequence[Told], main: Scored) -> list[Record]:
    """AUROC and explained share of every finding, their mean, and the mean of the shuffled probes."""
    labels, findings = main.labels, main.predictions.findings
    macro = macro_auroc_interval(probe.logits, labels, within.patients, rng=within.rng(), draws=within.draws)
    found = [within.record(probe.kind, SUPERVISED, MACRO, "auroc_score", macro, labels)]
    if not told:
        return found
    for one in told:
        column = labels[:, findings.index(one.finding)]
        share = Interval(one.share, math.nan, math.nan, "of the features' AUROC above 0.5, no bounds")
        found.append(within.record(probe.kind, SUPERVISED, one.finding, "auroc_score", one.interval, column))
        found.append(within.record(probe.kind, SUPERVISED, one.finding, "explained_share", share, column))
    values = np.array(
        [
            macro_auroc_interval(z, labels, within.patients, rng=within.rng(), draws=1).estimate
            for z in probe.shuffled
        ]
    )  # fmt: skip
    low, high = float(values.min()), float(values.max())
    control = Interval(float(values.mean()), low, high, f"mean and range of {len(values)} shuffles")
    found.append(within.record(probe.kind, CONTROL, MACRO, "auroc_score", control, labels))
    return found


def warnings_of(told: Sequence[Told], explained: float) -> tuple[str, ...]:
    """Findings that a probe tells for sure (Holm over probes and findings), as a large part of what the features tell.

    Args:
        told: of all probes.
        explained: the part, 0..1, from which on a warning is due.

    Returns:
        Sentences, the highest AUROC first; where the border alone is enough, the acquisition as a whole is not named.
    """
    sure = holm(np.array([one.p_value for one in told])) if told else np.empty(0)
    alarming = [
        one for one, p in zip(told, sure, strict=True)
        if p < SURE and one.clear and (math.isnan(one.share) or one.share >= explained)
    ]  # fmt: skip
    narrow = {one.finding for one in alarming if one.kind == BORDER}
    due = [one for one in alarming if not (one.kind == ACQUISITION and one.finding in narrow)]
    return tuple(one.warning() for one in sorted(due, key=lambda t: -t.interval.estimate))


def of_probe(within: Context, digest: str) -> Context:
    """The context with the digest of what the probes learned from, in place of a model's."""
    return dataclasses.replace(within, digests={**within.digests, "model": digest})
