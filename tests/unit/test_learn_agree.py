"""Probabilities that agree with the tree of findings, on demand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tapetum.core.errors import UsageError
from tapetum.learn import predict_files, zero_shot
from tapetum.learn.fitting.operate import Operating
from tapetum.learn.predict import image_files
from tapetum.score.calibration.platt import Platt

TREE = ("mild_npdr", "diabetic_retinopathy", "glaucoma", "moderate_npdr")  # grades below their disease, in no order


@pytest.fixture(scope="module")
def asked(toy_model):
    """A model whose probabilities are its logits through a sigmoid; `moderate_npdr` was never calibrated."""
    known = TREE[:3]
    state = Platt().fit(np.tile([[-1.0], [1.0]], (4, 3)), np.tile([[0.0], [1.0]], (4, 3))).state()
    operating = Operating(known, "platt", state, np.full(3, 0.5), 0.9, "labels", (4,) * 3, (4,) * 3)
    return dataclasses.replace(toy_model, operating=operating)


def test_no_finding_is_likelier_than_what_stands_above_it(asked, toy_embeddings):
    plain = zero_shot(asked, toy_embeddings, TREE)
    moved = zero_shot(asked, toy_embeddings, TREE, agree=True)
    grade, disease = plain.probs[:, 0], plain.probs[:, 1]
    wrong = grade > disease
    assert wrong.any()
    assert not wrong.all()
    # by hand: the two meet at their mean where they disagree, and nothing else moves
    np.testing.assert_allclose(moved.probs[wrong, 0], (grade + disease)[wrong] / 2)
    np.testing.assert_allclose(moved.probs[wrong, 1], (grade + disease)[wrong] / 2)
    np.testing.assert_array_equal(moved.probs[~wrong, :2], plain.probs[~wrong, :2])
    np.testing.assert_array_equal(moved.probs[:, 2], plain.probs[:, 2])
    assert np.isnan(moved.probs[:, 3]).all()
    np.testing.assert_array_equal(moved.logits, plain.logits)
    np.testing.assert_array_equal(moved.thresholds, plain.thresholds)


def test_loose_files_and_models_without_a_tree(asked, toy_archive, toy_embeddings):
    files = image_files([toy_archive.path.parent / "export"])[:8]
    found, _ = predict_files(files, asked, TREE[:2], agree=True)
    assert (found.probs[:, 0] <= found.probs[:, 1]).all()
    bare = dataclasses.replace(asked, pack="", operating=None)
    with pytest.raises(UsageError, match="no tree of findings"):
        zero_shot(bare, toy_embeddings, ["cat"], agree=True)
    unknown = zero_shot(dataclasses.replace(asked, operating=None), toy_embeddings, TREE, agree=True)
    assert np.isnan(unknown.probs).all()
