"""The renderer: what the masks say is what the picture shows."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tapetum.core.errors import UsageError
from tapetum.core.types import Laterality
from tapetum.phantom import EyeSpec, RenderedEye, render_eye, sign_names
from tapetum.phantom.anatomy import Vessel, grow_anatomy
from tapetum.phantom.camera import CAMERAS
from tapetum.phantom.canvas import Canvas, Pose
from tapetum.phantom.spec import ANATOMICAL, SIGNS

RIGHT, LEFT = Laterality.RIGHT, Laterality.LEFT


def seen(eye: EyeSpec, size: int = 192, seed: int = 0) -> RenderedEye:
    return render_eye(eye, size=size, rng=np.random.default_rng(seed))


def luminance(image: np.ndarray) -> np.ndarray:
    return image.astype(float).mean(axis=2)


def contrast(picture: RenderedEye, name: str) -> float:
    """Mean grey level inside a mask minus that of a ring three pixels outside, vessels left out."""
    mask = picture.masks[name]
    if name == "optic_disc":
        mask = mask & ~picture.masks["vessels"]
    wide = cv2.dilate(mask.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    near = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    ring = wide & ~near & picture.masks["field_of_view"]
    if name not in ("vessels", "arteries", "veins"):
        ring &= ~picture.masks["vessels"] & ~picture.masks["optic_disc"]
    grey = luminance(picture.image)
    return float(grey[mask].mean() - grey[ring].mean())


@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.8])
def test_measured_cup_disc_ratio_is_the_one_asked_for(ratio: float):
    picture = seen(EyeSpec(RIGHT, 5, cup_disc_ratio=ratio), size=512)
    heights = [int(picture.masks[name].any(axis=1).sum()) for name in ("optic_cup", "optic_disc")]
    assert abs(heights[0] / heights[1] - ratio) < 2 / heights[1]
    assert not (picture.masks["optic_cup"] & ~picture.masks["optic_disc"]).any()


def test_cupping_enlarges_the_cup_by_its_severity():
    assert EyeSpec(RIGHT, 1, {"optic_disc_cupping": 1.0}).cup_ratio == pytest.approx(0.92)
    assert EyeSpec(RIGHT, 1, {"optic_disc_cupping": 0.5}).cup_ratio == pytest.approx(0.76)
    assert EyeSpec(RIGHT, 1, cup_disc_ratio=0.4).cup_ratio == 0.4


def test_narrowing_thins_arteries_only():
    wide, thin = (grow_anatomy(EyeSpec(RIGHT, 9, signs)) for signs in ({}, {"arteriolar_narrowing": 1.0}))
    trunks = [[float(v.width[0]) for v in eye.arteries if v.generation == 0] for eye in (wide, thin)]
    assert np.allclose(np.array(trunks[1]) / np.array(trunks[0]), 0.55)
    assert [v.width[0] for v in wide.veins[:4]] == [v.width[0] for v in thin.veins[:4]]


def test_disc_is_nasal_and_bright_in_both_eyes():
    for side, sign in ((RIGHT, 1), (LEFT, -1)):
        picture = seen(EyeSpec(side, 11))
        columns = np.nonzero(picture.masks["optic_disc"])[1]
        assert sign * (columns.mean() - 95.5) > 30
        assert sign * (picture.landmarks["disc"][0] - picture.landmarks["fovea"][0]) > 60
        assert contrast(picture, "optic_disc") > 15


def test_left_eye_is_the_mirror_image_of_a_right_one():
    right, left = seen(EyeSpec(RIGHT, 3, {"drusen": 0.6})), seen(EyeSpec(LEFT, 3, {"drusen": 0.6}))
    for name in ("optic_disc", "optic_cup", "vessels", "drusen"):
        assert np.array_equal(right.masks[name], left.masks[name][:, ::-1])
    assert left.landmarks["fovea"][0] == pytest.approx(191 - right.landmarks["fovea"][0])


def test_landmarks_lie_in_the_middle_of_their_masks():
    picture = seen(EyeSpec(LEFT, 21), size=256)
    rows, columns = np.nonzero(picture.masks["optic_disc"])
    assert picture.landmarks["disc"][:2] == pytest.approx((columns.mean(), rows.mean()), abs=0.6)
    assert picture.landmarks["disc"][3] == pytest.approx((rows.max() - rows.min() + 1) / 2, abs=1.0)


@pytest.mark.parametrize("name", ["hard_exudate", "cotton_wool_spot", "drusen", "geographic_atrophy", "laser_scar",
                                  "myelinated_nerve_fibres", "myopic_crescent", "epiretinal_membrane"])  # fmt: skip
@pytest.mark.parametrize("camera", ["cam_a", "cam_b"])
def test_pale_signs_are_brighter_than_their_surroundings(name: str, camera: str):
    assert contrast(seen(EyeSpec(RIGHT, 17, {name: 0.7}, camera=camera), size=256), name) > 3


@pytest.mark.parametrize("name", ["dot_blot_haemorrhage", "flame_haemorrhage", "branch_retinal_vein_occlusion",
                                  "macular_hole", "microaneurysm", "retinitis_pigmentosa",
                                  "choroidal_naevus"])  # fmt: skip
def test_dark_signs_are_darker_than_their_surroundings(name: str):
    assert contrast(seen(EyeSpec(LEFT, 17, {name: 0.7}), size=256), name) < -5


def test_veins_are_darker_than_arteries_and_both_than_the_retina():
    eye = seen(EyeSpec(RIGHT, 8), size=384)
    assert contrast(eye, "veins") < contrast(eye, "arteries") < -4


@pytest.mark.parametrize("name", sign_names())
def test_every_sign_changes_the_picture_and_marks_its_pixels(name: str):
    """The family's contract: file name = mask name, severity grows, the rest of the eye stays."""
    normal, mild, severe = (seen(EyeSpec(RIGHT, 31, s)) for s in ({}, {name: 0.3}, {name: 0.95}))
    assert name not in normal.masks
    assert mild.masks[name].any()
    if name not in ("arteriolar_narrowing", "vessel_tortuosity"):
        assert severe.masks[name].sum() >= mild.masks[name].sum()
    changes = [np.abs(x.image.astype(int) - normal.image).mean() for x in (mild, severe)]
    assert 0 < changes[0] < changes[1]
    assert not (severe.masks[name] & ~severe.masks["field_of_view"]).any()
    if name not in ANATOMICAL:
        assert np.array_equal(severe.masks["vessels"], normal.masks["vessels"])
        assert severe.counts[name] >= mild.counts[name] >= 1
        assert SIGNS.member(name).__name__ == name


@pytest.mark.parametrize("name", ["microaneurysm", "dot_blot_haemorrhage", "hard_exudate", "cotton_wool_spot",
                                  "laser_scar", "flame_haemorrhage", "branch_retinal_vein_occlusion"])  # fmt: skip
def test_severe_disease_contains_what_mild_disease_showed(name: str):
    mild, severe = (seen(EyeSpec(RIGHT, 12, {name: s})).masks[name] for s in (0.3, 0.8))
    assert not (mild & ~severe).any()


def test_calibres_are_drawn_as_wide_as_they_are():
    anatomy, pose = grow_anatomy(EyeSpec(RIGHT, 1)), Pose()
    canvas = Canvas(400, pose, anatomy, *pose.grids(400))
    for width_px in (3.0, 5.5, 9.0):
        line = np.stack([np.linspace(-0.5, 0.5, 30), np.linspace(-0.2, 0.4, 30)], axis=1)
        vessel = Vessel(line, np.full(30, width_px / pose.scale(400)), 0)
        length = float(np.hypot(1.0, 0.6)) * pose.scale(400)
        assert canvas.strokes([vessel]).sum() / length == pytest.approx(width_px, abs=0.5)


def test_courses_run_inside_the_vessel_mask():
    picture = seen(EyeSpec(LEFT, 4), size=384)
    trunks = [c for c in picture.courses if c.generation == 0]
    assert {c.kind for c in trunks} == {"artery", "vein"}
    points = np.round(np.concatenate([c.points[8:-8] for c in trunks])).astype(int)
    points = points[((points >= 0) & (points < 384)).all(axis=1)]
    points = points[picture.masks["field_of_view"][points[:, 1], points[:, 0]]]
    assert picture.masks["vessels"][points[:, 1], points[:, 0]].mean() > 0.97


def test_the_fovea_has_no_vessels():
    for identity in range(6):
        picture = seen(EyeSpec(RIGHT, identity), size=256)
        x, y = (round(v) for v in picture.landmarks["fovea"])
        assert not picture.masks["vessels"][y - 5 : y + 6, x - 5 : x + 6].any()


def test_same_generator_same_bytes_and_another_one_another_photograph_of_the_same_eye():
    eye = EyeSpec(RIGHT, 6, {"hard_exudate": 0.5})
    first, again, later = seen(eye), seen(eye), seen(eye, seed=1)
    assert np.array_equal(first.image, again.image)
    assert not np.array_equal(first.image, later.image)
    assert abs(int(first.masks["hard_exudate"].sum()) / int(later.masks["hard_exudate"].sum()) - 1) < 0.25


def test_shape_of_the_eye_does_not_depend_on_the_size_of_the_picture():
    small, large = seen(EyeSpec(RIGHT, 6), size=128), seen(EyeSpec(RIGHT, 6), size=384)
    assert np.array(large.landmarks["disc"][:2]) / 383 == pytest.approx(
        np.array(small.landmarks["disc"][:2]) / 127, abs=0.01
    )
    assert small.anatomy.forks == large.anatomy.forks


@pytest.mark.parametrize("camera", sorted(CAMERAS))
def test_outside_the_field_it_is_black(camera: str):
    picture = seen(EyeSpec(RIGHT, 2, camera=camera))
    assert picture.image[~picture.masks["field_of_view"]].max() == 0
    assert 0.6 < picture.masks["field_of_view"].mean() < 0.8


def test_cameras_differ_in_colour_more_than_two_pictures_of_one_camera():
    def colour(camera: str, seed: int) -> np.ndarray:
        picture = seen(EyeSpec(RIGHT, 2, camera=camera), seed=seed)
        pixels = picture.image[picture.masks["field_of_view"]].mean(axis=0)
        return pixels / pixels.sum()

    within = np.abs(colour("cam_a", 0) - colour("cam_a", 1)).max()
    between = min(np.abs(colour("cam_a", 0) - colour(c, 0)).max() for c in ("cam_b", "cam_c"))
    assert between > 3 * within


def test_bad_quality_is_what_it_says():
    good, blurred, dark, hazy, off = (
        seen(EyeSpec(RIGHT, 2, quality=q), size=256) for q in ("good", "blur", "dark", "haze", "off_centre")
    )

    def sharpness(picture: RenderedEye) -> float:
        middle = picture.image[60:196, 60:196, 1].astype(np.float32)
        return float(cv2.Laplacian(cv2.GaussianBlur(middle, (0, 0), 1.5), cv2.CV_32F).std())

    assert sharpness(blurred) < 0.5 * sharpness(good)
    assert luminance(dark.image).mean() < 0.6 * luminance(good.image).mean()
    assert contrast(hazy, "vessels") > 0.7 * contrast(good, "vessels")
    shift = np.hypot(*(np.array(off.landmarks["fovea"]) - good.landmarks["fovea"]))
    assert shift == pytest.approx(0.34 * 128 * CAMERAS["cam_a"].reach, abs=1)


def test_marker_lies_in_the_corner_and_nowhere_else():
    plain, marked = seen(EyeSpec(RIGHT, 2)), seen(EyeSpec(RIGHT, 2, marker="corner"))
    changed = (plain.image != marked.image).any(axis=2)
    assert changed.any()
    assert not changed[20:].any()
    assert not changed[:, 20:].any()


@pytest.mark.parametrize(
    "wrong",
    [
        {"laterality": Laterality.BOTH},
        {"signs": {"drusn": 0.5}},
        {"signs": {"drusen": 0.0}},
        {"signs": {"drusen": 1.2}},
        {"cup_disc_ratio": 1.0},
        {"age_years": -1.0},
        {"quality": "blurry"},
        {"marker": "edge"},
    ],
)
def test_an_impossible_eye_is_refused(wrong: dict):
    with pytest.raises(UsageError):
        EyeSpec(**({"laterality": RIGHT, "identity": 1} | wrong))


def test_unknown_camera_and_size_are_refused():
    with pytest.raises(UsageError, match="cam_a"):
        seen(EyeSpec(RIGHT, 1, camera="cam_x"))
    with pytest.raises(UsageError, match="64"):
        seen(EyeSpec(RIGHT, 1), size=32)
