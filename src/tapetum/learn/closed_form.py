"""The aligner in closed form: ridge regression from image features to whitened text embeddings."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from tapetum.learn.pairs import Fitted, Pairs
from tapetum.learn.ridge import Gram, choose_penalty
from tapetum.learn.standardise import Standardiser
from tapetum.learn.whiten import whitening
from tapetum.nets import Aligner


def solve_aligner(
    pairs: Pairs, rng: np.random.Generator, *, power: float, shrinkage: float, penalty: float, folds: int
) -> Fitted:
    """Solve for the aligner; the log holds the penalty and the inner quality of every one tried.

    Args:
        power: exponent of the signed root. shrinkage: of the text whitening. penalty: 0 = choose on inner patient folds.
    """
    standardiser = Standardiser.fit(pairs.features, power)
    rows = standardiser(pairs.features)
    text_mean, text_weight = whitening(pairs.text_features, shrinkage)
    targets = (pairs.text_features - text_mean) @ text_weight
    tried: dict[float, float] = {}
    if penalty <= 0:
        quality = TextSeparation(pairs.texts, targets)
        penalty, tried = choose_penalty(rows, targets, pairs.patient_ids, quality=quality, rng=rng, folds=folds)
    weight = Gram.of(rows).weight(targets, penalty)
    aligner = Aligner(rows.shape[1], len(text_mean), targets.shape[1], power=power, normalise=True)
    with torch.no_grad():
        aligner.image_mean.copy_(torch.from_numpy(standardiser.mean))
        aligner.image_scale.copy_(torch.from_numpy(standardiser.scale))
        aligner.image_weight.copy_(torch.from_numpy(weight))
        aligner.text_mean.copy_(torch.from_numpy(text_mean))
        aligner.text_weight.copy_(torch.from_numpy(text_weight))
    return Fitted(aligner.eval(), {"penalty": penalty, "inner_quality": tried, "pairs": len(pairs.texts)})


class TextSeparation:
    """Mean over distinct texts of the AUROC with which a text separates its own images from the others.

    Averaged over distinct texts and not over images, or "normal" would decide alone.
    """

    def __init__(self, texts: tuple[str, ...], targets: Float[np.ndarray, "n t"]) -> None:
        _, first, self.own = np.unique(texts, return_index=True, return_inverse=True)
        candidates = targets[first]
        self.candidates = candidates / np.maximum(np.linalg.norm(candidates, axis=1, keepdims=True), 1e-12)

    def __call__(self, prediction: Float[np.ndarray, "m t"], rows: np.ndarray) -> float:
        unit = prediction / np.maximum(np.linalg.norm(prediction, axis=1, keepdims=True), 1e-12)
        scores = unit @ self.candidates.T
        total: list[float] = []
        for text in np.unique(self.own[rows]):
            of_text = self.own[rows] == text
            if of_text.all():
                continue
            positive, negative = scores[of_text, text], scores[~of_text, text]
            # rank-sum AUROC: do images of this text score higher on it than the others do?
            order = np.searchsorted(np.sort(negative), positive, side="left").mean()
            ties = np.searchsorted(np.sort(negative), positive, side="right").mean()
            total.append(float((order + ties) / 2 / len(negative)))
        return float(np.mean(total)) if total else float("nan")
