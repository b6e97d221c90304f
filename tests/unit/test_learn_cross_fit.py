"""Cross-fitting: no image's logit comes from an adapter that saw its patient."""

from __future__ import annotations

import numpy as np

from tapetum.core.types import Embeddings
from tapetum.learn.adapt import held_out_logits
from tapetum.score.metrics.auroc_score import auroc_score


def _rows(n: int, rng: np.random.Generator) -> Embeddings:
    features = rng.standard_normal((n, 6)).astype(np.float32)
    return Embeddings(tuple(f"i{i}" for i in range(n)), tuple(f"p{i // 2}" for i in range(n)), features, "toy")


def test_labels_of_a_patient_never_reach_its_own_logits() -> None:
    rng = np.random.default_rng(0)
    rows = _rows(60, rng)
    labels = rng.integers(0, 2, (60, 1)).astype(float)
    before = held_out_logits("prototypes", rows, labels, np.random.default_rng(1))
    changed = labels.copy()
    changed[:2] = 1 - changed[:2]  # both images of patient p0
    after = held_out_logits("prototypes", rows, changed, np.random.default_rng(1))
    np.testing.assert_array_equal(before[:2], after[:2])
    assert not np.array_equal(before, after)


def test_signal_is_found_on_patients_left_out() -> None:
    rng = np.random.default_rng(0)
    rows = _rows(200, rng)
    labels = (rows.features[:, :1] > 0).astype(float)
    logits = held_out_logits("linear_probe", rows, labels, rng)
    assert auroc_score(logits[:, 0], labels[:, 0].astype(int)) > 0.9
