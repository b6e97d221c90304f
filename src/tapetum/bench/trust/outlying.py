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
from tapetum.bench.trial import Trial, trial_of
from tapetum.core.errors import DataError, UsageError
from tapetum.core.registry import Family, Spec, nearest
from tapetum.core.types import Embeddings, Head, ImageRecord, Record, Split
from tapetum.learn.adapters import Adapter
from tapetum.learn.fitting.standardise import Standardiser
from tapetum.score import auroc_interval, bootstrap_interval, operating_point
from tapetum.score.in_distribution import InDistribution
from tapetum.score.metrics.average_precision_score import average_precision_score
from tapetum.score.metrics.fpr_at_95_tpr_error import fpr_at_95_tpr_error
from tapetum.score.ood import OodScore
from tapetum.score.post_hoc import PostHoc, together
from tapetum.score.spectrum import threshold_for_kept

SCORES = Family("tapetum.score.ood")
Values = tuple[Float64[np.ndarray, "n"], Float64[np.ndarray, "v"]]
SELECTION = "scores: fitted on train; threshold: the stated share of val kept; no OOD image is seen before the test"


@dataclass(frozen=True)
class Parts:
    """The images of an OOD test.

    Args:
        train, val: in distribution, to fit on and to choose the threshold on.
        test: in distribution, of other patients. outside: OOD.
        embeddings: of the archive learned on. outside_embeddings: of the OOD images.
        reads: how often the most read of the test sets has been read. notes: what was left out.
    """

    train: Sequence[ImageRecord]
    val: Sequence[ImageRecord]
    test: Sequence[ImageRecord]
    outside: Sequence[ImageRecord]
    embeddings: Embeddings
    outside_embeddings: Embeddings
    reads: int
    notes: tuple[str, ...] = ()

    def features(self, records: Sequence[ImageRecord]) -> Float[np.ndarray, "n d"]:
        """Raw features of images of the archive learned on."""
        return self.embeddings.rows([r.image_id for r in records]).features

    def patients(self, external: bool) -> tuple[str, ...]:
        """Whose the known and the OOD test images are; patients of another archive are others."""
        known, outside = [r.patient_id for r in self.test], [r.patient_id for r in self.outside]
        return (*known, *(f"other archive: {p}" if external else p for p in outside))


def parts_of(trial: Trial, unseen: str) -> Parts:
    """Sort the images: another archive is OOD as a whole, or the images of a finding that nothing is fitted on.

    Raises:
        UsageError: neither or both were asked for. DataError: one of the four parts is empty.
    """
    if trial.external == bool(unseen):
        raise UsageError(
            "another archive and an unseen finding" if unseen else "no OOD images",
            "either another archive, or a finding of this one that is held out",
            "--test OTHER_ARCHIVE, or ood(unseen='FINDING')",
        )
    here = trial
    if not unseen:
        here = trial_of(
            trial.archive, trial.config, model=trial.model, progress=trial.progress, protocol=trial.protocol
        )
    train = here.archive.in_split(Split.TRAIN)
    val, without = here.validation()
    if unseen:
        parts = _held_out(here, unseen, train, val)
    else:
        parts = Parts(
            train, val, here.test_records, trial.test_records, here.embeddings, trial.test_embeddings,
            max(here.test_reads, trial.test_reads), here.notes,
        )  # fmt: skip
    parts = dataclasses.replace(parts, notes=(*without, *parts.notes))
    for name in ("train", "val", "test", "outside"):
        if not getattr(parts, name):
            raise DataError(f"no image in the part {name!r}", "known images to fit, choose and test on, and OOD images")
    return parts


def _held_out(trial: Trial, unseen: str, train: Sequence[ImageRecord], val: Sequence[ImageRecord]) -> Parts:
    names = trial.archive.label_names
    if unseen not in names:
        raise UsageError(f"unseen={unseen!r} is no label of {trial.archive.name}", nearest(unseen, list(names)))

    def having(records: Sequence[ImageRecord], value: int) -> list[ImageRecord]:
        found = trial.archive.labels((unseen,), image_ids=[r.image_id for r in records])[:, 0]
        return [r for r, label in zip(records, found, strict=True) if label == value]

    known, outside = having(trial.test_records, 0), having(trial.test_records, 1)
    silent = len(trial.test_records) - len(known) - len(outside)
    gone = len(train) + len(val) - len(having(train, 0)) - len(having(val, 0))
    notes = (f"{gone} training and validation images with {unseen!r}, or without a label, left out",)
    if silent:
        notes += (f"{silent} test images without a label left out",)
    return Parts(
        having(train, 0), having(val, 0), known, outside, trial.embeddings,
        trial.embeddings.rows([r.image_id for r in outside]), trial.test_reads, notes,
    )  # fmt: skip


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
    names, labels = _learnable(trial, parts, unseen)
    blocks = parts.embeddings.blocks
    if not names:
        standardiser = Standardiser.fit(raw, 0.5, blocks)
        return Known(InDistribution(standardiser(raw)), standardiser, "no labels: only scores of features alone")
    family = Family("tapetum.learn.adapters")
    if getattr(family.member(Spec.parse(head).name), "NEEDS", ()):
        raise UsageError(
            f"head={head!r} starts from words", "a linear adapter, for example logistic, linear_probe, lda"
        )
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


def _learnable(trial: Trial, parts: Parts, unseen: str) -> tuple[list[str], Float64[np.ndarray, "n k"]]:
    names = [f for f in trial.config.findings or trial.archive.label_names if f != unseen]
    labels = trial.archive.labels(names, image_ids=[r.image_id for r in parts.train])
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
    """Each score on the tested images (known ones first, then OOD ones), and on the validation images."""
    seen = np.concatenate([parts.features(parts.test), parts.outside_embeddings.features])
    query, chosen_on = known.rows(seen), known.rows(parts.features(parts.val))
    scores: list[PostHoc] = [SCORES.build(spec).fit(known.images) for spec in specs]
    return dict(zip(specs, zip(together(scores, query), together(scores, chosen_on), strict=True), strict=True))


def score_records(
    trial: Trial, parts: Parts, note: str, scores: Mapping[str, Values], kept: float, supervision: Callable[[str], str]
) -> tuple[list[Record], list[str]]:
    """Every score's Records, and a line on the threshold of each.

    Args:
        trial: what is learned on and tested.
        parts: the images.
        note: of what the scores read, for their digest.
        scores: by spec, see `values_of`.
        kept: share of the validation images that the threshold keeps.
        supervision: of a spec, as in `Record`.
    """
    ood = np.repeat([False, True], [len(parts.test), len(parts.outside)])
    within = dataclasses.replace(context(trial, "ood", SELECTION, None), patients=parts.patients(trial.external))
    within = dataclasses.replace(within, test_reads=parts.reads, data=_data(trial))
    records: list[Record] = []
    notes: list[str] = []
    for spec, (values, chosen_on) in scores.items():
        limit = threshold_for_kept(chosen_on, kept=kept)
        made = hashlib.sha256(f"{spec}\0{note}\0{limit!r}\0".encode() + values.tobytes()).hexdigest()
        mine = dataclasses.replace(within, digests={**within.digests, "model": made})
        records += _records(mine, spec, supervision(spec), values, ood, limit)
        refused = values >= limit
        notes.append(
            f"{spec}: refused at {limit:.6g} or above, where {kept:.0%} of {len(parts.val)} known validation images "
            f"are kept: {refused[ood].mean():.3f} of OOD, {refused[~ood].mean():.3f} of known test images"
        )
    return records, notes


def by_labels(spec: str) -> str:
    """Supervision of a score whose head was learned from labels."""
    return "supervised" if _needs(spec) else "unsupervised"


def _records(
    within: Context,
    row: str,
    supervision: str,
    scores: Float64[np.ndarray, "n"],
    ood: Bool[np.ndarray, "n"],
    threshold: float,
) -> list[Record]:
    who, known = within.patients, ~ood
    few = min(FEW_DRAWS, within.draws)
    point = operating_point(scores, ood, threshold, who)
    found: list[Record] = []
    for finding, values, truth in (("OOD", scores, ood), ("ID", -scores, known)):
        intervals = {"auroc_score": auroc_interval(values, truth, who, rng=within.rng(), draws=within.draws)}
        for name, metric in (
            ("average_precision_score", average_precision_score),
            ("fpr_at_95_tpr_error", fpr_at_95_tpr_error),
        ):
            intervals[name] = bootstrap_interval(metric, [values, truth], who, rng=within.rng(), draws=few)
        sides = (point.sensitivity, point.specificity) if finding == "OOD" else (point.specificity, point.sensitivity)
        intervals |= {"sensitivity_score": sides[0], "specificity_score": sides[1]}
        labels = truth.astype(np.float64)
        found += [within.record(row, supervision, finding, name, x, labels) for name, x in intervals.items()]
    return found


def _data(trial: Trial) -> str:
    return f"{trial.archive.name} against {trial.test_archive.name}" if trial.external else trial.archive.name
