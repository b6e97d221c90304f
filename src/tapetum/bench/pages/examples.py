"""Which images a page shows, and why: chosen by rule, never by hand."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from tapetum.archive import Archive
from tapetum.bench.trial import Scored, Trial
from tapetum.core.types import ImageRecord
from tapetum.knowledge import Pack, parse_report
from tapetum.learn import Model
from tapetum.learn.heatmap import PatchScores
from tapetum.learn.pairing.pairs import image_text, report_findings

SIDE, SMALL = 224, 168  # pixels of a picture on the page
QUALITY = 80
DARK_PATCH = 0.25  # share of bright pixels below which a patch shows the surround
TEXTS_AT_MOST = 250  # distinct reports that are encoded for the search by image


@dataclass(frozen=True)
class Case:
    """One image with what was said and found of it.

    Attributes:
        truth: 1 present, 0 absent, NaN unknown. prob, threshold: NaN where there is none. verdict: in words.
        picture: JPEG.
    """

    image_id: str
    picture: bytes
    report: str
    eye: str
    truth: float
    score: float
    prob: float
    threshold: float
    verdict: str = ""


@dataclass(frozen=True)
class HeatCase:
    """A picture and the same with the heat-map over it."""

    finding: str
    case: Case
    overlay: bytes
    grid: tuple[int, int]


@dataclass(frozen=True)
class TextHit:
    """A report that was found by an image.

    Attributes:
        same: the image's own report says exactly this. shared: findings that both affirm, by name.
    """

    text: str
    score: float
    same: bool
    shared: tuple[str, ...]


@dataclass
class Pictures:
    """Pictures of an archive as small JPEGs, each decoded once, and the words that belong to them."""

    archive: Archive
    pack: Pack | None = None
    made: dict[tuple[str, int], bytes] = field(default_factory=dict[tuple[str, int], bytes])

    def small(self, image_id: str, side: int = SMALL) -> bytes:
        """The whole image inside a black square."""
        if (image_id, side) not in self.made:
            pixels = self.archive.pixels(image_id, min_side=side)
            height, width = pixels.shape[:2]
            scale = side / max(height, width)
            size = max(1, round(width * scale)), max(1, round(height * scale))
            square = Image.new("RGB", (side, side))
            resized = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
            square.paste(resized, ((side - size[0]) // 2, (side - size[1]) // 2))
            self.made[image_id, side] = jpeg(np.asarray(square))
        return self.made[image_id, side]

    def words(self, record: ImageRecord) -> str:
        """What the report says of this eye, where a pack can tell; else the whole report."""
        of_eye = image_text(record, self.pack, "eye") if self.pack is not None else ""
        return of_eye or record.report


def jpeg(pixels: UInt8[np.ndarray, "h w 3"]) -> bytes:
    """JPEG bytes of an RGB picture."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=QUALITY, optimize=True)
    return stream.getvalue()


def measurable(scored: Scored) -> list[int]:
    """Columns with a positive and a negative image, most positives first."""
    positive, negative = (scored.labels == 1).sum(0), (scored.labels == 0).sum(0)
    columns = [j for j in range(len(positive)) if positive[j] and negative[j]]
    return sorted(columns, key=lambda j: (-int(positive[j]), scored.predictions.findings[j]))


def failures(scored: Scored, column: int, pictures: Pictures, *, each: int = 2) -> list[Case]:
    """The images without the finding that scored highest, and those with it that scored lowest."""
    scores, truth = scored.predictions.logits[:, column], scored.labels[:, column]
    order = np.argsort(-scores, kind="stable")
    without = [int(i) for i in order if truth[i] == 0][:each]
    with_it = [int(i) for i in order[::-1] if truth[i] == 1][:each]
    return [_case(scored, i, column, pictures) for i in (*without, *with_it)]


def best_images(scored: Scored, column: int, pictures: Pictures, *, count: int = 5) -> list[Case]:
    """The images that fit the finding's prompts best, right or wrong."""
    order = np.argsort(-scored.predictions.logits[:, column], kind="stable")[:count]
    return [_case(scored, int(i), column, pictures) for i in order]


def heat_cases(scored: Scored, columns: Sequence[int], pictures: Pictures) -> list[HeatCase]:
    """For each finding the image with it that scored highest, and where the score comes from.

    Raises:
        UsageError: the model is not linear in its features.
    """
    if scored.model is None or not columns:
        return []
    names = [scored.predictions.findings[j] for j in columns]
    maps = PatchScores(scored.model, names, embedder=scored.model.embedder(cache=pictures.archive.cache / "onnx"))
    side = max(SIDE, *(p.size for p in maps.embedder.preprocess))
    found: list[HeatCase] = []
    for j, name in zip(columns, names, strict=True):
        best = int(np.argmax(np.where(scored.labels[:, j] == 1, scored.predictions.logits[:, j], -np.inf)))
        case = _case(scored, best, j, pictures, SIDE)
        grid, shown = maps(pictures.archive.pixels(case.image_id, min_side=side), name)
        resized = Image.fromarray(shown).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        found.append(HeatCase(name, case, jpeg(overlay(grid, np.asarray(resized))), (len(grid), len(grid[0]))))
    return found


def overlay(grid: Float[np.ndarray, "g w"], shown: UInt8[np.ndarray, "s s 3"]) -> UInt8[np.ndarray, "s s 3"]:
    """A heat-map over a grey picture: no colour at the picture's median and below, full colour at its highest patch.

    Dark patches (the surround of a fundus photograph) take no colour and no part in the scale.
    """
    height, width = shown.shape[:2]
    bright = _field_of(shown)
    share = cv2.resize(bright.astype(np.float32), grid.shape[::-1], interpolation=cv2.INTER_AREA)
    light = share > DARK_PATCH if (share > DARK_PATCH).any() else np.ones_like(bright, shape=grid.shape)
    middle, top = float(np.median(grid[light])), float(grid[light].max())
    quiet = np.where(light, grid, middle).astype(np.float32)
    fine = cv2.resize(quiet, (width, height), interpolation=cv2.INTER_CUBIC)
    heat = np.clip((fine - middle) / max(top - middle, 1e-12), 0, 1) * bright
    colour = cv2.applyColorMap((255 * (0.25 + 0.75 * heat)).astype(np.uint8), cv2.COLORMAP_INFERNO)[:, :, ::-1]
    grey = np.repeat(cv2.cvtColor(shown, cv2.COLOR_RGB2GRAY)[:, :, None], 3, axis=2)
    alpha = 0.75 * heat[:, :, None]
    return np.clip(grey * (1 - alpha) + colour * alpha, 0, 255).astype(np.uint8)


def nearest_texts(
    trial: Trial, model: Model, pack: Pack | None, pictures: Pictures, *, images: int = 3, hits: int = 3
) -> list[tuple[Case, list[TextHit]]]:
    """For a few images the reports of **other** patients that fit best.

    The images are the first by id among those whose reports affirm a finding (any report, without a pack): chosen
    before anything was scored.
    """
    mode = str(model.config.get("text", "report"))
    records = [r for r in trial.test_records if image_text(r, pack, mode)]
    texts = [image_text(r, pack, mode) for r in records]
    owners: dict[str, set[str]] = {}
    for record, words in zip(records, texts, strict=True):
        owners.setdefault(words, set()).add(record.patient_id)
    known = list(owners)[:TEXTS_AT_MOST]
    if len(known) < 2:
        return []
    vectors = model.encode_text(known)
    asked = _asked(records, pack, images)
    features = trial.test_embeddings.rows([r.image_id for r in asked]).features
    similarity = model.encode_image(features) @ vectors.T
    found: list[tuple[Case, list[TextHit]]] = []
    for record, row in zip(asked, similarity, strict=True):
        own = image_text(record, pack, mode)
        small, eye = pictures.small(record.image_id), record.laterality.value
        case = Case(record.image_id, small, own, eye, math.nan, math.nan, math.nan, math.nan)
        others = [k for k, words in enumerate(known) if owners[words] - {record.patient_id}]
        found.append((case, _hits(record, own, row[others], [known[k] for k in others], pack, hits)))
    return found


def _hits(
    record: ImageRecord, own: str, row: Float[np.ndarray, "t"], known: Sequence[str], pack: Pack | None, count: int
) -> list[TextHit]:
    """The best texts of a row; those that only this patient has are not among `known`."""
    mine = report_findings(record, pack) if pack else frozenset[str]()
    found: list[TextHit] = []
    order: list[int] = np.argsort(-row, kind="stable")[:count].tolist()
    for place in order:
        shared = mine & parse_report(known[place], pack).present(None) if pack else frozenset[str]()
        names = tuple(sorted(pack.findings[f].name for f in shared)) if pack else ()
        found.append(TextHit(known[place], float(row[place]), known[place] == own, names))
    return found


def _asked(records: Sequence[ImageRecord], pack: Pack | None, count: int) -> list[ImageRecord]:
    """One image per patient, with a finding where the pack can tell."""
    ordered = sorted(records, key=lambda r: r.image_id)
    if pack is not None:
        ill = [r for r in ordered if report_findings(r, pack) - {"normal_fundus"}]
        ordered = ill or ordered
    first = {r.patient_id: r for r in reversed(ordered)}
    return sorted(first.values(), key=lambda r: r.image_id)[:count]


def _case(scored: Scored, row: int, column: int, pictures: Pictures, side: int = SMALL) -> Case:
    p = scored.predictions
    record = pictures.archive.record(p.image_ids[row])
    truth, prob, threshold = (
        float(v) for v in (scored.labels[row, column], p.probs[row, column], p.thresholds[column])
    )
    return Case(
        record.image_id, pictures.small(record.image_id, side), pictures.words(record), record.laterality.value, truth,
        float(p.logits[row, column]), prob, threshold, verdict(truth, prob, threshold),
    )  # fmt: skip


def verdict(truth: float, prob: float, threshold: float) -> str:
    """What a reader calls this case; without a threshold only where it stands.

    Example:
        >>> verdict(1.0, 0.2, 0.5)
        'missed'
    """
    if math.isnan(truth):
        return "truth unknown"
    if math.isnan(prob) or math.isnan(threshold):
        return "present" if truth else "absent"
    called = prob >= threshold
    return ("found" if called else "missed") if truth else ("false alarm" if called else "rightly not called")


def _field_of(shown: UInt8[np.ndarray, "s s 3"]) -> Bool[np.ndarray, "s s"]:
    """Where the picture is not black; small dark structures inside it count as bright."""
    bright = (shown.max(2) > 24).astype(np.uint8)
    return cv2.morphologyEx(bright, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8)).astype(bool)
