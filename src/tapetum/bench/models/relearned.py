"""A tower and a head tuned anew on other labels of the same images: for each fold and each version of the labels."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64, UInt8

from tapetum.archive import Archive
from tapetum.bench.trial import Trial
from tapetum.core.errors import UsageError
from tapetum.core.registry import Family
from tapetum.core.types import Embeddings, ImageRecord
from tapetum.learn import embed
from tapetum.learn.adapters import Adapter
from tapetum.learn.features.embedder import Embedder
from tapetum.learn.tuning.run import tune_config
from tapetum.learn.tuning.tune import HEAD, tune


@dataclass(frozen=True)
class _Passing:
    """An archive whose derived files lie elsewhere: no other run would ask for these features again."""

    archive: Archive
    cache: Path

    @property
    def records(self) -> tuple[ImageRecord, ...]:
        return self.archive.records

    def pixels(self, image_id: str, *, min_side: int) -> UInt8[np.ndarray, "h w 3"]:
        return self.archive.pixels(image_id, min_side=min_side)


def refuse_model(trial: Trial) -> None:
    """For protocols that tune towers anew, row by row.

    Raises:
        UsageError: a checkpoint was given, too.
    """
    if trial.config.mode != "frozen" and trial.model is not None:
        raise UsageError(
            "mode=finetune of a model: every row tunes a tower anew", "no --model", "encoders=… names the tower"
        )


def relearned(
    trial: Trial,
    rows: Embeddings,
    labels: Float[np.ndarray, "n k"],
    archive: Archive,
    image_ids: Sequence[str],
) -> Float64[np.ndarray, "m k"]:
    """Tune on some images with these labels, and score others.

    Args:
        trial: whose settings say how; `rows` are images of the archive that it learns on.
        rows: features of the frozen tower, row by row of the labels.
        labels: 0, 1, NaN unknown.
        archive: of the images to score.
        image_ids: of these.

    Returns:
        Logits, higher = more likely; 0 in a column whose labels have one class only.

    Raises:
        UsageError: an unknown tuner, or one that does not fit the tower.
    """
    config = trial.config
    settings = tune_config(config.tuner, config.tuning, seed=config.seed, threads=config.threads)
    able = np.flatnonzero((labels == 1).any(axis=0) & (labels == 0).any(axis=0))
    logits = np.zeros((len(image_ids), labels.shape[1]))
    if not len(able):
        return logits
    known = np.flatnonzero(~np.isnan(labels[:, able]).all(axis=1))
    learned = rows.rows([rows.image_ids[i] for i in known])
    made = tune(trial.archive, learned, labels[known][:, able], settings)
    embedder = Embedder(
        rows.encoder, threads=config.threads, backend="torch", states=made.towers, deltas=made.deltas
    )  # fmt: skip
    head: Adapter = Family("tapetum.learn.adapters").build(HEAD).restore(made.head)
    with tempfile.TemporaryDirectory() as place:
        found = embed(_Passing(archive, Path(place)), embedder, image_ids=image_ids)
    logits[:, able] = head(found.features)
    return logits
