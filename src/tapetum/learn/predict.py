"""Predictions for an archive or for loose image files, and the table that leaves the house."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from tapetum.archive import Archive, decode
from tapetum.core.errors import DataError, TapetumError
from tapetum.core.store import Meta, atomic_write, new_artefact
from tapetum.core.types import UNKNOWN, Embeddings, Predictions
from tapetum.knowledge import load_pack
from tapetum.learn.features.colours import Colours, check_archive, colours_of, expected_colours, joined
from tapetum.learn.features.embed import decode_side, embed
from tapetum.learn.features.embedder import Embedder
from tapetum.learn.gate import Gate
from tapetum.learn.model import INTENDED_USE, Model, zero_shot

AT_ONCE = 16
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".dcm")
Progress = Callable[[int, int], None]


def predict_archive(
    archive: Archive,
    model: Model,
    findings: Sequence[str] = (),
    *,
    progress: Progress | None = None,
    agree: bool = False,
    check_colours: bool = True,
    gate: Gate | None = None,
) -> Predictions:
    """Predictions for every image of an archive; nothing is fitted on it.

    Args:
        archive: of images.
        model: a checkpoint.
        findings: what to look for; all that can be asked if empty.
        progress: called with images embedded and images in all.
        agree: see `zero_shot`.
        check_colours: refuse photographs whose red and blue look swapped, as the pack states them; False = only warn.
        gate: of this model; says which images and findings to leave to a person.

    Raises:
        DataError: too many images look swapped. UsageError: an unknown finding, or the gate of another model.
    """
    check_archive(archive, model.pack, check=check_colours)
    emb = embed(archive, model.embedder(cache=archive.cache / "onnx"), progress=progress)
    eyes = {r.image_id: r.laterality.value for r in archive.records}
    lateralities = [eyes[i] for i in emb.image_ids]
    found = zero_shot(model, emb, findings or askable(model), lateralities=lateralities, agree=agree)
    return gate.judge(found, emb.features) if gate else found


def predict_files(
    files: Sequence[Path],
    model: Model,
    findings: Sequence[str] = (),
    *,
    progress: Progress | None = None,
    agree: bool = False,
    check_colours: bool = True,
    gate: Gate | None = None,
) -> tuple[Predictions, tuple[str, ...]]:
    """Predictions for loose image files; patient and eye are unknown. Memory holds a few images at a time.

    Args:
        files: images, each named in the result as given.
        model: a checkpoint.
        findings: what to look for; all that can be asked if empty.
        progress: called with files done and files in all.
        agree: see `zero_shot`.
        check_colours: as for `predict_archive`.
        gate: of this model; says which images and findings to leave to a person.

    Returns:
        Predictions with the file names as image ids, and one sentence for each file that could not be read.

    Raises:
        DataError: no file can be read, or too many images look swapped. UsageError: an unknown finding.
    """
    embedder, looked = model.embedder(), _Looked(model.pack)
    names, parts, refused = list[str](), list[np.ndarray](), list[str]()
    # decoded at the side that an archive's images are embedded from, so that both ways give the same score
    side = max(decode_side(p.size) for p in embedder.preprocess)
    for start in range(0, len(files), AT_ONCE):
        pixels: list[np.ndarray] = []
        for file in files[start : start + AT_ONCE]:
            try:
                pixels.append(decode(file.read_bytes(), min_side=side))
                names.append(str(file))
            except (OSError, TapetumError) as error:
                refused.append(f"{file}: {error}")
        if pixels:
            looked.at(pixels, names[-len(pixels) :])
            parts.append(embedder.pixels(pixels))
        if progress:
            progress(min(start + AT_ONCE, len(files)), len(files))
    if not names:
        raise DataError(f"none of {len(files)} files is an image", " ".join(IMAGE_SUFFIXES), "; ".join(refused[:3]))
    looked.refuse(check_colours)
    return _loose(model, embedder, names, np.concatenate(parts), findings, agree, gate), tuple(refused)


def predict_pixels(
    images: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    model: Model,
    findings: Sequence[str] = (),
    *,
    agree: bool = False,
    check_colours: bool = True,
) -> Predictions:
    """Predictions for images in memory, named by their numbers.

    Args:
        images: 8-bit RGB, at least one.
        model: a checkpoint.
        findings: what to look for; all that can be asked if empty.
        agree: see `zero_shot`.
        check_colours: as for `predict_archive`.

    Raises:
        DataError: no image, an array that is not 8-bit RGB, or too many that look swapped. UsageError: an unknown
            finding.
    """
    if not len(images):
        raise DataError("no images", "at least one")
    embedder, names = model.embedder(), [str(i) for i in range(len(images))]
    rows = embedder.pixels(images)  # refuses other arrays
    looked = _Looked(model.pack)
    looked.at(images, names)
    looked.refuse(check_colours)
    return _loose(model, embedder, names, rows, findings, agree)


class _Looked:
    """The colours of images that pass by, beside those that a pack states."""

    def __init__(self, pack: str) -> None:
        self.expected = expected_colours(pack)
        self.parts: list[Colours] = []

    def at(self, images: Sequence[UInt8[np.ndarray, "_ _ 3"]], names: Sequence[str]) -> None:
        """Look at a few."""
        if self.expected:
            self.parts.append(colours_of(images, names, self.expected))

    def refuse(self, check: bool) -> None:
        """Judge all of them together."""
        if self.parts:
            joined(self.parts).refuse(only_warn=not check)


def _loose(
    model: Model,
    embedder: Embedder,
    names: Sequence[str],
    rows: np.ndarray,
    findings: Sequence[str],
    agree: bool,
    gate: Gate | None = None,
) -> Predictions:
    unknown = (UNKNOWN,) * len(names)
    emb = Embeddings(tuple(names), unknown, rows, embedder.encoders, embedder.blocks)
    found = zero_shot(model, emb, findings or askable(model), agree=agree)
    return gate.judge(found, emb.features) if gate else found


def image_files(places: Sequence[Path]) -> list[Path]:
    """The image files among and below some paths, sorted."""
    found = [f for p in places for f in (p.rglob("*") if p.is_dir() else [p]) if f.suffix.lower() in IMAGE_SUFFIXES]
    return sorted(set(found))


def askable(model: Model) -> tuple[str, ...]:
    """What a model can be asked: its columns, or the findings with an operating point, or those of its pack."""
    if model.findings:
        return model.findings
    if model.operating:
        return model.operating.findings
    if model.pack:
        return tuple(f.id for f in load_pack(model.pack).findings.values() if f.level in ("disease", "sign"))
    raise DataError("the model has no pack and no findings of its own", "words to look for", "--findings cat,dog")


def predictions_csv(predictions: Predictions) -> str:
    """One row per image and finding: image, patient, eye, finding, probability, threshold, decision, score, model.

    A finding without an operating point has an empty probability and decision: nothing is guessed. With a gate there
    are three columns more: `leave_to_a_person` (why, or empty), `outlying` and `outlying_limit`.
    """
    text, doubts = io.StringIO(), predictions.doubts
    writer = csv.writer(text, lineterminator="\n")
    columns = ["image", "patient", "eye", "finding", "probability", "threshold", "decision", "score", "model"]
    columns += ["leave_to_a_person", "outlying", "outlying_limit"] if doubts else []
    writer.writerow([*columns, "intended_use"])
    for i, image in enumerate(predictions.image_ids):
        for j, finding in enumerate(predictions.findings):
            prob, threshold = float(predictions.probs[i, j]), float(predictions.thresholds[j])
            decided = not (math.isnan(prob) or math.isnan(threshold))
            decision = ("present" if prob >= threshold else "absent") if decided else ""
            whose = (image, predictions.patient_ids[i], predictions.lateralities[i], finding)
            score = _number(float(predictions.logits[i, j]))
            row = [*whose, _number(prob), _number(threshold), decision, score, predictions.model]
            if doubts:
                row += [doubts.why(i, j), repr(float(doubts.outlying[i])), repr(doubts.limit)]
            writer.writerow([*row, INTENDED_USE])
    return text.getvalue()


def save_predictions(predictions: Predictions, out: Path, parents: dict[str, str]) -> None:
    """Write the predictions: a `.csv` file by that name, else an artefact folder with `predictions.csv` in it."""
    if out.suffix.lower() == ".csv":
        atomic_write(out, predictions_csv(predictions))
        return
    with new_artefact(out, Meta("predictions", parents=parents)) as folder:
        (folder / "predictions.csv").write_text(predictions_csv(predictions), encoding="utf-8")


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"
