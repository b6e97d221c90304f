"""When to leave an image to a person: a gate around a model, kept beside its checkpoint.

Research and second-reader support, not a cleared device.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float64
from safetensors.numpy import load_file, save_file

from tapetum.archive import Archive
from tapetum.archive.duplicates import copies
from tapetum.core.errors import ArtefactError, DataError, UsageError
from tapetum.core.registry import Family, Spec
from tapetum.core.store import Meta, new_artefact, plain_json, read_meta
from tapetum.core.types import Doubts, Embeddings, Predictions, Split
from tapetum.learn.adapt import unseen_logits
from tapetum.learn.features.embed import embed
from tapetum.learn.fitting.standardise import Standardiser
from tapetum.learn.model import Model, zero_shot
from tapetum.learn.pairing.truth import targets
from tapetum.score.conformal import Limits, finding_limits
from tapetum.score.in_distribution import InDistribution
from tapetum.score.ood import OodScore
from tapetum.score.spectrum import threshold_for_kept

SCORES = Family("tapetum.score.ood")


@dataclass(frozen=True)
class GateConfig:
    """What is let through.

    Args:
        score: member of `score/ood` that reads features alone (knn, residual, mahalanobis): is the kind of image known.
        kept: share of known validation images that the score lets through.
        alpha: share of true answers, of present and of absent apart, that a set may miss.
        images: training images that the score remembers, at most; the gate holds their features. 0 = all.
        findings: what the sets speak of, for a model that detects by words; the columns of an adapter.
        seed: of the choice of images. threads: 0 = all cores.
    """

    score: str = "knn"
    kept: float = 0.95
    alpha: float = 0.1
    images: int = 2000
    findings: tuple[str, ...] = ()
    seed: int = 0
    threads: int = 0


@dataclass(frozen=True)
class Gate:
    """A fitted gate.

    Attributes:
        model: digest of the model that it belongs to.
        score: spec of the out-of-distribution score; `limit`: refused at it or above.
        known: features of training images, half precision. standardiser: for these features.
        findings: length k; `limits` of their logits.
        counts: what each part was fitted on, for people.
    """

    model: str
    score: str
    limit: float
    known: Float[np.ndarray, "m d"]
    standardiser: Standardiser
    findings: tuple[str, ...]
    limits: Limits
    counts: dict[str, Any] = dataclasses.field(default_factory=dict[str, Any])
    parents: dict[str, str] = dataclasses.field(default_factory=dict[str, str])

    @property
    def digest(self) -> str:
        """SHA-256 over everything that decides."""
        whole = hashlib.sha256(json.dumps(self._about(), sort_keys=True).encode())
        for name, array in sorted(self._arrays().items()):
            whole.update(name.encode() + np.ascontiguousarray(array).tobytes())
        return whole.hexdigest()

    def outlying(self, features: Float[np.ndarray, "n d"]) -> Float64[np.ndarray, "n"]:
        """How unlike the known images: higher = more OOD, refused at `limit` or above."""
        return _fitted(self.score, self.known)(self.standardiser(features))

    def doubts(self, predictions: Predictions, features: Float[np.ndarray, "n d"]) -> Doubts:
        """Where the model should not be asked, or cannot tell.

        Args:
            predictions: of the model that the gate belongs to.
            features: of the same images, as its towers gave them.

        Raises:
            UsageError: another model's predictions, or findings that the gate does not know.
        """
        if predictions.model != self.model[:16]:
            raise UsageError(
                f"a gate of model {self.model[:16]} and predictions of {predictions.model}", "the same model",
                "tapetum abstain ARCHIVE --model CKPT --out GATE",
            )  # fmt: skip
        missing = [f for f in predictions.findings if f not in self.findings]
        if missing:
            raise UsageError(f"the gate says nothing of {missing[0]!r}", f"findings of: {', '.join(self.findings)}")
        columns = [self.findings.index(f) for f in predictions.findings]
        low, high = self.limits.lowest_present[columns], self.limits.highest_absent[columns]
        sets = Limits(low, high, self.limits.alpha).sets(predictions.logits)
        return Doubts(self.outlying(features), self.limit, sets, self.digest[:16])

    def judge(self, predictions: Predictions, features: Float[np.ndarray, "n d"]) -> Predictions:
        """The predictions with their `doubts`."""
        return dataclasses.replace(predictions, doubts=self.doubts(predictions, features))

    def save(self, out: Path) -> Path:
        """Write the gate: `gate.safetensors` and `gate.json`."""
        with new_artefact(out, Meta("gate", parents=dict(self.parents))) as folder:
            save_file(self._arrays(), folder / "gate.safetensors")
            text = json.dumps(plain_json({**self._about(), "digest": self.digest, "counts": self.counts}), indent=1)
            (folder / "gate.json").write_text(text + "\n", encoding="utf-8")
        return out

    def _about(self) -> dict[str, Any]:
        return {
            "model": self.model, "score": self.score, "limit": self.limit, "findings": list(self.findings),
            "alpha": self.limits.alpha,
        }  # fmt: skip

    def _arrays(self) -> dict[str, np.ndarray]:
        state = {f"standardiser.{k}": v for k, v in self.standardiser.state().items()}
        limits = {"lowest_present": self.limits.lowest_present, "highest_absent": self.limits.highest_absent}
        return {name: np.asarray(v, order="C") for name, v in {"known": self.known, **limits, **state}.items()}


def load_gate(path: Path | str) -> Gate:
    """Read a gate that `tapetum abstain` wrote.

    Raises:
        ArtefactError: there is none, or it is damaged.
    """
    place = Path(path)
    parents = read_meta(place, "gate").parents
    try:
        told = json.loads((place / "gate.json").read_text(encoding="utf-8"))
        arrays = load_file(place / "gate.safetensors")
        prefix = "standardiser."
        standardiser = Standardiser.restore({k[len(prefix) :]: v for k, v in arrays.items() if k.startswith(prefix)})
        limits = Limits(arrays["lowest_present"], arrays["highest_absent"], told["alpha"])
        gate = Gate(
            told["model"], told["score"], told["limit"], arrays["known"], standardiser, tuple(told["findings"]), limits,
            told["counts"], dict(parents),
        )  # fmt: skip
    except Exception as error:
        raise ArtefactError(f"{place} is damaged: {error}", "a gate", f"tapetum verify {place}") from error
    if gate.digest != told["digest"]:
        raise ArtefactError(f"{place} is damaged: its digest is {gate.digest[:16]}", told["digest"][:16])
    return gate


def fit_gate(
    archive: Archive,
    model: Model,
    config: GateConfig = GateConfig(),
    *,
    embeddings: Embeddings | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Gate:
    """Fit a gate on the train and val patients of an archive; no OOD image and no tested patient is needed.

    The score is fitted on training images and gets its limit from validation images that copy none of them. The sets
    get theirs from logits of patients that the model did not learn from, see `unseen_logits`. Where these come from
    folds, the fits of the folds knew fewer patients than the model did: the promise then holds nearly only
    (`recipes/mechanisms/doubt.py` measures how nearly). A model fitted with `cross_fit=false` has it whole.

    Args:
        archive: of the kind that the model is for.
        model: an adapter, or a model that detects by words.
        config: what is let through.
        embeddings: made with the model's towers, to save reading the images again.
        progress: called with images embedded and images in all.

    Raises:
        UsageError: a score that needs labels or a head, or no finding. DataError: no training or validation images.
    """
    score: OodScore = SCORES.build(config.score)
    if score.NEEDS:
        raise UsageError(
            f"score={config.score!r} needs {' and '.join(score.NEEDS)}",
            "a score of features: knn, residual, mahalanobis",
        )
    if embeddings is None:
        source = model.embedder(threads=config.threads, cache=archive.cache / "onnx")
        embeddings = embed(archive, source, progress=progress)
    train, whole = ([r.image_id for r in archive.in_split(s)] for s in (Split.TRAIN, Split.VAL))
    # a copy of a training image is nearer to the known than anything new will be: the limit would come too low
    alike = copies(archive, train, archive)
    val = [i for i in whole if i not in alike]
    if len(train) < 2 or not val:
        raise DataError(
            f"{len(train)} training and {len(val)} validation images that are no copies of them", "at least 2 and 1",
            "tapetum ingest",
        )  # fmt: skip
    kept = np.random.default_rng(config.seed).permutation(len(train))[: config.images or None]
    rows = embeddings.rows([train[i] for i in np.sort(kept)])
    standardiser = Standardiser.fit(rows.features, 0.5, rows.blocks)
    known = standardiser(rows.features).astype(np.float16)
    limit = threshold_for_kept(
        _fitted(config.score, known)(standardiser(embeddings.rows(val).features)), kept=config.kept
    )
    findings, logits, labels, patients = _answers(archive, model, embeddings, config)
    limits = finding_limits(logits, labels, patients, alpha=config.alpha)
    counts = {
        "training images": len(known), "validation images": len(val), "copies left out": len(whole) - len(val),
        "images for the sets": len(labels),
        "patients for the sets": len(set(patients)), "kept": config.kept,
    }  # fmt: skip
    parents = {"archive": archive.digest, "model": model.digest}
    spec = str(Spec.parse(config.score))
    return Gate(model.digest, spec, limit, known, standardiser, findings, limits, counts, parents)


def _answers(
    archive: Archive, model: Model, embeddings: Embeddings, config: GateConfig
) -> tuple[tuple[str, ...], Float[np.ndarray, "n k"], Float[np.ndarray, "n k"], tuple[str, ...]]:
    """Findings, and logits and truth of patients that the model did not learn from."""
    if model.adapter is not None:
        return (model.findings, *unseen_logits(archive, model, embeddings))
    findings = config.findings or (model.operating.findings if model.operating else ())
    if not findings:
        raise UsageError("no finding to make sets for", "findings=…", "tapetum list findings")
    records = archive.in_split(Split.VAL)
    labels, _ = targets(archive, records, findings)
    logits = zero_shot(model, embeddings.rows([r.image_id for r in records]), findings).logits
    return tuple(findings), logits, labels, tuple(r.patient_id for r in records)


def _fitted(spec: str, known: Float[np.ndarray, "m d"]) -> OodScore:
    return SCORES.build(spec).fit(InDistribution(known.astype(np.float32)))
