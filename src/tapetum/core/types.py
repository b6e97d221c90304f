"""The plain things that cross doors: frozen dataclasses over arrays, with the checks that make them true.

Axes use one letter list: `n` samples, `k` findings or classes, `d` features, `t` tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from jaxtyping import Bool, Float, Float16, Float32

from tapetum.core.errors import DataError

UNKNOWN = "unknown"


class Laterality(StrEnum):
    """Which eye. Unknown is an explicit value; an image of no paired organ is `NOT_PAIRED`."""

    RIGHT = "OD"
    LEFT = "OS"
    BOTH = "OU"
    UNKNOWN = "unknown"
    NOT_PAIRED = "not paired"


class Split(StrEnum):
    """The part of the patients an image belongs to; never by image."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"
    NONE = "unassigned"


@dataclass(frozen=True)
class ImageRecord:
    """One image of an archive with what the clinic said of it.

    Attributes:
        image_id: SHA-256 of the file's bytes; also its address in the vault.
        visit_id: `"unknown"` where the export names no visit.
        modality: id of the domain pack's modality (`fundus`, `oct`, `cxr`), or `"unknown"`.
        mm_per_pixel: size of a pixel in the original image, NaN where unknown (never guessed).
        bits: bits per sample in the file. channels: samples per pixel in the file.
        age_years: NaN where unknown. sex: `"F"`, `"M"`, `"other"` or `"unknown"`.
        captured: ISO date, or `"unknown"`.
        source: the file's place inside the export, relative, for people to find it again.
        report: the text that belongs to this image, `""` where there is none.
        labels: what `--labels` gave, as texts (several per image allowed); `()` where there is none.
        frames: of a volume, a video or a multi-frame object; 1 for a photograph.
        device: maker and model of the camera, or `"unknown"`.
        gradable: probability in 0..1 that a reader could grade the image, NaN where quality was not judged.
        quality: why the image is not gradable, `""` where it is or was not judged.
        provenance: field → where its value came from, for example `{"laterality": "DICOM ImageLaterality"}`.
    """

    image_id: str
    patient_id: str
    visit_id: str
    laterality: Laterality
    modality: str
    width: int
    height: int
    channels: int
    bits: int
    mm_per_pixel: float
    age_years: float
    sex: str
    captured: str
    source: str
    report: str
    labels: tuple[str, ...]
    split: Split
    frames: int = 1
    device: str = UNKNOWN
    gradable: float = math.nan
    quality: str = ""
    provenance: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Head:
    """The linear layer that turned features into logits."""

    weight: Float32[np.ndarray, "k d"]
    bias: Float32[np.ndarray, "k"]


@dataclass(frozen=True)
class Embeddings:
    """What an encoder saw: one row per image, beside the ids that say whose.

    Attributes:
        image_ids, patient_ids: length n, row by row.
        features: pooled features, all encoder outputs side by side.
        encoder: the spec that made them, for example `"efficientnet_lite(size=224)"`.
        blocks: name → (first, last+1) column of each pooled output inside `features`.
        tokens: optional patch features, `logits` and `head`: optional outputs of a classifier.
    """

    image_ids: tuple[str, ...]
    patient_ids: tuple[str, ...]
    features: Float32[np.ndarray, "n d"]
    encoder: str
    blocks: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    tokens: Float16[np.ndarray, "n t d"] | None = None
    logits: Float32[np.ndarray, "n k"] | None = None
    head: Head | None = None

    def __post_init__(self) -> None:
        if not len(self.image_ids) == len(self.patient_ids) == len(self.features):
            counts = f"{len(self.image_ids)} images, {len(self.patient_ids)} patients"
            raise DataError(f"{counts}, {len(self.features)} rows of features", "as many of each")

    def rows(self, image_ids: Sequence[str]) -> Embeddings:
        """The same embeddings in the order of `image_ids`.

        Raises:
            DataError: an image was never embedded.
        """
        place = {name: i for i, name in enumerate(self.image_ids)}
        missing = [name for name in image_ids if name not in place]
        if missing:
            raise DataError(
                f"{len(missing)} of {len(image_ids)} images are not embedded, first {missing[0][:12]}",
                "embeddings of the whole archive",
                "tapetum embed ARCHIVE",
            )
        order = np.array([place[name] for name in image_ids], dtype=np.intp)
        return Embeddings(
            tuple(image_ids),
            tuple(self.patient_ids[i] for i in order),
            self.features[order],
            self.encoder,
            self.blocks,
            None if self.tokens is None else self.tokens[order],
            None if self.logits is None else self.logits[order],
            self.head,
        )


@dataclass(frozen=True)
class Doubts:
    """Where a model should not be asked, or cannot tell.

    Attributes:
        outlying: out-of-distribution score of each image, higher = more OOD. limit: refused at it or above.
        possible: which of absent (0) and present (1) cannot be ruled out: one, both, or none.
        gate: digest of the gate that says so, shortened.
    """

    outlying: Float[np.ndarray, "n"]
    limit: float
    possible: Bool[np.ndarray, "n k 2"]
    gate: str

    def why(self, image: int, finding: int) -> str:
        """Why a person has to decide: `out of distribution`, `cannot tell`, `like neither`; `""` = it may decide."""
        if self.outlying[image] >= self.limit:
            return "out of distribution"
        return {0: "like neither", 1: "", 2: "cannot tell"}[int(self.possible[image, finding].sum())]


@dataclass(frozen=True)
class Predictions:
    """Scores per image and finding.

    Attributes:
        findings: length k, ids of the domain pack or label names.
        logits: raw scores, any range, higher = more likely. probs: calibrated probabilities in 0..1.
        thresholds: operating point per finding on `probs`, NaN where none was chosen.
        doubts: what a gate says of them, None where there is none.
    """

    image_ids: tuple[str, ...]
    patient_ids: tuple[str, ...]
    lateralities: tuple[str, ...]
    findings: tuple[str, ...]
    logits: Float[np.ndarray, "n k"]
    probs: Float[np.ndarray, "n k"]
    thresholds: Float[np.ndarray, "k"]
    model: str
    doubts: Doubts | None = None

    def __post_init__(self) -> None:
        shape = (len(self.image_ids), len(self.findings))
        if not self.logits.shape == self.probs.shape == shape:
            raise DataError(f"logits {self.logits.shape}, probs {self.probs.shape}", f"both of shape {shape}")
        if not len(self.patient_ids) == len(self.lateralities) == shape[0] or len(self.thresholds) != shape[1]:
            raise DataError(
                f"{len(self.patient_ids)} patients, {len(self.lateralities)} eyes, {len(self.thresholds)} thresholds",
                f"{shape[0]} patients and eyes, {shape[1]} thresholds",
            )


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval; NaN everywhere when the quantity is undefined.

    Attributes:
        method: how the bounds were found, for example `"patient-cluster bootstrap, 2000 draws, percentile"`.
    """

    estimate: float
    low: float
    high: float
    method: str
    level: float = 0.95

    def __str__(self) -> str:
        if math.isnan(self.estimate):
            return "undefined"
        return f"{self.estimate:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Record:
    """One measured result, complete enough to be checked by someone else.

    Attributes:
        protocol: the protocol's spec. row: the method measured. finding: id, or `"macro"`.
        supervision: `"report-supervised"`, `"published space"`, `"unseen finding"`, `"supervised"`,
            `"unsupervised"` (images alone) or `"negative control"`; never mixed.
        metric: name of the metric; `_score` is better upwards, `_error` downwards.
        images, patients, positives: size of the tested set.
        selection: the rule by which settings were chosen, for example `"inner patient split of train"`.
        test_reads: how often the test set had been read when this was measured, this time included.
        digests: role → digest of archive, model, config and code.
        data: name of the tested data; `phantom` marks numbers that prove mechanisms and not medicine.
    """

    protocol: str
    row: str
    supervision: str
    finding: str
    metric: str
    interval: Interval
    images: int
    patients: int
    positives: int
    seeds: tuple[int, ...]
    selection: str
    test_reads: int
    digests: Mapping[str, str]
    data: str
    phantom: bool
