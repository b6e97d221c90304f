"""What holds for every eye the phantom can grow."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tapetum.core.types import Laterality
from tapetum.phantom import EyeSpec
from tapetum.phantom.anatomy import grow_anatomy
from tapetum.phantom.canvas import Pose

EYES = st.builds(
    EyeSpec,
    laterality=st.just(Laterality.RIGHT),
    identity=st.integers(0, 2**40),
    cup_disc_ratio=st.floats(0.05, 0.9),
)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(EYES)
def test_forks_follow_murrays_law(eye: EyeSpec):
    forks = grow_anatomy(eye).forks
    assert len(forks) > 20
    parent, rest, branch = np.array([(f.parent, f.continuing, f.branch) for f in forks]).T
    assert np.allclose(parent**3, rest**3 + branch**3, rtol=1e-9)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(EYES)
def test_anatomy_is_plausible(eye: EyeSpec):
    anatomy = grow_anatomy(eye)
    assert np.all(np.abs(anatomy.cup - anatomy.disc) + anatomy.cup_axes <= anatomy.disc_axes + 1e-9)
    assert anatomy.cup_axes[1] / anatomy.disc_axes[1] == eye.cup_ratio or np.isclose(
        anatomy.cup_axes[1] / anatomy.disc_axes[1], eye.cup_ratio
    )
    separation = np.hypot(*(anatomy.disc - anatomy.fovea)) / (2 * anatomy.disc_axes[1])
    assert 2.0 < separation < 3.2
    trunks = [[v.width[0] for v in kind if v.generation == 0] for kind in (anatomy.arteries, anatomy.veins)]
    assert np.mean(trunks[0]) < np.mean(trunks[1])
    assert all(np.all(np.diff(v.width) <= 1e-12) for v in (*anatomy.arteries, *anatomy.veins))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.floats(-0.3, 0.3), st.floats(-0.3, 0.3), st.floats(-20, 20), st.floats(0.8, 1.3), st.sampled_from([64, 101, 256])
)
def test_pixels_and_retina_coordinates_are_inverse(dx: float, dy: float, angle: float, zoom: float, size: int):
    pose = Pose((dx, dy), angle, zoom, 0.96)
    x, y = pose.grids(size)
    for row, column in ((0, 0), (size // 3, size // 2), (size - 1, 5)):
        point = np.array([[x[row, column], y[row, column]]], dtype=float)
        assert np.allclose(pose.to_pixels(point, size), [[column, row]], atol=1e-3)
