"""What every corruption promises; a new file in the family is tested by being there."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tapetum.bench.altered.suites import SUITES
from tapetum.core.errors import UsageError
from tapetum.core.registry import Family

CORRUPTIONS = Family("tapetum.bench.corruptions")
each = pytest.mark.parametrize("name", CORRUPTIONS.names())


def picture(rows=72, columns=96, *, field=True):
    """A slope with large, middling and fine blotches; with a round field of view, or without a border."""
    y, x = np.mgrid[:rows, :columns]
    waves, rng = 60 + 90 * x / columns, np.random.default_rng(1)
    for cells, height in ((4, 30), (12, 20), (36, 15)):
        grid = rng.uniform(-height, height, (cells, cells)).astype(np.float32)
        waves = waves + cv2.resize(grid, (columns, rows), interpolation=cv2.INTER_LINEAR)
    colours = np.stack([waves + 30, waves, 0.7 * waves], axis=2)
    inside = (x - columns / 2) ** 2 + (y - rows / 2) ** 2 < (0.47 * rows) ** 2 if field else np.ones_like(x, bool)
    return np.clip(colours * inside[..., None], 0, 255).astype(np.uint8)


def spoilt(name, image, severity, seed=0):
    return CORRUPTIONS.build(name)(image, severity=severity, rng=np.random.default_rng(seed))


@each
@pytest.mark.parametrize("shape", [(72, 96), (96, 64), (28, 28)])
@pytest.mark.parametrize("severity", [0.3, 1.0])
def test_shape_and_kind_stay_and_the_image_given_too(name, shape, severity):
    image = picture(*shape)
    before = image.copy()
    found = spoilt(name, image, severity)
    assert found.shape == image.shape
    assert found.dtype == np.uint8
    assert not np.shares_memory(found, image)
    np.testing.assert_array_equal(image, before)


@each
def test_severity_0_changes_nothing_and_severity_1_does(name):
    for image in (picture(), picture(field=False)):
        np.testing.assert_array_equal(spoilt(name, image, 0.0), image)
        assert (spoilt(name, image, 1.0) != image).any()


@each
@pytest.mark.parametrize("field", [True, False])
def test_the_distance_to_the_clean_image_grows_with_severity_on_average(name, field):
    image = picture(field=field)
    apart = [
        np.mean([np.abs(spoilt(name, image, s, seed).astype(float) - image).mean() for seed in range(8)])
        for s in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    assert (np.diff(apart) > 0).all(), apart


@pytest.mark.parametrize("modality", ["oct", "chest_xray", "ultrasound", "mr"])
def test_a_grey_image_stays_grey_in_the_suites_of_grey_images(modality):
    grey = np.repeat(picture(field=False)[..., 1:2], 3, axis=2)
    for name in SUITES[modality]:
        found = spoilt(name, grey, 0.7)
        assert (found == found[..., :1]).all(), name


@each
def test_the_generator_alone_decides(name):
    image = picture()
    np.testing.assert_array_equal(spoilt(name, image, 0.6, 5), spoilt(name, image, 0.6, 5))


@each
@pytest.mark.parametrize("severity", [-0.1, 1.5, float("nan")])
def test_a_severity_out_of_range_is_refused(name, severity):
    with pytest.raises(UsageError, match="severity"):
        spoilt(name, picture(), severity)
