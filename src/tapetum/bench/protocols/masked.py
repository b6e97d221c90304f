"""Masked images: what is left of the score when what should matter is hidden, and when nothing else is shown."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from tapetum.bench.altered.changed import Change, as_it_is, embed_changed, embedder_of
from tapetum.bench.altered.masking import BORDER, CENTRE, FIELD, FILE, STEPS, Masker, MaskFiles
from tapetum.bench.models.subject import Asked, asked_of, some_of, subject_of
from tapetum.bench.models.tuned import tuned
from tapetum.bench.tables.measures import MACRO, Context
from tapetum.bench.tables.results import Results
from tapetum.bench.tables.rows import records_of, truth_note
from tapetum.bench.trial import Scored, Trial
from tapetum.bench.trust.corrupting import Measured, measure
from tapetum.bench.trust.shortcuts import Probe, Told, told_by, warnings_of
from tapetum.core.errors import DataError, UsageError
from tapetum.core.registry import Family
from tapetum.core.types import Embeddings, ImageRecord, Interval, Record, Split
from tapetum.learn.adapters import Adapter
from tapetum.learn.pretrain import targets

__all__ = ["masked"]

COLUMNS = ("auroc_score", "auroc_difference", "kept_share")
AGAIN = "learned so: "
HIDDEN = {
    FILE: "what the masks cover", FIELD: "the field of view", CENTRE: "the centre", BORDER: "all but the border",
}  # fmt: skip


def masked(
    trial: Trial,
    *,
    adapter: str = "logistic",
    region: str = "",
    steps: tuple[float, ...] = (),
    fill: str = "mean",
    images: int = 200,
    relearn: int = 0,
    explained: float = 0.5,
    masks: str = "",
    suffix: str = "_mask",
) -> Results:
    """What is left of the score with a region hidden, and with nothing but it shown, as the region grows.

    `hidden` rows show all but the region, `only` rows the region alone, `random` rows the same with a region of equal
    shape at a random place. A model that still ranks where all that should matter is hidden has learned something else.
    A model never saw holes: where it fails on them, that may be the hole. With `relearn`, an adapter learns on images
    masked alike, and says what there is to be learned. `kept_share` is AUROC above 0.5 in parts of the whole image's.

    Args:
        trial: what is learned on and tested; a checkpoint is tested as it is, else `adapter` is fitted.
        adapter: spec of a linear adapter on frozen features.
        region: `field`, the round field of view (the default for fundus photographs); `centre`, an ellipse (the default
            for others); `border`, all that a ring along the border leaves free; `file`, masks of each image.
        steps: for `file` by how much masks grow, in shares of the shorter side; else the region's share of the image's,
            for `field` of the field's area. () = 0 to 0.2, and 0.25 to 0.9, for `field` 1.
        fill: what stands where nothing is shown: `mean` colour of what is, `grey`, or `blur`, which tells its colours.
        images: tested at least, of patients drawn by the seed, each with all images; 0 = all.
        relearn: training images that an adapter learns on, masked alike; 0 = none.
        explained: warn where hiding the largest region keeps at least this share.
        masks: folder with a mask for each image, bright where it matters; images without one are left out.
        suffix: of the mask's name after the image's.

    Raises:
        UsageError: `ordinal` or `exclusive`, an unknown region or fill, or a step out of range. DataError: no masks, no
            finding with both classes, or an image that cannot be decoded.

    Source: after Mask of Truth (Sourget et al., arXiv 2412.04030; region hidden or alone, grown step by step). Differs:
        also geometric regions, a control of equal area, frozen features, intervals over patients, no SHAP.
    """
    trial.refuse_one_class_each("masked")
    kind = Counter(r.modality for r in trial.test_records).most_common(1)[0][0]
    region = region or (FILE if masks else FIELD if kind == "fundus" else CENTRE)
    files = MaskFiles.find(Path(masks), suffix) if masks else None
    masker = Masker(region, fill, trial.config.seed, files)
    levels = _checked(steps or STEPS[region], region, explained, images, relearn)
    records = some_of(_able(trial.test_records, files), images, np.random.default_rng([trial.config.seed, 7]))
    trial = tuned(trial)
    subject = subject_of(trial, adapter)
    asked = asked_of(trial, "masked", subject, records)
    main, rows = _asked(trial, asked, masker, levels, adapter, relearn)
    measured = measure(main, {name: [one] for name, one in rows.items()}, asked.within)
    found = [*records_of(asked.within, main, decisions=False), *_records(asked.within, main, rows, measured)]
    warned = warnings_of(_left(main, rows, asked.within, region, levels[-1]), explained)
    notes = (truth_note(main), *subject.notes, *_notes(masker, levels, records, trial))
    return Results(
        tuple(found), (main,), notes, None, trial, warnings=warned, columns=COLUMNS, by_finding="auroc_score"
    )  # fmt: skip


def _asked(
    trial: Trial, asked: Asked, masker: Masker, levels: Sequence[float], adapter: str, relearn: int
) -> tuple[Scored, dict[str, Scored]]:
    """Scores on the whole images, and row by row on masked ones: the model's, and of adapters that learned so."""
    versions: list[tuple[str, Change]] = [("whole", as_it_is), *masker.versions(levels)]
    more = (
        list(masker.shapes(levels)) if relearn and masker.files else []
    )  # the model would not know what to make of it
    embedder, changes = embedder_of(trial, asked.subject.model), [change for _, change in (*versions, *more)]
    tested = embed_changed(trial.test_archive, asked.records, embedder, changes, trial.progress)
    main = asked.scored(tested[0], asked.subject.row)
    rows = {name: asked.scored(tested[i], name) for i, (name, _) in enumerate(versions) if i}
    if relearn:
        able = _able(trial.archive.in_split(Split.TRAIN), masker.files)
        teaching = some_of(able, relearn, np.random.default_rng([trial.config.seed, 8]))
        taught = embed_changed(trial.archive, teaching, embedder, changes, trial.progress)
        again = _learned(trial, asked, main, adapter, teaching, list(zip(taught, tested, strict=True)))
        rows |= {AGAIN + name: one for (name, _), one in zip((*versions, *more), again, strict=True)}
    return main, rows


def _checked(
    steps: Sequence[float], region: str, explained: float, images: int, relearn: int
) -> tuple[float, ...]:  # fmt: skip
    levels = tuple(sorted(set(steps)))
    low, high = (0, 1) if region == FILE else (1e-9, 1 if region == FIELD else 1 - 1e-9)
    if not all(low <= s <= high for s in levels):
        raise UsageError(
            f"steps={tuple(steps)} of region={region!r}", "shares that leave something to hide and to show"
        )
    if not 0 <= explained <= 1 or images < 0 or relearn < 0:
        raise UsageError(f"explained={explained}, images={images}, relearn={relearn}", "0..1, and numbers of images")
    return levels


def _able(records: Sequence[ImageRecord], files: MaskFiles | None) -> list[ImageRecord]:
    """The images that have a mask.

    Raises:
        DataError: none has.
    """
    able = [r for r in records if files is None or files.mask(r) is not None]
    if not able:
        raise DataError(f"none of {len(records)} images has a mask", "masks named after the images", "suffix='_mask'")
    return able


def _notes(masker: Masker, levels: Sequence[float], records: Sequence[ImageRecord], trial: Trial) -> list[str]:
    words = {FILE: "masks from files, grown by a share of the shorter side", FIELD: "share of the field of view"}
    said = [
        f"{len(records)} of {len(trial.test_records)} test images, whole patients",
        f"region: {masker.region} ({words.get(masker.region, 'share of the image')}), steps "
        f"{', '.join(f'{s:g}' for s in levels)}; fill: {masker.fill}; differences are to the whole images, paired",
    ]
    if masker.files:
        said.append("images without a mask are left out; the form of a mask may tell the finding by itself")
    return said


def _learned(
    trial: Trial, asked: Asked, main: Scored, adapter: str, teaching: Sequence[ImageRecord],
    pairs: Sequence[tuple[Embeddings, Embeddings]],
) -> list[Scored]:  # fmt: skip
    """Adapters that learned on training images of each version, asked about tested ones of the same."""
    labels, _ = targets(trial.archive, teaching, asked.subject.findings)
    found: list[Scored] = []
    for taught, tested in pairs:
        one: Adapter = Family("tapetum.learn.adapters").build(adapter)
        one.fit(taught.features, labels, np.asarray(taught.patient_ids), taught.blocks)
        logits: Float[np.ndarray, "n k"] = np.nan_to_num(np.asarray(one(tested.features), np.float64))
        nothing = np.full(logits.shape, np.nan)
        predictions = dataclasses.replace(main.predictions, logits=logits, probs=nothing)
        found.append(dataclasses.replace(main, predictions=predictions, supervision="supervised"))
    return found


def _records(
    within: Context, main: Scored, rows: dict[str, Scored], measured: Measured
) -> list[Record]:  # fmt: skip
    """Of every row: macro AUROC, its difference to the whole image's, what is kept; AUROC of each finding."""
    area, found = measured.macro["auroc"], list[Record]()
    first = float(area.estimates[0])
    for row, scored in rows.items():
        of = measured.versions[row]
        value = area.mean(of, within.patients)
        share = (value.estimate - 0.5) / (first - 0.5) if first > 0.5 else math.nan
        values = {
            "auroc_score": value, "auroc_difference": area.minus_clean(of, within.patients)[0],
            "kept_share": Interval(share, math.nan, math.nan, "of the whole images' AUROC above 0.5, no bounds"),
        }  # fmt: skip
        found += [within.record(row, scored.supervision, MACRO, m, x, main.labels) for m, x in values.items()]
        for finding, drawn in measured.by_finding.items():
            column = main.labels[:, main.predictions.findings.index(finding)]
            interval = drawn.mean(of, within.patients)
            found.append(within.record(row, scored.supervision, finding, "auroc_score", interval, column))
    return found


def _left(main: Scored, rows: dict[str, Scored], within: Context, region: str, step: float) -> list[Told]:
    """How well each finding is told with the largest region hidden, by the model and by an adapter that learned so."""
    found: list[Told] = []
    for again in ("", AGAIN):
        name = f"{again}hidden {step:g}"
        if name in rows:
            how = "an adapter that learned so tells" if again else "the model still tells"
            kind = f"with {HIDDEN[region]} hidden (step {step:g}) {how}"
            logits = rows[name].predictions.logits
            found += told_by(Probe(kind, (), logits, np.empty((0, *logits.shape))), main, within)
    return found
