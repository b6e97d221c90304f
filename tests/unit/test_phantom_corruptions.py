"""Corruptions of the phantom: nothing at strength 0, worse with strength, and what stays visible says so."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tapetum.core.errors import UsageError
from tapetum.core.types import Laterality
from tapetum.phantom import EyeSpec, render_eye
from tapetum.phantom.corruptions import HELD_OUT, KINDS, TRAINED, Shot, corrupt, shot_of
from tapetum.phantom.visibility import gradable_share, visible_shares

FRAMINGS = ("crop", "off_centre")


@pytest.fixture(scope="module")
def good() -> Shot:
    eye = EyeSpec(Laterality.RIGHT, 5, {"drusen": 0.6})
    return shot_of(render_eye(eye, size=256, rng=np.random.default_rng(0)))


def spoilt(shot: Shot, kind: str, strength: float, seed: int = 3) -> Shot:
    return corrupt(shot, kind, strength, rng=np.random.default_rng(seed))


def test_kinds_for_training_and_for_measuring_are_apart_and_complete():
    assert not set(TRAINED) & set(HELD_OUT)
    assert set(TRAINED) | set(HELD_OUT) == set(KINDS)
    assert len(KINDS) == 21


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in FRAMINGS])
def test_strength_nought_changes_next_to_nothing(good, kind):
    first = spoilt(good, kind, 0.0)
    difference = np.abs(first.image.astype(int) - good.image.astype(int))[good.field]
    assert difference.mean() < 3  # JPEG of quality 95 moves colours by two grey levels
    assert gradable_share(good, first) == 1.0


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in (*FRAMINGS, "cast")])
def test_more_strength_leaves_less_visible(good, kind):
    shares = [np.mean(visible_shares(good, spoilt(good, kind, s))) for s in (0.0, 0.5, 1.0)]
    assert shares[0] > shares[1] > shares[2] or shares[1] == shares[2] == 0
    # A double image and a half shadow leave something to the most lenient readers.
    assert gradable_share(good, spoilt(good, kind, 1.0)) <= (0.5 if kind in ("ghost", "uneven") else 0.0)


def test_a_colour_cast_hides_nothing(good):
    assert gradable_share(good, spoilt(good, "cast", 1.0)) > 0.6


@pytest.mark.parametrize("kind", KINDS)
def test_the_surround_stays_black_and_the_same_seed_gives_the_same_picture(good, kind):
    first, second = spoilt(good, kind, 0.7), spoilt(good, kind, 0.7)
    assert np.array_equal(first.image, second.image)
    assert first.image[~first.field].max(initial=0) == 0
    assert first.image.dtype == np.uint8
    assert first.image.shape[:2] == first.field.shape


def test_dark_is_a_known_gain():
    flat = Shot(np.full((128, 128, 3), 200, np.uint8), np.ones((128, 128), bool), (90.0, 64.0), (40.0, 64.0))
    # (1 − 0.96 · 0.5) ^ 1.3 = 0.4273…
    assert spoilt(flat, "dark", 0.5).image.mean() == pytest.approx(200 * 0.4273, abs=0.5)


def test_crop_keeps_the_rest_and_counts_what_is_lost(good):
    cut = spoilt(good, "crop", 0.4)
    assert cut.image.shape != good.image.shape
    assert cut.kept == pytest.approx(cut.field.sum() / good.field.sum())
    assert max(visible_shares(cut, cut)) == pytest.approx(cut.kept)


def test_off_centre_carries_the_landmarks_along(good):
    moved = spoilt(good, "off_centre", 0.8)
    x, y = (round(v) for v in moved.fovea)
    a, b = (round(v) for v in good.fovea)
    assert np.array_equal(moved.image[y - 3 : y + 4, x - 3 : x + 4], good.image[b - 3 : b + 4, a - 3 : a + 4])


def test_a_disc_outside_the_field_is_never_gradable(good):
    cx, cy, radius = good.circle
    lost = dataclasses.replace(good, disc=(cx + 1.1 * radius, cy))
    assert gradable_share(good, good) == 1.0
    assert gradable_share(good, lost) == 0.0


def test_a_strict_reader_sees_no_more_than_a_lenient_one_in_noise(good):
    shares = visible_shares(good, spoilt(good, "noise", 0.4))
    assert shares[0] > shares[-1]


def test_invalid_use(good):
    with pytest.raises(UsageError, match="defocus"):
        spoilt(good, "defocuss", 0.5)
    with pytest.raises(UsageError, match=r"1\.5"):
        spoilt(good, "haze", 1.5)
    with pytest.raises(UsageError, match="framing"):
        visible_shares(good, spoilt(good, "crop", 0.5))
