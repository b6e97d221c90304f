"""Predictions for an archive or for loose image files, and the table that leaves the house."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from tapetum.archive import Archive, decode
from tapetum.core.errors import DataError, TapetumError
from tapetum.core.store import Meta, atomic_write, new_artefact
from tapetum.core.types import Embeddings, Predictions
from tapetum.knowledge import load_pack
from tapetum.learn.embed import embed
from tapetum.learn.model import INTENDED_USE, Model, zero_shot

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".dcm")
Progress = Callable[[int, int], None]


def predict_archive(
    archive: Archive, model: Model, findings: Sequence[str] = (), *, progress: Progress | None = None
) -> Predictions:
    """Predictions for every image of an archive; nothing is fitted on it."""
    emb = embed(archive, model.embedder(cache=archive.cache / "onnx"), progress=progress)
    eyes = {r.image_id: r.laterality.value for r in archive.records}
    return zero_shot(model, emb, findings or askable(model), lateralities=[eyes[i] for i in emb.image_ids])


def predict_files(
    files: Sequence[Path], model: Model, findings: Sequence[str] = (), *, progress: Progress | None = None
) -> tuple[Predictions, tuple[str, ...]]:
    """Predictions for loose image files; patient and eye are unknown.

    Returns:
        Predictions with the file names as image ids, and one sentence for each file that could not be read.
    """
    embedder = model.embedder()
    names, pixels, refused = list[str](), [], list[str]()
    side = max(p.size for p in embedder.preprocess)
    for done, file in enumerate(files):
        try:
            pixels.append(decode(file.read_bytes(), min_side=side))
            names.append(str(file))
        except (OSError, TapetumError) as error:
            refused.append(f"{file}: {error}")
        if progress:
            progress(done + 1, len(files))
    if not names:
        raise DataError(f"none of {len(files)} files is an image", " ".join(IMAGE_SUFFIXES), "; ".join(refused[:3]))
    features = embedder.pixels(pixels)
    emb = Embeddings(tuple(names), ("unknown",) * len(names), features, embedder.encoders, embedder.blocks)
    return zero_shot(model, emb, findings or askable(model)), tuple(refused)


def image_files(places: Sequence[Path]) -> list[Path]:
    """The image files among and below some paths, sorted."""
    found = [f for p in places for f in (p.rglob("*") if p.is_dir() else [p]) if f.suffix.lower() in IMAGE_SUFFIXES]
    return sorted(set(found))


def askable(model: Model) -> tuple[str, ...]:
    """What a model can be asked: an adapter its columns; an aligner the findings with an operating point, else the pack's."""
    if model.findings:
        return model.findings
    if model.operating:
        return model.operating.findings
    if model.pack:
        return tuple(f.id for f in load_pack(model.pack).findings.values() if f.level in ("disease", "sign"))
    raise DataError("the model has no pack and no findings of its own", "words to look for", "--findings cat,dog")


def predictions_csv(predictions: Predictions) -> str:
    """One row per image and finding: image, patient, eye, finding, probability, threshold, decision, score, model.

    A finding without an operating point has an empty probability and decision: nothing is guessed.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["image", "patient", "eye", "finding", "probability", "threshold", "decision", "score", "model", "intended_use"]
    )
    for i, image in enumerate(predictions.image_ids):
        for j, finding in enumerate(predictions.findings):
            prob, threshold = float(predictions.probs[i, j]), float(predictions.thresholds[j])
            decided = not (math.isnan(prob) or math.isnan(threshold))
            decision = ("present" if prob >= threshold else "absent") if decided else ""
            writer.writerow(
                [
                    image, predictions.patient_ids[i], predictions.lateralities[i], finding, _number(prob),
                    _number(threshold), decision, f"{predictions.logits[i, j]:.6g}", predictions.model, INTENDED_USE,
                ]  # fmt: skip
            )
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
