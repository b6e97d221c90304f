"""Signed root and standardisation by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tapetum.learn.fitting.standardise import Standardiser, signed_root
from tapetum.nets import Aligner


def test_by_hand():
    # Roots 1, 3 and 2, −2: means 2 and 0, deviations 1 and 2; two columns, so another √2.
    found = Standardiser.fit(np.array([[1.0, 4.0], [9.0, -4.0]]), 0.5)
    np.testing.assert_allclose(found.mean, [2.0, 0.0])
    np.testing.assert_allclose(found.scale, [np.sqrt(2), 2 * np.sqrt(2)], rtol=1e-6)
    np.testing.assert_allclose(found(np.array([[25.0, 16.0]])), [[3 / np.sqrt(2), 2 / np.sqrt(2)]], rtol=1e-6)


def test_images_have_length_one_on_average():
    features = np.random.default_rng(0).gamma(1, size=(300, 40))
    rows = Standardiser.fit(features, 0.5)(features)
    np.testing.assert_allclose((rows**2).sum(1).mean(), 1, rtol=1e-4)
    np.testing.assert_allclose(rows.mean(0), 0, atol=1e-6)


def test_a_constant_column_carries_nothing():
    features = np.concatenate([np.random.default_rng(0).normal(size=(20, 2)), np.full((20, 1), 5.0)], axis=1)
    rows = Standardiser.fit(features, 1.0)(features)
    np.testing.assert_array_equal(rows[:, 2], 0)


def test_state_survives_storing():
    features = np.random.default_rng(0).normal(size=(20, 4))
    found = Standardiser.fit(features, 0.7)
    np.testing.assert_array_equal(Standardiser.restore(found.state())(features), found(features))


def test_the_aligner_standardises_alike():
    features = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    found = Standardiser.fit(features, 0.5)
    aligner = Aligner(4, 4, 4, power=0.5)
    aligner.image_mean.copy_(torch.from_numpy(found.mean))
    aligner.image_scale.copy_(torch.from_numpy(found.scale))
    np.testing.assert_allclose(aligner.standardise(torch.from_numpy(features)).numpy(), found(features), atol=1e-5)


def test_the_root_keeps_the_sign_and_zero():
    np.testing.assert_array_equal(signed_root(np.array([[-9.0, 0.0, 4.0]]), 0.5), [[-3.0, 0.0, 2.0]])


def test_a_block_weighs_as_the_root_of_its_width() -> None:
    features = np.random.default_rng(0).standard_normal((500, 20)).astype(np.float32)
    rows = Standardiser.fit(features, 1.0, {"wide": (0, 16), "narrow": (16, 20)})(features)
    energy = (rows**2).mean(0)
    assert energy[:16].sum() / energy[16:].sum() == pytest.approx(2.0, rel=1e-3)  # √16 / √4
    assert energy.sum() == pytest.approx(1.0, rel=1e-3)
