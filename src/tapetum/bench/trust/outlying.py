"""OOD scores under test: which images count as what, the head they need, and what each score gives."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64

from tapetum.bench.tables.measures import FEW_DRAWS, Context
from tapetum.bench.tables.rows import context
from tapetum.bench.trial import Trial
from tapetum.bench.trust.outlying_parts import Parts, Shown
from tapetum.core.errors import DataError, UsageError
from tapetum.core.registry import Family, Spec
from tapetum.core.types import Head, ImageRecord, Record
from tapetum.learn.adapters import Adapter
from tapetum.learn.fitting.standardise import Standardiser
from tapetum.score import auroc_interval, bootstrap_interval, operating_point
from tapetum.score.in_distribution import InDistribution
from tapetum.score.metrics.average_precision_score import average_precision_score
from tapetum.score.metrics.fpr_at_95_tpr_error import fpr_at_95_tpr_error
from tapetum.score.ood import OodScore
from tapetum.score.post_hoc import PostHoc, together

SCORES = Family("tapetum.score.ood")
KNOWN, ACCEPTED = ("OOD", "ID"), ("OOD, shifted accepted", "ID, shifted accepted")
REFUSED = ("shifted, to be refused", "ID, shifted refused")
SELECTION = "scores: fitted on train; threshold: the stated share of val kept; no OOD image is seen before the test"


@dataclass(frozen=True)
class Values:
    """A score of every image that it is asked for; higher = more OOD.

    Attributes:
        tested: known images first, then OOD ones. val: known images, for the threshold. choosing: OOD images to choose
        on. shifted: known findings that look different; empty where there are none.
    """

    tested: Float64[np.ndarray, "n"]
    val: Float64[np.ndarray, "v"]
    choosing: Float64[np.ndarray, "c"]
    shifted: Float64[np.ndarray, "s"]


@dataclass(frozen=True)
class Known:
    """What the scores are fitted on, and the way from raw features to theirs."""

    images: InDistribution
    rows: Callable[[Float[np.ndarray, "n d"]], Float[np.ndarray, "n e"]]
    note: str


def known_of(trial: Trial, parts: Parts, head: str, unseen: str) -> Known:
    """Standardised features of the training images; with labels, the linear head that an adapter learns from them.

    Raises:
        UsageError: the adapter is not linear in the features of the towers.
        DataError: `exclusive`, and an image has no label or several.
    """
    raw = parts.features(parts.train)
    names, labels = learnable(trial, parts.train, unseen)
    blocks = parts.embeddings.blocks
    if not names:
        standardiser = Standardiser.fit(raw, 0.5, blocks)
        return Known(InDistribution(standardiser(raw)), standardiser, "no labels: only scores of features alone")
    family = Family("tapetum.learn.adapters")
    if getattr(family.member(Spec.parse(head).name), "NEEDS", ()):
        raise UsageError(
            f"head={head!r} starts from words", "a linear adapter, for example logistic, linear_probe, lda"
        )
    if trial.made and trial.model is not None and trial.model.adapter is not None:
        state, head = trial.model.adapter.state(), str(trial.model.config["tuner"])
    else:
        adapter: Adapter = family.build(head)
        state = adapter.fit(raw, labels, np.array([r.patient_id for r in parts.train]), blocks).state()
    if not {"weight", "bias", "mean", "scale", "power"} <= set(state):
        raise UsageError(f"head={head!r} is not linear", "a linear adapter, for example logistic, linear_probe, lda")
    standardiser = Standardiser.restore(state)
    classifier = Head(state["weight"].T.astype(np.float32), state["bias"].astype(np.float32))
    mode = "softmax" if trial.config.exclusive else "sigmoid"
    truth = _one_class_each(labels) if mode == "softmax" else labels
    note = f"head: {head} on {', '.join(names)}, read as {mode}"
    return Known(InDistribution(standardiser(raw), truth, classifier, mode), standardiser, note)


def learnable(trial: Trial, train: Sequence[ImageRecord], unseen: str) -> tuple[list[str], Float64[np.ndarray, "n k"]]:
    """The labels with both classes among the training images, and these."""
    names = [f for f in trial.config.findings or trial.archive.label_names if f != unseen]
    labels = trial.archive.labels(names, image_ids=[r.image_id for r in train])
    both = (labels == 1).any(axis=0) & (labels == 0).any(axis=0)
    return [f for f, ok in zip(names, both, strict=True) if ok], labels[:, both]


def _one_class_each(labels: Float64[np.ndarray, "n k"]) -> np.ndarray:
    wrong = int((np.nansum(labels, axis=1) != 1).sum())
    if wrong:
        raise DataError(
            f"{wrong} of {len(labels)} training images have no label that can be learned, or several",
            "exactly one of each image",
            "exclusive=false",
        )
    return np.nanargmax(labels, axis=1)


def chosen_scores(asked: Sequence[str], default: Sequence[str], known: InDistribution) -> tuple[list[str], list[str]]:
    """The specs to run, in their canonical form: those asked for, or of the default ones those that can run.

    Returns:
        Their specs, and a note on those left out.
    """
    if asked:
        return list(dict.fromkeys(str(Spec.parse(s)) for s in asked)), []
    able = [s for s in default if all(getattr(known, need) is not None for need in _needs(s))]
    left = [s for s in default if s not in able]
    return [str(Spec.parse(s)) for s in able], [f"left out, no labels: {', '.join(left)}"] if left else []


def _needs(spec: str) -> tuple[str, ...]:
    score: OodScore = SCORES.build(spec)
    return score.NEEDS


def values_of(parts: Parts, known: Known, specs: Sequence[str]) -> dict[str, Values]:
    """Each score on the tested images, the validation images, those to choose on and the shifted ones."""
    seen = np.concatenate([parts.features(parts.test), parts.outside_embeddings.features])
    scores: list[PostHoc] = [SCORES.build(spec).fit(known.images) for spec in specs]
    asked = [seen, parts.features(parts.val), *(part.features if part else seen[:0] for part in parts.further)]
    found = [together(scores, known.rows(rows)) for rows in asked]
    return {spec: Values(*(one[i] for one in found)) for i, spec in enumerate(specs)}


def score_records(
    trial: Trial,
    parts: Parts,
    note: str,
    scores: Mapping[str, Values],
    limit_of: Callable[[Values], float],
    supervision: Callable[[str], str],
) -> tuple[list[Record], list[str]]:
    """Every score's Records, and a line on the threshold of each.

    Args:
        trial: what is learned on and tested.
        parts: the images.
        note: of what the scores read, for their digest.
        scores: by spec, see `values_of`.
        limit_of: the threshold, of what may be chosen on.
        supervision: of a spec, as in `Record`.
    """
    ood = np.repeat([False, True], [len(parts.test), len(parts.outside)])
    within = dataclasses.replace(
        context(trial, "ood", _selection(parts), None), patients=parts.patients(trial.external)
    )
    within = dataclasses.replace(within, test_reads=parts.reads, data=_data(trial))
    for name, part in zip(("choosing", "shifted"), parts.further, strict=True):
        if part:
            within = dataclasses.replace(within, digests={**within.digests, name: part.archive.digest})
    records: list[Record] = []
    notes: list[str] = []
    for spec, values in scores.items():
        limit = limit_of(values)
        made = hashlib.sha256(f"{spec}\0{note}\0{limit!r}\0".encode() + values.tested.tobytes()).hexdigest()
        mine = dataclasses.replace(within, digests={**within.digests, "model": made})
        records += _records(mine, spec, supervision(spec), values.tested, ood, limit, KNOWN)
        refused = values.tested >= limit
        line = (
            f"{spec}: refused at {limit:.6g} or above, where {(values.val < limit).mean():.0%} of {len(parts.val)} "
            f"known validation images are kept: {refused[ood].mean():.3f} of OOD, {refused[~ood].mean():.3f} of known "
            "test images"
        )
        if parts.shifted:
            records += _both_policies(mine, spec, supervision(spec), values, ood, limit, parts.shifted)
            line += f", {(values.shifted >= limit).mean():.3f} of shifted images"
        notes.append(line)
    return records, notes


def by_labels(spec: str) -> str:
    """Supervision of a score whose head was learned from labels."""
    return "supervised" if Spec.parse(spec).name not in SCORES.names() or _needs(spec) else "unsupervised"


def _selection(parts: Parts) -> str:
    if parts.choosing:
        return "scores: fitted on train; settings: val and OOD images kept for choosing, none of which is tested"
    return SELECTION


def _both_policies(
    within: Context,
    row: str,
    supervision: str,
    values: Values,
    ood: Bool[np.ndarray, "n"],
    limit: float,
    shifted: Shown,
) -> list[Record]:
    """Shifted images accepted as known ones are, and refused: never pooled with the OOD images."""
    scores = np.concatenate([values.tested, values.shifted])
    kinds = np.concatenate([np.where(ood, "ood", "id"), np.full(len(values.shifted), "shifted")])
    people = np.array((*within.patients, *shifted.patients), dtype=object)
    found: list[Record] = []
    for names, counted, positive in (
        (ACCEPTED, kinds != "", kinds == "ood"),
        (REFUSED, kinds != "ood", kinds == "shifted"),
    ):
        mine = dataclasses.replace(within, patients=tuple(people[counted]))
        found += _records(mine, row, supervision, scores[counted], positive[counted], limit, names)
    return found


def _records(
    within: Context,
    row: str,
    supervision: str,
    scores: Float64[np.ndarray, "n"],
    ood: Bool[np.ndarray, "n"],
    threshold: float,
    names: tuple[str, str],
) -> list[Record]:
    who, known = within.patients, ~ood
    few = min(FEW_DRAWS, within.draws)
    point = operating_point(scores, ood, threshold, who)
    found: list[Record] = []
    for finding, values, truth in ((names[0], scores, ood), (names[1], -scores, known)):
        intervals = {"auroc_score": auroc_interval(values, truth, who, rng=within.rng(), draws=within.draws)}
        for name, metric in (
            ("average_precision_score", average_precision_score),
            ("fpr_at_95_tpr_error", fpr_at_95_tpr_error),
        ):
            intervals[name] = bootstrap_interval(metric, [values, truth], who, rng=within.rng(), draws=few)
        sides = (point.sensitivity, point.specificity) if truth is ood else (point.specificity, point.sensitivity)
        intervals |= {"sensitivity_score": sides[0], "specificity_score": sides[1]}
        labels = truth.astype(np.float64)
        found += [within.record(row, supervision, finding, name, x, labels) for name, x in intervals.items()]
    return found


def _data(trial: Trial) -> str:
    return f"{trial.archive.name} against {trial.test_archive.name}" if trial.external else trial.archive.name
