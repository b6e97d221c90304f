"""The search of copies: what is asked, what is found, how groups are formed, who stays together."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tapetum.archive.duplicates import Pair, Textures, describe, groups, pairs_of, search
from tapetum.archive.duplicates.confirm import register
from tapetum.archive.duplicates.texture import DIMENSIONS, as_maps, field_of_view


def picture(number: int, size: int = 200) -> np.ndarray:
    """A bright disc on black with a texture of its own."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[0:size, 0:size] / size * 2 - 1
    image = np.full((size, size, 3), 120.0)
    image += cv2.GaussianBlur(rng.normal(0, 1, (size, size)), (0, 0), 5)[..., None] * 250
    image[np.hypot(x, y) > 0.95] = 0
    return np.clip(image, 0, 255).astype(np.uint8)


def seen(*images: np.ndarray) -> Textures:
    values = np.stack([describe(np.ascontiguousarray(i)) for i in images]).astype(np.float16)
    names = tuple(f"{k:02d}" for k in range(len(images)))
    return Textures(names, values, names)


def changed(kind: str) -> np.ndarray:
    image = picture(0)
    field = field_of_view(image)
    height, width = field.shape[:2]
    return {
        "half": cv2.resize(image, (100, 100), interpolation=cv2.INTER_AREA),
        "double": cv2.resize(image, (400, 400), interpolation=cv2.INTER_CUBIC),
        "field": field,
        "centre": field[height // 20 : -height // 20, width // 20 : -width // 20],
        "corner": field[: height * 88 // 100, : width * 88 // 100],
        "side": field[:, width * 10 // 100 :],
        "mirrored": image[:, ::-1],
        "turned": image[::-1, ::-1],
        "gamma": (255 * (image / 255.0) ** 1.25).astype(np.uint8),
        "darker": (image * 0.8).astype(np.uint8),
    }[kind]


@pytest.mark.parametrize(
    "kind", ["half", "double", "field", "centre", "corner", "side", "mirrored", "turned", "gamma", "darker"]
)
def test_a_changed_copy_is_found_and_nothing_else(kind: str) -> None:
    found = pairs_of(seen(*(picture(k) for k in range(6)), changed(kind)))
    assert [(p.first, p.second) for p in found] == [("00", "06")]
    assert found[0].kind == (kind if kind in ("mirrored", "turned") else "near")


def test_flat_and_small_images_have_no_texture() -> None:
    assert not describe(np.full((80, 80, 3), 200, np.uint8)).any()
    assert not describe(picture(0, 40)).any()
    assert not len(search.candidates(np.zeros((3, DIMENSIONS), np.float32), least=0.5).asking)
    assert pairs_of(Textures((), np.zeros((0, DIMENSIONS), np.float16), ())) == ()


def test_equal_pixels_are_exact_whatever_their_texture() -> None:
    values = np.zeros((20, DIMENSIONS), np.float16)
    few = pairs_of(Textures(("a", "b", "c"), values[:3], ("x", "y", "x")))
    assert [(p.first, p.second, p.kind) for p in few] == [("a", "c", "exact")]
    many = pairs_of(Textures(tuple(f"{k:02d}" for k in range(20)), values, ("x",) * 20))
    assert len(many) == 19  # each with the first only
    assert groups(many) == (tuple(f"{k:02d}" for k in range(20)),)


def test_coefficients_of_a_window_are_those_of_the_window_itself() -> None:
    """The matrix that makes a question, against cutting the texture and transforming it."""
    smooth = cv2.GaussianBlur(np.random.default_rng(1).normal(size=(32, 32)), (0, 0), 3).astype(np.float32)
    basis = search._cosines(search._ASKED)
    low = (basis.T @ (basis @ smooth @ basis.T) @ basis).astype(np.float32)
    window = (0.1, 0.02, 0.04, 0.12)
    cut = search.windowed(low[None], window)[0]
    cut = np.where(search._INSIDE, cut - cut[search._INSIDE].mean(), 0)
    few = search._cosines(search._KEPT)
    asked = (basis @ smooth @ basis.T).ravel().astype(np.float32) @ search._operator(window)
    assert np.allclose(asked, (few @ cut @ few.T).ravel(), atol=1e-4)


def test_mirroring_coefficients_is_mirroring_the_texture() -> None:
    values = describe(picture(3))[None]
    for turn, (mirrored, upside_down, _) in enumerate(search.TURNS):
        basis = search._cosines(search._ASKED)
        by_hand = basis @ search.turned(as_maps(values), turn)[0] @ basis.T
        assert np.allclose(
            search._coefficients(values)[0] * search._signs(mirrored, upside_down), by_hand.ravel(), atol=1e-5
        )


def test_the_inverted_file_finds_what_all_comparisons_find(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(size=(600, DIMENSIONS)).astype(np.float32)
    values[300:330] = values[:30] + rng.normal(0, 0.2, (30, DIMENSIONS))
    whole = search.candidates(values, least=0.8)
    monkeypatch.setattr(search, "EXACT_UP_TO", 100)
    monkeypatch.setattr(search, "CELLS", 16)
    cells = search.candidates(values, least=0.8)
    expected = {frozenset(p) for p in zip(whole.asking.tolist(), whole.found.tolist(), strict=True)}
    got = {frozenset(p) for p in zip(cells.asking.tolist(), cells.found.tolist(), strict=True)}
    assert {frozenset((k, k + 300)) for k in range(30)} <= expected
    assert got <= expected
    assert len(got) >= 0.95 * len(expected)


def test_registration_of_a_texture_with_itself_is_perfect_and_with_another_is_not() -> None:
    one, two = as_maps(np.stack([describe(picture(k)) for k in (0, 1)]))
    assert register(one, one, 0) == pytest.approx(1, abs=1e-4)
    assert register(one, two, 0) < 0.4


def test_a_chain_is_cut_at_its_weakest_link_and_a_group_stays_whole() -> None:
    chain = [Pair("a", "b", "near", 0.95), Pair("b", "c", "near", 0.75), Pair("c", "d", "near", 0.95)]
    assert groups(chain) == (("b", "a"), ("c", "d"))
    star = [Pair("a", "b", "near", 0.9), Pair("b", "c", "near", 0.9), Pair("a", "c", "near", 0.8)]
    assert groups(star) == (("b", "a", "c"),)
    assert groups([]) == ()
    equal = [Pair("a", "x", "exact", 1.0), Pair("b", "x", "near", 0.8)]
    assert groups(equal) == (("a", "b", "x"),)
