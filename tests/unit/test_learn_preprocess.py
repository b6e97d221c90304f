"""Preprocessing, pinned: golden numbers, geometry by hand, invalid use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tapetum.core.errors import ArtefactError, DataError, UsageError
from tapetum.learn.features.preprocess import FILE, Preprocess, _refuse_other_arrays, local_contrast

MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3


def _drawn(height: int = 30, width: int = 40) -> np.ndarray:
    """A gradient with a bright disc: smooth, with one hard edge."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([x * 6, y * 8, (x + y) * 3], axis=2)
    image[(y - 12) ** 2 + (x - 15) ** 2 < 25] = (250, 240, 180)
    return image.astype(np.uint8)


def test_normalisation_by_hand() -> None:
    image = np.full((8, 8, 3), (0, 127, 255), dtype=np.uint8)
    result = Preprocess(8, MEAN, STD)(image)
    np.testing.assert_allclose(result[:, 0, 0], [-127 / 128, 0, 1], atol=1e-6)
    assert result.dtype == np.float32
    assert result.shape == (3, 8, 8)
    assert result.flags.c_contiguous


def test_padding_keeps_the_whole_image_on_black() -> None:
    square = Preprocess(40).resized(_drawn())
    np.testing.assert_array_equal(square[5:35], _drawn())
    assert not square[:5].any()
    assert not square[35:].any()


def test_cropping_keeps_the_centre() -> None:
    np.testing.assert_array_equal(Preprocess(30, fit="crop").resized(_drawn()), _drawn()[:, 5:35])


def test_square_of_the_right_size_is_untouched() -> None:
    image = _drawn(30, 30)
    np.testing.assert_array_equal(Preprocess(30).resized(image), image)


def test_shrinking_is_antialiased() -> None:
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    for resample in ("bilinear", "bicubic"):
        small = Preprocess(16, resample=resample).resized(stripes)[:, 2:-2]
        assert abs(small.astype(int) - 128).max() <= 8  # a sampler without a filter gives 0 or 255


def test_mean_brightness_survives() -> None:
    for size in (16, 100):
        resized = Preprocess(size).resized(_drawn(40, 40)).astype(float)
        assert resized.mean() == pytest.approx(_drawn(40, 40).mean(), abs=1.5)


@pytest.mark.parametrize(
    ("resample", "fit", "golden"),
    [
        ("bilinear", "pad", [[63, 17, 38], [229, 217, 166], [192, 176, 162]]),
        ("bilinear", "crop", [[91, 50, 63], [230, 219, 168], [173, 161, 147]]),
        ("bicubic", "pad", [[61, 11, 36], [250, 238, 180], [195, 179, 164]]),
        ("bicubic", "crop", [[84, 42, 58], [245, 235, 177], [174, 161, 147]]),
    ],
)
def test_golden(resample: str, fit: str, golden: list[list[int]]) -> None:
    resized = Preprocess(8, MEAN, STD, fit, resample).resized(_drawn())
    np.testing.assert_allclose(resized[[1, 3, 5], [2, 3, 6]].astype(int), golden, atol=1)


def test_digest_tells_settings_apart() -> None:
    digests = {Preprocess(8).digest, Preprocess(9).digest, Preprocess(8, fit="crop").digest, Preprocess(8, MEAN).digest}
    assert len(digests) == 4
    assert Preprocess(8).digest == Preprocess(8).digest


def test_travels_as_a_file(tmp_path: Path) -> None:
    original = Preprocess(224, MEAN, STD, "crop", "bilinear")
    original.save(tmp_path)
    assert Preprocess.load(tmp_path) == original
    assert Preprocess.load(tmp_path).digest == original.digest


def test_broken_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="no preprocessor_config"):
        Preprocess.load(tmp_path)
    (tmp_path / FILE).write_text("{")
    with pytest.raises(ArtefactError, match="damaged"):
        Preprocess.load(tmp_path)
    (tmp_path / FILE).write_text('{"size": 8, "maen": [1, 1, 1]}')
    with pytest.raises(UsageError, match="'mean'"):
        Preprocess.load(tmp_path)


@pytest.mark.parametrize(
    "options",
    [{"size": 0}, {"size": 8, "std": (1.0, 0.0, 1.0)}, {"size": 8, "mean": (1.0,)}, {"size": 8, "fit": "squash"},
     {"size": 8, "resample": "nearest"}],
)  # fmt: skip
def test_wrong_settings(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Preprocess(**options)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_wrong_pixels(image: np.ndarray) -> None:
    with pytest.raises(DataError, match="uint8"):
        _refuse_other_arrays(image)  # behind the annotated doors, where beartype would answer first in the test run
    with pytest.raises((DataError, TypeError)):
        Preprocess(8).resized(image)


def test_local_contrast_of_an_even_field_is_grey() -> None:
    image = np.full((64, 64, 3), 90, dtype=np.uint8)
    assert (local_contrast(image) == 128).all()


def test_local_contrast_forgets_lighting_and_keeps_a_lesion() -> None:
    yy, xx = np.mgrid[:128, :128]
    disc = (yy - 64) ** 2 + (xx - 64) ** 2 < 60**2
    ramp = np.where(disc, 60 + xx // 2, 0).astype(np.uint8)
    lesion = (yy - 60) ** 2 + (xx - 64) ** 2 < 3**2
    image = np.repeat(np.where(lesion, ramp + 20, ramp)[..., None].astype(np.uint8), 3, axis=2)
    contrast = local_contrast(image).astype(int)
    assert (contrast[~disc] == 128).all()
    inner = (yy - 64) ** 2 + (xx - 64) ** 2 < 40**2
    far = inner & ((yy - 60) ** 2 + (xx - 64) ** 2 > 15**2)
    assert np.abs(contrast[far] - 128).mean() < 12  # a slope of 40 grey levels across the field is gone
    assert contrast[lesion].mean() > 128 + 40


def test_the_view_is_part_of_the_preprocessing(tmp_path: Path) -> None:
    view = Preprocess(64, MEAN, STD, view="local_contrast")
    view.save(tmp_path)
    assert Preprocess.load(tmp_path) == view
    assert view.digest != Preprocess(64, MEAN, STD).digest
    with pytest.raises(UsageError, match="view"):
        Preprocess(64, view="sepia")
