"""ODIN by hand on a linear network, and on towers with a head."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tapetum.core.errors import UsageError
from tapetum.core.types import Head
from tapetum.learn.features.embedder import Embedder
from tapetum.learn.fitting.standardise import Standardiser
from tapetum.learn.odin import ImageClassifier, Step, odin

WEIGHT = torch.tensor([[1.0, -2.0], [0.0, 1.0]])  # of two pixels, logits z = (x0 - 2 x1, x1)
IMAGE = torch.tensor([[[[3.0, 0.5]]]])  # z = (2, 0.5): class 0 is called


def linear(inputs):
    return inputs[0].flatten(1) @ WEIGHT.T


def msp(first, second, temperature):
    return -1 / (1 + math.exp(-(first - second) / temperature))


@pytest.mark.parametrize("temperature", [1.0, 10.0, 1000.0])
def test_a_linear_network_by_hand(temperature):
    # d(z0 - z1)/dx = (1, -3): to be surer of class 0 the first pixel rises by epsilon, the second falls
    found = odin(linear, [IMAGE], [Step(temperature, 0.0), Step(temperature, 0.1)])
    moved = (3.1 - 2 * 0.4, 0.4)
    np.testing.assert_allclose(found[:, 0], [msp(2, 0.5, temperature), msp(*moved, temperature)], rtol=1e-6)
    assert found[1, 0] < found[0, 0]  # surer


def test_findings_by_hand():
    # sigmoid: the surest finding is z0 = 2; its slope is (1, -2)
    found = odin(linear, [IMAGE], [Step(2.0, 0.1)], mode="sigmoid")
    assert found[0, 0] == pytest.approx(-1 / (1 + math.exp(-(3.1 - 0.8) / 2)))


def test_a_step_is_in_units_of_each_channel():
    units = torch.tensor([4.0, 1.0]).reshape(2, 1, 1)
    image = IMAGE.reshape(1, 2, 1, 1)
    found = odin(linear, [image], [Step(1.0, 0.1)], units=[units])
    assert found[0, 0] == pytest.approx(msp(3.4 - 0.8, 0.4, 1))


def test_towers_take_the_step_together():
    def both(inputs):
        return linear([torch.cat([x.flatten(1) for x in inputs], dim=1)])

    split = odin(both, [IMAGE[..., :1], IMAGE[..., 1:]], [Step(1.0, 0.1)])
    np.testing.assert_array_equal(split, odin(linear, [IMAGE], [Step(1.0, 0.1)]))


@pytest.fixture(scope="module")
def towers():
    rng = np.random.default_rng(0)
    embedder = Embedder("tiny(size=32, dim=16) + tiny(size=32, dim=8, seed=1)", threads=1, backend="torch-eager")
    images = [rng.integers(0, 255, (40, 36, 3), dtype=np.uint8) for _ in range(19)]
    features = embedder.pixels(images)
    standardiser = Standardiser.fit(features, 0.5, embedder.blocks)
    head = Head(rng.normal(size=(3, 24)).astype(np.float32), rng.normal(size=3).astype(np.float32))
    return ImageClassifier(embedder, standardiser, head), images, standardiser(features) @ head.weight.T + head.bias


def test_without_a_step_it_is_the_confidence_of_the_head(towers):
    classifier, images, logits = towers
    scaled = np.exp(logits / 5)
    found = classifier.odin(images, [Step(5.0, 0.0)], "softmax")[0]
    np.testing.assert_allclose(found, -(scaled / scaled.sum(axis=1, keepdims=True)).max(axis=1), rtol=1e-5)


def test_each_image_by_itself_and_surer_after_the_step(towers):
    classifier, images, _ = towers
    steps = [Step(1.0, 0.0), Step(1.0, 0.002), Step(1000.0, 0.002)]
    whole = classifier.odin(images, steps, "softmax")
    assert whole.shape == (3, len(images))
    alone = np.concatenate([classifier.odin([image], steps, "softmax") for image in images], axis=1)
    np.testing.assert_allclose(alone, whole, rtol=1e-4)
    assert (whole[1] < whole[0]).all()
    assert classifier.odin([], steps, "softmax").shape == (3, 0)


def test_the_step_follows_the_slope_of_finite_differences(towers):
    classifier, images, _ = towers
    inputs = [x.double() for x in classifier.inputs(images[:1])]

    def confidence(shown):
        return torch.log_softmax(classifier([x.float() for x in shown]), dim=1).amax(dim=1)

    before = odin(classifier, [x.float() for x in inputs], [Step(1.0, 0.001)], units=classifier.units)[0, 0]
    rng = np.random.default_rng(1)
    for _ in range(5):  # a step of the same size in any other direction gains less
        other = [
            x + 0.001 * u * torch.from_numpy(np.sign(rng.normal(size=x.shape)))
            for x, u in zip(inputs, classifier.units, strict=True)
        ]
        assert -math.exp(float(confidence(other).detach())) > before


def test_features_of_zero_stop_no_gradient(towers):
    classifier, _, _ = towers
    black = np.zeros((40, 40, 3), np.uint8)
    assert np.isfinite(classifier.odin([black], [Step()], "softmax")).all()


def test_what_cannot_be_is_refused(towers):
    for wrong in ({"temperature": 0}, {"temperature": math.nan}, {"epsilon": -0.1}):
        with pytest.raises(UsageError, match="temperature above 0"):
            Step(**wrong)
    embedder = Embedder("tiny(size=32, dim=16)", threads=1, backend="torch-eager")
    state = Standardiser(np.zeros(16), np.ones(16), 1.0)
    with pytest.raises(UsageError, match="a head on 8"):
        ImageClassifier(embedder, state, Head(np.ones((2, 8), np.float32), np.zeros(2, np.float32)))
