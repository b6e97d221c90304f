"""Which eye: the disc's side, names of files, and conflicts."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tapetum.archive.intake.laterality import Disc, conflict, find_disc, of_file_name
from tapetum.core.types import Laterality
from tapetum.phantom import ClinicConfig, make_clinic

OD, OS, UNKNOWN = Laterality.RIGHT, Laterality.LEFT, Laterality.UNKNOWN


@pytest.fixture(scope="module")
def eyes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clinic")
    clinic = make_clinic(folder / "c", ClinicConfig(patients=12, seed=5, degraded=0.0))
    lines = clinic.table.read_text(encoding="utf-8").splitlines()
    found = []
    for line in lines[1:]:
        cells = line.split(",")
        if len(cells) > 3 and cells[2] in ("OD", "OS"):
            image = cv2.imread(str(clinic.path / cells[0]))
            found.append((Laterality(cells[2]), np.ascontiguousarray(image[..., ::-1])))
    assert len(found) == 24
    return found


def test_disc_side_never_contradicts_the_phantom_and_is_mostly_found(eyes):
    sides = [find_disc(image).side for _, image in eyes]
    assert all(side in (UNKNOWN, eye) for side, (eye, _) in zip(sides, eyes, strict=True))
    assert sum(side is not UNKNOWN for side in sides) >= 8


def test_mirrored_images_show_the_other_eye(eyes):
    for eye, image in eyes:
        side = find_disc(np.ascontiguousarray(image[:, ::-1])).side
        assert side is UNKNOWN or side is not eye


def test_a_drawn_disc_is_found_where_it_was_drawn():
    image = np.zeros((256, 256, 3), np.uint8)
    cv2.circle(image, (128, 128), 120, (120, 60, 30), -1)
    cv2.circle(image, (188, 128), 14, (250, 220, 150), -1)
    disc = find_disc(image)
    assert disc.x == pytest.approx(0.5, abs=0.06)
    assert disc.y == pytest.approx(0.0, abs=0.06)
    assert disc.side is OD


@pytest.mark.parametrize("image", [np.zeros((64, 64, 3), np.uint8), np.full((40, 40, 3), 255, np.uint8)])
def test_no_eye_is_seen_in_a_flat_image(image):
    assert find_disc(image).side is UNKNOWN


def test_a_disc_near_the_middle_or_the_rim_says_nothing():
    assert Disc(0.1, 0.0, 9.0).side is UNKNOWN
    assert Disc(0.9, 0.0, 9.0).side is UNKNOWN
    assert Disc(0.5, 0.6, 9.0).side is UNKNOWN
    assert Disc(-0.5, 0.1, 9.0).side is OS


@pytest.mark.parametrize(
    ("name", "eye"),
    [
        ("a/0042_OD_1.jpg", OD), ("x-left.png", OS), ("12_right.jpg", OD), ("R12.dcm", OD), ("border.jpg", UNKNOWN),
        ("model.png", UNKNOWN), ("left/0042.jpg", UNKNOWN), ("od_os_pair.jpg", UNKNOWN), ("scan OS.e2e#2", OS),
    ],
)  # fmt: skip
def test_eye_of_a_file_name(name, eye):
    assert of_file_name(name) is eye


def test_conflicts_name_who_says_what():
    assert conflict(OD, {"file name": OD, "side of the disc": UNKNOWN}) == ""
    assert "the side of the disc says OS" in conflict(OD, {"side of the disc": OS})
    assert "the file name says OD, the report says OS" in conflict(UNKNOWN, {"file name": OD, "report": OS})
    assert conflict(Laterality.BOTH, {"file name": OD}) == ""
