"""Calibration under test: a probe learned on train, calibrators fitted on val, what their probabilities are worth."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Real
from scipy import special

from tapetum.bench.models.adapting import taught_findings
from tapetum.bench.trial import Scored, Trial
from tapetum.core.errors import DataError, UsageError
from tapetum.core.registry import Family, Spec
from tapetum.core.types import ImageRecord, Predictions, Split
from tapetum.learn.adapters import Adapter
from tapetum.score.calibrating import modes
from tapetum.score.calibration import Calibrator

CALIBRATORS = Family("tapetum.score.calibration")
AS_IT_IS, SHIFT = "as it is", "under shift"
TOP = "most probable class"
SURE = 1e-15  # probabilities are kept this far from 0 and 1 where the page wants their log odds


@dataclass(frozen=True)
class Probe:
    """What an adapter learned on train says of the val and of the tested images.

    Attributes:
        spec: the adapter. findings: columns. mode: `sigmoid`, or `softmax` for exclusive classes.
        val_logits, val_labels: to fit calibrators on. logits, labels: of the tested images; NaN = label unknown.
        digest: of what it was learned from. notes: what was left out.
    """

    spec: str
    findings: tuple[str, ...]
    mode: str
    val_logits: Float64[np.ndarray, "v k"]
    val_labels: Float64[np.ndarray, "v k"]
    logits: Float64[np.ndarray, "n k"]
    labels: Float64[np.ndarray, "n k"]
    digest: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Stated:
    """The probabilities of one row of the table.

    Attributes:
        row: its name. probs: `[n k]`, NaN in columns without; with exclusive classes a last column says how sure the
            most probable class is. labels: beside them; of that column, whether the class is right.
        digest: in place of a model's.
    """

    row: str
    probs: Float64[np.ndarray, "n k"]
    labels: Float64[np.ndarray, "n k"]
    digest: str


def calibrators_for(asked: Sequence[str], exclusive: bool) -> tuple[str, ...]:
    """Canonical specs, in the mode that the labels want.

    Raises:
        UsageError: an unknown calibrator or option, none at all, or one that cannot read such labels.
    """
    mode, found = "softmax" if exclusive else "sigmoid", list[str]()
    for text in asked:
        spec = Spec.parse(text)
        able = modes(text)
        if len(able) > 1:
            spec = Spec(spec.name, {"mode": mode, **spec.options})
        wrong = spec.options.get("mode", mode) != mode
        if wrong or (mode not in able and not exclusive):
            how = "exclusive classes" if not exclusive else "findings that occur together"
            raise UsageError(
                f"{text} is for {how}", "a calibrator for such labels", f"exclusive={str(not exclusive).lower()}"
            )
        CALIBRATORS.build(spec)
        found.append(str(spec))
    if not found:
        raise UsageError("no calibrators", "at least one, for example calibrators=('platt',)", "tapetum list")
    return tuple(dict.fromkeys(found))


def probe_of(trial: Trial, adapter: str) -> Probe:
    """Fit the adapter on frozen features of the train patients, or take the head that was tuned; score val and test.

    Raises:
        UsageError: an adapter that needs words. DataError: no labels, or no val image with one.
    """
    built: Adapter = Family("tapetum.learn.adapters").build(adapter)
    if built.NEEDS:
        raise UsageError(f"adapter={adapter!r} starts from words", "one that needs none, for example logistic")
    findings, notes = taught_findings(trial)
    own = trial.model if trial.made else None
    if not findings:
        raise DataError(f"{trial.archive.name} has no labels", "labels", "tapetum ingest … --labels COLUMN")
    exclusive, archive = trial.config.exclusive, trial.archive
    train, (val, without) = archive.in_split(Split.TRAIN), trial.validation()

    def labels_of(records: Sequence[ImageRecord]) -> Float64[np.ndarray, "m k"]:
        found = archive.labels(findings, image_ids=[r.image_id for r in records]).astype(np.float64)
        return _one_each(found) if exclusive else found

    learned, truth = labels_of(train), _one_each(trial.labels(findings)[0]) if exclusive else trial.labels(findings)[0]
    rows = trial.embeddings.rows([r.image_id for r in train])
    if own is not None and own.adapter is not None:
        built, spec = own.adapter, str(own.config["tuner"])
    else:
        built.fit(rows.features, learned, np.asarray(rows.patient_ids), rows.blocks)
        spec = str(Spec.parse(adapter))
    val_labels = labels_of(val)
    told = np.asarray(~np.isnan(val_labels).all(axis=1))
    if not told.any():
        raise DataError("no validation image has a label", "labels of val patients to fit calibrators on")
    of_val = trial.embeddings.rows([r.image_id for r in val]).features[told]
    whole = hashlib.sha256(f"{spec}\0{rows.encoder}\0".encode() + "\0".join(rows.image_ids).encode())
    patients = {val[i].patient_id for i in np.flatnonzero(told)}
    notes = [*notes, *without, f"calibrators fitted on {int(told.sum())} validation images of {len(patients)} patients"]
    return Probe(
        spec, tuple(findings), "softmax" if exclusive else "sigmoid", _finite(built(of_val)),
        val_labels[told], _finite(built(trial.test_embeddings.features)), truth.astype(np.float64), whole.hexdigest(),
        tuple(notes),
    )  # fmt: skip


def _one_each(labels: Real[np.ndarray, "n k"]) -> Float64[np.ndarray, "n k"]:
    """Labels of images with exactly one class, the others unknown."""
    return np.where((np.nansum(labels, axis=1) == 1)[:, None], np.nan_to_num(labels), np.nan)


def _finite(logits: Real[np.ndarray, "n k"]) -> Float64[np.ndarray, "n k"]:
    return np.nan_to_num(logits.astype(np.float64))


def stated_by(probe: Probe, specs: Sequence[str], shift: bool) -> tuple[list[Stated], list[str]]:
    """The probabilities as they are, and after each calibrator; and what could not be calibrated.

    Args:
        probe: see `probe_of`.
        specs: of calibrators, see `calibrators_for`.
        shift: the tested archive is another one than that of the validation patients; the rows say so.
    """
    before = special.expit(probe.logits) if probe.mode == "sigmoid" else special.softmax(probe.logits, axis=1)
    rows, notes = [(f"{probe.spec}, {AS_IT_IS}", before)], list[str]()
    for spec in specs:
        probs, reasons = _calibrated(probe, spec)
        if reasons:
            notes.append(
                f"{spec} not fitted: " + ", ".join(f"{probe.findings[j]} ({why})" for j, why in reasons.items())
            )
        if not np.isnan(probs).all():
            rows.append((spec, probs))
    return [_stated(probe, f"{name} {SHIFT}" if shift else name, probs) for name, probs in rows], notes


def _stated(probe: Probe, row: str, probs: Float64[np.ndarray, "n k"]) -> Stated:
    whole = hashlib.sha256(f"{probe.digest}\0{row}\0".encode() + np.ascontiguousarray(probs).tobytes()).hexdigest()
    if probe.mode == "sigmoid":
        return Stated(row, probs, probe.labels, whole)
    labels, called = probe.labels, probs.argmax(axis=1)
    right = np.where(np.isnan(labels[:, 0]), np.nan, labels[np.arange(len(labels)), called])
    return Stated(row, np.column_stack([probs, probs.max(axis=1)]), np.column_stack([labels, right]), whole)


def _calibrated(probe: Probe, spec: str) -> tuple[Float64[np.ndarray, "n k"], dict[int, str]]:
    """Probabilities of the tested images after a calibrator, and the columns that it could not be fitted to.

    For exclusive classes a calibrator of columns is fitted to each class against the rest, and the results are divided
    by their sum.
    """
    calibrator: Calibrator = CALIBRATORS.build(spec)
    together = probe.mode == "softmax" and "softmax" in modes(spec)
    calibrator.fit(probe.val_logits, probe.val_labels.argmax(axis=1) if together else probe.val_labels)
    probs, reasons = np.asarray(calibrator(probe.logits), np.float64), dict(calibrator.uncalibrated)
    if probe.mode == "softmax" and reasons:
        return np.full(probs.shape, np.nan), reasons
    if probe.mode == "softmax" and not together:
        total = probs.sum(axis=1, keepdims=True)
        probs = np.where(total > 0, probs / np.where(total > 0, total, 1.0), 1 / probs.shape[1])
    return probs, reasons


def shown_on_page(trial: Trial, probe: Probe, stated: Sequence[Stated]) -> tuple[Scored, ...]:
    """Before against after for the page: the first calibrator's probabilities beside the log odds as they were."""
    k = len(probe.findings)
    before, after = stated[0], stated[min(1, len(stated) - 1)]
    odds = special.logit(np.clip(before.probs[:, :k], SURE, 1 - SURE))
    records = trial.test_records
    predictions = Predictions(
        tuple(r.image_id for r in records), tuple(r.patient_id for r in records), tuple(trial.lateralities()),
        probe.findings, odds, after.probs[:, :k], np.full(k, np.nan), after.digest,
    )  # fmt: skip
    return (Scored(after.row, "supervised", predictions, probe.labels, trial.labels(probe.findings)[1]),)
