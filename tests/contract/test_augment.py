"""What every augmentation promises, and what each of them does, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps
from scipy import ndimage

from tapetum.core.errors import UsageError
from tapetum.core.registry import Family
from tapetum.learn.augment.rand_augment import OPERATIONS
from tapetum.learn.features.loader import image_rng

AUGMENT = Family("tapetum.learn.augment")
SPECS = {
    "geometric": "geometric(upside=0.5, rotate=40.0, crop=0.4)",
    "photometric": "photometric(strength=2.0)",
    "erase": "erase(probability=1.0)",
    "fundus_artefacts": "fundus_artefacts(probability=1.0)",
    "rand_augment": "rand_augment(count=4, magnitude=0.5)",
}
each = pytest.mark.parametrize("spec", SPECS.values(), ids=list(SPECS))


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def pictures(n=5, side=24, seed=0):
    images = torch.from_numpy(np.random.default_rng(seed).random((n, 3, side, side), dtype=np.float32))
    images[:, :, :4] = 0.0
    return images


def rngs(n, epoch=0):
    return [image_rng(0, epoch, f"image{i}") for i in range(n)]


def test_every_member_is_here():
    assert set(SPECS) == set(AUGMENT.names())


@each
def test_shape_type_and_range_stay_and_the_input_is_not_written_to(spec):
    images = pictures()
    before = images.clone()
    out = AUGMENT.build(spec)(images, rngs=rngs(5))
    assert out.shape == images.shape
    assert out.dtype == torch.float32
    assert float(out.min()) >= 0
    assert float(out.max()) <= 1
    assert torch.equal(images, before)
    assert all(not torch.equal(a, b) for a, b in zip(out, images, strict=True))


@each
def test_the_same_whatever_the_batch_and_the_order(spec):
    change, images = AUGMENT.build(spec), pictures()
    together = change(images, rngs=rngs(5))
    alone = torch.cat([change(images[i : i + 1], rngs=rngs(5)[i : i + 1]) for i in range(5)])
    order = [3, 1, 4, 0, 2]
    mixed = change(images[order], rngs=[rngs(5)[i] for i in order])
    assert torch.equal(together, alone)
    assert torch.equal(mixed, together[order])


@each
def test_strength_0_is_the_identity(spec):
    member = SPECS[spec.partition("(")[0]]
    assert torch.equal(AUGMENT.build(member.replace(", strength=2.0", "").replace("strength=2.0", ""),
                                     strength=0.0)(pictures(), rngs=rngs(5)), pictures())  # fmt: skip


@each
def test_another_epoch_gives_another_picture(spec):
    change = AUGMENT.build(spec)
    assert not torch.equal(change(pictures(), rngs=rngs(5, 0)), change(pictures(), rngs=rngs(5, 1)))


@each
def test_a_generator_draws_equally_often_whatever_happens(spec):
    """Members share the generator of an image: a later one must not depend on what an earlier one drew."""
    mine, change = rngs(40), AUGMENT.build(spec)
    before = rngs(40)
    change(pictures(40), rngs=mine)
    steps = {next(k for k in range(1, 20) if _ahead(b, k) == a.bit_generator.state["state"]["state"])
             for a, b in zip(mine, before, strict=True)}  # fmt: skip
    assert len(steps) == 1


def _ahead(rng, k):
    copy = np.random.Generator(np.random.PCG64())
    copy.bit_generator.state = rng.bit_generator.state
    copy.bit_generator.advance(k)
    return copy.bit_generator.state["state"]["state"]


@pytest.mark.parametrize(
    "spec",
    [
        "geometric(flip=1.5)", "geometric(crop=0.95)", "geometric(rotate=-1.0)", "geometric(strength=-0.1)",
        "photometric(gamma=-1.0)", "photometric(strength=-1.0)", "erase(area=1.5)", "erase(stretch=0.5)",
        "erase(probability=0.6, strength=2.0)", "fundus_artefacts(probability=1.5)", "fundus_artefacts(blur=-1.0)",
        "rand_augment(count=0)", "rand_augment(magnitude=1.5)", "rand_augment(magnitude=0.6, strength=2.0)",
    ],
)  # fmt: skip
def test_options_outside_their_range_are_refused(spec):
    with pytest.raises(UsageError):
        AUGMENT.build(spec)(pictures(), rngs=rngs(5))


# --- geometric -------------------------------------------------------------------------------------------------------


class Drawn:
    """A generator that gives what it is told."""

    def __init__(self, *values):
        self.values = np.array(values)

    def random(self, n):
        assert n == len(self.values)
        return self.values


def test_flips_by_hand():
    image = pictures(1)
    change = AUGMENT.build("geometric(flip=0.5, upside=0.5, rotate=0.0, crop=0.0)")
    across = change(image, rngs=[Drawn(0.4, 0.9, 0.5, 0.5, 0.5, 0.5)])
    down = change(image, rngs=[Drawn(0.6, 0.4, 0.5, 0.5, 0.5, 0.5)])
    torch.testing.assert_close(across, image.flip(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(down, image.flip(2), atol=1e-5, rtol=0)


def test_a_quarter_turn_by_hand():
    image = pictures(1)
    turned = AUGMENT.build("geometric(flip=0.0, rotate=90.0, crop=0.0)")(image, rngs=[Drawn(1, 1, 1.0, 0, 0, 0)])
    # The result looks up (x, y) at (cos·x − sin·y, sin·x + cos·y) = (−y, x).
    torch.testing.assert_close(turned, torch.rot90(image, 1, (2, 3)), atol=1e-4, rtol=0)


def test_a_crop_to_the_upper_left_half_by_hand():
    image = torch.zeros(1, 3, 16, 16)
    image[:, :, :8, :8] = 1.0
    cut = AUGMENT.build("geometric(flip=0.0, rotate=0.0, crop=0.5)")(image, rngs=[Drawn(1, 1, 0.5, 1.0, 0.0, 0.0)])
    # The window is the white quarter; only the last half pixel towards its edge mixes with black.
    assert float(cut[0, 0, :15, :15].min()) == 1.0


def test_parity_with_scipy():
    """The same map through scipy's spline of order 1, in pixel coordinates."""
    image, side = pictures(1, side=32), 32
    draws = (0.2, 0.9, 0.8, 0.7, 0.3, 0.9)
    ours = AUGMENT.build("geometric(rotate=30.0, crop=0.3)")(image, rngs=[Drawn(*draws)])
    turn, share = math.radians(0.6 * 30), 1 - 0.7 * 0.3
    flip = np.diag([-1.0, 1.0])
    matrix = share * np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]) @ flip
    shift = np.array([-0.4 * (1 - share), 0.8 * (1 - share)]) * side / 2
    middle = np.array([(side - 1) / 2] * 2)
    swap = np.array([[0, 1], [1, 0]])  # scipy counts rows first
    by_rows = swap @ matrix @ swap
    offset = middle + swap @ shift - by_rows @ middle
    theirs = [ndimage.affine_transform(c, by_rows, offset, order=1, mode="nearest") for c in image[0].double().numpy()]
    np.testing.assert_allclose(ours[0].numpy(), np.stack(theirs), atol=2e-5)


# --- photometric -----------------------------------------------------------------------------------------------------


def test_light_by_hand():
    image = torch.tensor([0.25, 0.49]).repeat(3, 1)[None, :, None, :]
    draw = (0.0, 1.0, 0.5, 0.5, 1.0, 0.5)  # gamma 1/2, contrast 2, gain 1, green 2
    options = f"gamma={math.log(2)}, contrast={math.log(2)}, brightness=1.0, colour={math.log(2)}"
    found = AUGMENT.build(f"photometric({options})")(image, rngs=[Drawn(*draw)])
    roots = np.array([0.5, 0.7])
    spread = 0.6 + 2 * (roots - 0.6)
    np.testing.assert_allclose(found[0, 0, 0], spread, atol=1e-6)
    np.testing.assert_allclose(found[0, 1, 0], np.minimum(2 * spread, 1), atol=1e-6)
    np.testing.assert_allclose(found[0, 2, 0], spread, atol=1e-6)


# --- erase -----------------------------------------------------------------------------------------------------------


def test_a_rectangle_by_hand():
    image = torch.zeros(1, 3, 10, 10)
    image[0, 0, :5] = 1.0  # mean colour (0.5, 0, 0)
    found = AUGMENT.build("erase(probability=1.0, area=0.16)")(image, rngs=[Drawn(0.5, 1.0, 0.5, 0.0, 0.999)])
    expected = image.clone()
    expected[0, 0, :4, 6:] = 0.5
    torch.testing.assert_close(found, expected)


def test_it_is_left_alone_as_often_as_said():
    found = AUGMENT.build("erase(probability=0.3)")(pictures(400, 8), rngs=rngs(400))
    changed = sum(not torch.equal(a, b) for a, b in zip(found, pictures(400, 8), strict=True))
    assert 90 <= changed <= 150  # 120 ± 3 standard deviations


# --- fundus artefacts ------------------------------------------------------------------------------------------------


def test_a_hole_by_hand():
    """In the middle, of radius 0.2: the middle keeps 1 - 0.5 · 0.8 of its light, a pixel r away less is taken."""
    image = torch.full((1, 3, 21, 21), 0.5)
    never, draw = 1.0, [0.5] * 15
    draw[:5] = [never, never, 0.0, never, never]
    draw[9:13] = [0.8, 0.5, 0.5, 0.5]
    found = AUGMENT.build("fundus_artefacts(probability=0.5, light=0.5)")(image, rngs=[Drawn(*draw)])
    assert float(found[0, 0, 10, 10]) == pytest.approx(0.5 * (1 - 0.4), abs=1e-6)
    assert float(found[0, 2, 10, 14]) == pytest.approx(0.5 * (1 - 0.4 * math.exp(-(0.4**2) / (2 * 0.2**2))), abs=1e-6)


def test_blur_equals_scipys():
    image = pictures(1, side=32)
    draw = [1.0] * 15
    draw[4] = 0.0
    found = AUGMENT.build("fundus_artefacts(probability=0.5, blur=0.05)")(image, rngs=[Drawn(*draw)])
    expected = [ndimage.gaussian_filter(c, 1.6, radius=5, mode="nearest") for c in image[0].numpy()]
    np.testing.assert_allclose(found[0].numpy(), np.stack(expected), atol=1e-5)


# --- RandAugment -----------------------------------------------------------------------------------------------------


def drawn(what: str, up: bool = True):
    """A generator that asks for this change alone."""
    return Drawn((OPERATIONS.index(what) + 0.5) / len(OPERATIONS), 0.1 if up else 0.9)


def by_pillow(what: str, image: torch.Tensor):
    """The same change of magnitude 0.5, upwards, by another library's name for it."""
    pixels = Image.fromarray((image[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy())
    made = {
        "autocontrast": lambda: ImageOps.autocontrast(pixels), "equalise": lambda: ImageOps.equalize(pixels),
        "solarise": lambda: ImageOps.solarize(pixels, 128), "posterise": lambda: ImageOps.posterize(pixels, 6),
        "colour": lambda: ImageEnhance.Color(pixels).enhance(1.45),
        "contrast": lambda: ImageEnhance.Contrast(pixels).enhance(1.45),
        "brightness": lambda: ImageEnhance.Brightness(pixels).enhance(1.45),
        "sharpness": lambda: ImageEnhance.Sharpness(pixels).enhance(1.45), "identity": lambda: pixels,
    }[what]()  # fmt: skip
    return torch.from_numpy(np.asarray(made).copy()).permute(2, 0, 1)[None].float() / 255


@pytest.mark.parametrize(
    "what",
    [
        "autocontrast", "brightness", "colour", "contrast", "equalise", "identity", "posterise", "sharpness",
        "solarise",
    ],
)  # fmt: skip
def test_changes_of_values_are_pillows(what):
    image = pictures(1) * 0.8 + 0.1
    found = AUGMENT.build("rand_augment(count=1, magnitude=0.5)")(image, rngs=[drawn(what)])
    torch.testing.assert_close(found, by_pillow(what, image))


def test_changes_of_place_by_hand():
    """Twenty-one columns, each five grey values lighter: a shift of 0.45 sides, a shear of 0.3; a turned line."""
    change = AUGMENT.build("rand_augment(count=1, magnitude=1.0)")
    at, near = torch.arange(21.0), {"atol": 0.6 / 255, "rtol": 0}
    right, left = (change(_ramp(), rngs=[drawn("shift_across", up)])[0, 0, 3] for up in (True, False))
    torch.testing.assert_close(right, (at + 9.45).clamp(max=20) * 5 / 255, **near)
    torch.testing.assert_close(left, (at - 9.45).clamp(min=0) * 5 / 255, **near)
    sheared = change(_ramp(), rngs=[drawn("shear_across")])[0, 0, 0]
    torch.testing.assert_close(sheared[5:15], (at[5:15] - 3) * 5 / 255, **near)
    line = torch.zeros(1, 3, 21, 21)
    line[..., 10] = 1.0
    # 8 rows above the middle a line that leans by 30 degrees stands 8 · tan 30° = 4.6 columns aside.
    assert int(change(line, rngs=[drawn("rotate")])[0, 0, 2].argmax()) == 5


def _ramp():
    """Five grey values a pixel to the right."""
    return (torch.arange(21.0) * 5 / 255).expand(1, 3, 21, 21).clone()
