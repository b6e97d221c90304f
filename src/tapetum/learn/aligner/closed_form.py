"""The aligner in closed form: ridge regression from image features to whitened text embeddings."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int

from tapetum.core.errors import DataError
from tapetum.learn.aligner.whiten import whitening
from tapetum.learn.fitting.ridge import PENALTIES, Gram, best_penalty, inner_quality, patient_folds
from tapetum.learn.fitting.standardise import Standardiser
from tapetum.learn.pairing.pairs import Fitted, Pairs
from tapetum.nets import Aligner


def solve_aligner(
    pairs: Pairs, rng: np.random.Generator, *, power: float, shrinkage: float, penalty: float, folds: int
) -> Fitted:
    """Solve for the aligner; the log holds the penalty and the inner quality of every one tried.

    Args:
        pairs: of the training patients.
        rng: of the inner folds.
        power: exponent of the signed root.
        shrinkage: of the text whitening.
        penalty: 0 = choose on inner patient folds.
        folds: their number.

    Raises:
        DataError: all texts are equal, or there is one patient only and no penalty is given.
    """
    if len(set(pairs.texts)) < 2:
        raise DataError(f"all {len(pairs.texts)} texts are equal", "reports that differ", "tapetum audit ARCHIVE")
    standardiser = Standardiser.fit(pairs.features, power)
    rows = standardiser(pairs.features)
    text_mean, text_weight = whitening(pairs.text_features, shrinkage)
    targets = (pairs.text_features - text_mean) @ text_weight
    tried: dict[float, float] = {}
    if penalty <= 0:
        fold = patient_folds(pairs.patient_ids, folds, rng)
        quality = inner_quality(rows, targets, fold, quality=TextSeparation(pairs.texts, targets))[:, 0]
        penalty = best_penalty(quality)
        tried = dict(zip(PENALTIES, map(float, quality), strict=True))
        if np.isnan(penalty):
            raise DataError("no inner fold holds two different texts", "more patients or texts", "penalty=10")
    weight, bias = Gram.of(rows).fit(targets, penalty)
    aligner = Aligner(rows.shape[1], len(text_mean), targets.shape[1], power=power, normalise=True)
    with torch.no_grad():
        aligner.image_mean.copy_(torch.from_numpy(standardiser.mean))
        aligner.image_scale.copy_(torch.from_numpy(standardiser.scale))
        aligner.image_weight.copy_(torch.from_numpy(weight))
        aligner.image_bias.copy_(torch.from_numpy(bias))
        aligner.text_mean.copy_(torch.from_numpy(text_mean))
        aligner.text_weight.copy_(torch.from_numpy(text_weight))
    counts = {"pairs": len(pairs.texts), "patients": len(set(pairs.patient_ids))}
    return Fitted(aligner.eval(), {"penalty": penalty, "inner_quality": tried, **counts})


class TextSeparation:
    """Mean over distinct texts of the AUROC with which a text separates its own images from the others.

    A text weighs by the root of its number of images: by the number, "normal" would decide alone; by texts, those with
    a single image would, and their AUROC is mostly accident.
    """

    def __init__(self, texts: tuple[str, ...], targets: Float[np.ndarray, "n t"]) -> None:
        _, first, self.own = np.unique(texts, return_index=True, return_inverse=True)
        candidates = targets[first]
        self.candidates = candidates / np.maximum(np.linalg.norm(candidates, axis=1, keepdims=True), 1e-12)

    def __call__(self, prediction: Float[np.ndarray, "m t"], rows: Int[np.ndarray, "m"]) -> Float[np.ndarray, "1"]:
        """Of the predictions for some rows; NaN where they share one text."""
        unit = prediction / np.maximum(np.linalg.norm(prediction, axis=1, keepdims=True), 1e-12)
        scores = unit @ self.candidates.T
        total: list[float] = []
        weights: list[float] = []
        for text in np.unique(self.own[rows]):
            of_text = self.own[rows] == text
            if of_text.all():
                continue
            positive, negative = scores[of_text, text], scores[~of_text, text]
            # rank-sum AUROC: do images of this text score higher on it than the others do?
            order = np.searchsorted(np.sort(negative), positive, side="left").mean()
            ties = np.searchsorted(np.sort(negative), positive, side="right").mean()
            total.append(float((order + ties) / 2 / len(negative)))
            weights.append(float(np.sqrt(len(positive))))
        return np.array([np.average(total, weights=weights) if total else np.nan])
