"""Image quality: the field is found, sizes do not matter, verdicts follow corruptions, strangers are not judged."""

from __future__ import annotations

import dataclasses
import json
import math

import cv2
import numpy as np
import pytest

from tapetum.archive.quality import QUALITY_FEATURES, REASONS, THRESHOLD, Model, features, judge
from tapetum.archive.quality.field import find_field, normal_view
from tapetum.archive.quality.judge import ADVICE, TOO_SMALL, UNKNOWN, shipped
from tapetum.core.errors import ArtefactError, UsageError
from tapetum.core.types import Laterality
from tapetum.phantom import EyeSpec, render_eye
from tapetum.phantom.corruptions import Shot, corrupt, shot_of


def photograph(identity: int, size: int = 320, **options) -> Shot:
    eye = EyeSpec(Laterality.RIGHT, identity, {"drusen": 0.5}, **options)
    return shot_of(render_eye(eye, size=size, rng=np.random.default_rng(identity)))


@pytest.fixture(scope="module")
def good() -> list[Shot]:
    return [photograph(i, camera=("cam_a", "cam_b", "cam_c")[i % 3]) for i in range(6)]


def told(image: np.ndarray) -> dict[str, float]:
    return dict(zip(QUALITY_FEATURES, features(image).tolist(), strict=True))


def disc(height: int, width: int, cx: float, cy: float, rx: float, ry: float) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    inside = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 <= 1
    return (inside[..., None] * np.array([160, 90, 50])).astype(np.uint8)


# --- the field -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("height", "width", "cx", "cy", "rx", "ry"),
    [(400, 500, 250, 200, 180, 180), (300, 300, 150, 150, 147, 147), (256, 256, 128, 128, 100, 126),
     (400, 400, 200, 260, 190, 190), (300, 400, 199, 150, 170, 170)],
)  # fmt: skip
def test_the_field_is_found_whole_squeezed_or_cut_by_the_frame(height, width, cx, cy, rx, ry):
    field = find_field(disc(height, width, cx, cy, rx, ry))
    assert field.found
    assert (field.x, field.y) == (pytest.approx(cx, abs=3), pytest.approx(cy, abs=3))
    assert (field.radius_x, field.radius_y) == (pytest.approx(rx, rel=0.02), pytest.approx(ry, rel=0.02))


def test_completeness_is_the_share_of_the_circle_in_the_frame():
    # The frame ends at the circle's middle: half of it is there.
    assert told(disc(200, 400, 200, 0, 150, 150))["completeness"] == pytest.approx(0.5, abs=0.03)
    assert told(disc(400, 400, 200, 200, 150, 150))["completeness"] == pytest.approx(1, abs=0.01)


def test_the_normal_view_is_the_field_and_nothing_else():
    image = disc(400, 600, 300, 200, 120, 120)
    view, inside = normal_view(image, find_field(image))
    assert view.shape == (256, 256, 3)
    assert (view[inside][:, 0] > 100).mean() > 0.97
    assert (view[~inside][:, 0] < 60).mean() > 0.8


def test_fog_over_the_surround_does_not_hide_the_field(good):
    image = np.clip(good[0].image * 0.35 + 120, 0, 255).astype(np.uint8)
    assert find_field(image).found


# --- features --------------------------------------------------------------------------------------------------------


def test_features_are_finite_float32_and_repeatable(good):
    first = features(good[0].image)
    assert first.dtype == np.float32
    assert first.shape == (len(QUALITY_FEATURES),)
    assert np.isfinite(first).all()
    assert np.array_equal(first, features(good[0].image.copy()))


@pytest.mark.parametrize("shape", [(28, 28), (28, 400), (97, 41), (512, 640)])
@pytest.mark.parametrize("level", [0, 7, 255])
def test_any_image_has_features(shape, level):
    assert np.isfinite(features(np.full((*shape, 3), level, np.uint8))).all()


def test_border_and_size_say_nothing(good):
    image = good[1].image
    wide = cv2.copyMakeBorder(image, 40, 90, 130, 20, cv2.BORDER_CONSTANT)
    a, b = judge(features(image)), judge(features(wide))
    assert a.gradable == pytest.approx(b.gradable, abs=0.15)
    large = photograph(1, size=640, camera="cam_b").image
    assert judge(features(large)).gradable > THRESHOLD


def test_haar_energy_of_a_known_pattern():
    """Columns of period two have their detail in the first scale alone; smooth light has none anywhere."""
    y, x = np.mgrid[:256, :256]
    inside = np.hypot(x - 127.5, y - 127.5) <= 127
    columns = np.where(x % 2 == 0, 80, 120)
    striped = told((inside * columns)[..., None].repeat(3, axis=2).astype(np.uint8))
    flat = told((inside * 100)[..., None].repeat(3, axis=2).astype(np.uint8))
    assert striped["haar_1"] - striped["haar_3"] > 2
    assert striped["haar_1"] - flat["haar_1"] > 1


@pytest.mark.parametrize(
    ("kind", "feature", "rises"),
    [("jpeg", "grid", True), ("noise", "noise_level", True), ("defocus", "haar_1", False), ("haze", "veil_blue", True),
     ("dark", "green", False), ("overexposed", "clipped_white", True), ("uneven", "sector_least", False),
     ("crop", "completeness", False), ("motion", "direction", True), ("dust", "dark_spots", True)],
)  # fmt: skip
def test_each_corruption_moves_its_feature(good, kind, feature, rises):
    moved = []
    for i, shot in enumerate(good):
        bad = corrupt(shot, kind, 0.8, rng=np.random.default_rng(i))
        moved.append(told(bad.image)[feature] - told(shot.image)[feature])
    assert np.mean(np.array(moved) > 0) >= 5 / 6 if rises else np.mean(np.array(moved) < 0) >= 5 / 6


@pytest.mark.parametrize(
    "image",
    [np.zeros((27, 40, 3), np.uint8), np.zeros((40, 40), np.uint8), np.zeros((40, 40, 4), np.uint8),
     np.zeros((40, 40, 3), np.float32)],
)  # fmt: skip
def test_another_shape_is_refused(image):
    with pytest.raises(UsageError, match="8-bit RGB"):
        features(image)


# --- verdicts --------------------------------------------------------------------------------------------------------


def test_good_photographs_are_gradable_without_a_reason(good):
    verdicts = [judge(features(shot.image)) for shot in good]
    assert all(v.gradable > THRESHOLD and not v.reason and not v.advice for v in verdicts)


@pytest.mark.parametrize(
    ("kind", "strength", "reason"),
    [("defocus", 0.8, "blurred"), ("dark", 0.85, "dark"), ("overexposed", 0.95, "overexposed"), ("haze", 0.9, "hazy"),
     ("noise", 0.8, "noisy"), ("jpeg", 0.97, "compressed"), ("lashes", 0.9, "artefact"), ("crop", 0.7, "off-centre"),
     ("uneven", 1.0, "uneven light"), ("fog", 0.8, "hazy"), ("motion", 0.6, "blurred")],
)  # fmt: skip
def test_spoilt_photographs_are_not_and_say_why(good, kind, strength, reason):
    verdicts = [
        judge(features(corrupt(shot, kind, strength, rng=np.random.default_rng(i)).image))
        for i, shot in enumerate(good)
    ]
    assert sum(not v.gradable >= THRESHOLD for v in verdicts) >= 5  # one that is not judged is not called gradable
    assert sum(v.reason == reason for v in verdicts) >= 4
    assert all(v.advice == ADVICE.get(v.reason, "") for v in verdicts)


def test_a_frame_that_cuts_top_and_bottom_is_no_fault(good):
    """Many cameras store such a field; one side cut off by half is another thing."""
    judged = []
    for shot in good:
        _, y, radius = shot.circle
        middle = shot.image[round(y - 0.85 * radius) : round(y + 0.85 * radius)]
        judged.append(judge(features(np.ascontiguousarray(middle))).gradable)
    assert min(judged) > THRESHOLD


@pytest.mark.parametrize("kind", ["pixelate", "speckle"])
def test_kinds_never_trained_on_are_seen(good, kind):
    for i, shot in enumerate(good):
        assert judge(features(corrupt(shot, kind, 0.9, rng=np.random.default_rng(i)).image)).gradable < THRESHOLD


def strangers() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:256, :256]
    grey_disc = (np.hypot(x - 128, y - 128) < 120) * rng.integers(90, 160, (256, 256))
    return {
        "black": np.zeros((256, 256, 3), np.uint8),
        "noise": rng.integers(0, 256, (256, 256, 3), dtype=np.uint8),
        "grey disc, as a slice of a head": grey_disc[..., None].repeat(3, axis=2).astype(np.uint8),
        "page of text": np.full((300, 200, 3), 250, np.uint8),
        "blue disc": disc(256, 256, 128, 128, 110, 110)[..., ::-1].copy(),
    }


@pytest.mark.parametrize("name", list(strangers()))
def test_what_is_no_fundus_photograph_is_not_judged(name):
    verdict = judge(features(strangers()[name]))
    assert math.isnan(verdict.gradable)
    assert verdict.reason == UNKNOWN
    assert not verdict.advice


def test_a_thumbnail_is_not_called_blurred(good):
    verdict = judge(features(cv2.resize(good[0].image, (64, 64), interpolation=cv2.INTER_AREA)))
    assert math.isnan(verdict.gradable)
    assert verdict.reason == TOO_SMALL


def test_every_reason_has_advice():
    assert set(REASONS) == set(ADVICE)
    assert all(text.endswith(".") for text in ADVICE.values())


def test_features_of_another_length_are_refused():
    with pytest.raises(UsageError, match="shape"):
        judge(np.zeros(3, np.float32))


# --- the file --------------------------------------------------------------------------------------------------------


def test_the_model_is_small_and_comes_out_as_it_went_in():
    text = json.dumps(shipped().as_dict())
    assert len(text) < 50_000
    again = Model.from_dict(json.loads(text))
    rows = np.random.default_rng(0).normal(size=(5, len(QUALITY_FEATURES))).astype(np.float32)
    assert np.allclose(again.outputs(rows)[0], shipped().outputs(rows)[0])


def test_the_model_by_hand():
    """One feature, one unit: 1 / (1 + exp(-(2 tanh((0.5 − 0.25) / 0.5 · 3 − 1) + 0.1)))."""
    one = np.ones(1)
    model = Model(("red",), 0 * one, 0.5 * one, 0.25 * one, 0.5 * one, np.array([[3.0]]), -one,
                  np.array([[2.0], [0.1]]), np.zeros((2, len(REASONS))))  # fmt: skip
    rows = np.zeros((1, len(QUALITY_FEATURES)), np.float32)
    rows[0, QUALITY_FEATURES.index("red")] = 0.9  # cut to 0.5
    expected = 1 / (1 + math.exp(-(2 * math.tanh(0.25 / 0.5 * 3 - 1) + 0.1)))
    assert model.outputs(rows)[0][0] == pytest.approx(expected)


def test_a_foreign_model_is_refused():
    raw = shipped().as_dict()
    with pytest.raises(ArtefactError, match="schema"):
        Model.from_dict(raw | {"schema": 99})
    with pytest.raises(ArtefactError, match="aura"):
        Model.from_dict(raw | {"names": ["aura", *shipped().names[1:]]})
    with pytest.raises(ArtefactError):
        Model.from_dict(dict(raw, reason_names=["ugly"]))


def test_a_verdict_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        judge(features(np.zeros((64, 64, 3), np.uint8))).gradable = 1.0
