"""Search in both directions: find images by words and words by an image."""

from __future__ import annotations

from typing import Literal

import numpy as np

from tapetum.bench.tables.results import Results
from tapetum.bench.tables.rows import alarm_notes, context
from tapetum.bench.trial import Trial
from tapetum.core.errors import DataError, UsageError
from tapetum.core.registry import Spec
from tapetum.core.types import Record
from tapetum.learn import pretrain
from tapetum.learn.pairing.pairs import image_text, pack_of
from tapetum.retrieve import Recall, equal_texts, recall_at
from tapetum.score import mean_interval

__all__ = ["retrieval"]


def retrieval(
    trial: Trial, *, ks: tuple[int, ...] = (1, 5, 10), relevant: Literal["other patients", "own"] = "other patients"
) -> Results:
    """Recall at k of text→image and image→text on the test patients, beside what chance gives.

    Args:
        trial: what is learned on and tested.
        ks: places to look at.
        relevant: `other patients` = an item of another patient with an equal text answers (the same patient is
            excluded; texts that no other patient shares are left out and counted); `own` = the query's own partner or
            one with an equal text answers, among all of the test images (for archives where every text is different).

    Raises:
        DataError: fewer than two test images have a text. UsageError: another word for `relevant`.

    Source: own protocol; recall at k as in Radford et al., ICML 2021, arXiv 2103.00020.
    Differs: equal texts of several patients are all right answers; exact chance beside every value.
    """
    trial.refuse_one_class_each("retrieval")
    trial.refuse_finetune("retrieval")
    if relevant not in ("other patients", "own"):
        raise UsageError(f"relevant={relevant!r}", "'other patients' | 'own'", "retrieval(relevant='own')")
    model = trial.model or pretrain(trial.archive, trial.config, embeddings=trial.embeddings)
    pack = pack_of(trial.test_archive)
    mode = str(model.config.get("text", trial.config.text))
    texts = [image_text(r, pack, mode) for r in trial.test_records]
    kept = [i for i, text in enumerate(texts) if text]
    if len(kept) < 2:
        raise DataError(f"{len(kept)} test images have a text", "at least 2", "tapetum ingest … --map report=COLUMN")
    words = [texts[i] for i in kept]
    patients = [trial.test_records[i].patient_id for i in kept]
    unique, inverse = np.unique(words, return_inverse=True)
    text_vectors = model.encode_text([str(u) for u in unique])[inverse]
    image_vectors = model.encode_image(trial.test_embeddings_of(model).features[kept])
    similarity = image_vectors @ text_vectors.T
    within = context(trial, "retrieval", "penalty: inner patient folds of train", model)
    row = str(Spec.parse(str(model.config.get("task", "ridge"))))
    same = equal_texts(words, words)
    exclude = relevant == "other patients"
    records: list[Record] = []
    notes: list[str] = []
    for name, matrix in (("text → image", similarity.T), ("image → text", similarity)):
        recall = recall_at(matrix, same, patients, patients, ks=ks, exclude_same_patient=exclude)
        for k in ks:
            interval = mean_interval(recall.hits[k], patients, rng=within.rng(), draws=trial.config.draws)
            whole = np.full(len(texts), np.nan)
            whole[kept] = np.where(np.isnan(recall.hits[k]), np.nan, 1.0)  # counts the queries, not the hits
            records.append(within.record(row, "report-supervised", name, f"recall_at_{k}_score", interval, whole))
        notes.append(_line(name, recall, ks))
    notes += alarm_notes(row, model)
    return Results(tuple(records), (), tuple(notes), None, trial)


def _line(name: str, recall: Recall, ks: tuple[int, ...]) -> str:
    chance = ", ".join(f"R@{k} {recall.chance[k]:.3f}" for k in ks)
    return (
        f"{name}: {recall.used} queries, {recall.left_out} left out (none else has the text); "
        f"median rank {recall.median_rank:.0f}; chance: {chance}"
    )
