"""Heat-maps: values known by hand, and lesions of the phantom that light up."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest
import torch

from tapetum.core.errors import UsageError
from tapetum.core.registry import Family
from tapetum.core.types import Laterality
from tapetum.learn.adapters.knn import KNN
from tapetum.learn.adapters.prototypes import Prototypes
from tapetum.learn.features.embedder import Embedder
from tapetum.learn.fitting.anchors import Anchors
from tapetum.learn.heatmap import PatchScores, heatmap
from tapetum.learn.model import Model
from tapetum.nets import Aligner
from tapetum.phantom import EyeSpec, RenderedEye, render_eye

TINY = "tiny(size=64, dim=16)"
TWO = f"{TINY} + tiny(size=32, dim=8)"


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (80, 60, 3), dtype=np.uint8)


def _aligned(embedder: Embedder, power: float = 1.0) -> Model:
    """A model without a pack whose aligner is filled at random."""
    generator = torch.Generator().manual_seed(3)
    aligner = Aligner(embedder.dim, 64, 64, power=power)
    with torch.no_grad():
        aligner.image_mean.normal_(0, 0.1, generator=generator)
        aligner.image_scale.uniform_(0.5, 2, generator=generator)
        aligner.image_weight.normal_(generator=generator)
    return Model(embedder.encoders, "tiny(dim=64)", aligner=aligner.eval())


def _adapted(embedder: Embedder, adapter: KNN | Prototypes, features: np.ndarray, labels: np.ndarray) -> Model:
    adapter.fit(features, labels)
    spec = type(adapter).__name__.lower()
    return Model(embedder.encoders, "", adapter_spec=spec, adapter=adapter, findings=("lesion",))


def test_mean_of_the_map_is_the_share_of_the_pooled_block(pixels: np.ndarray) -> None:
    embedder = Embedder(TINY)
    model = _aligned(embedder)
    assert model.aligner is not None
    grid, shown = heatmap(model, pixels, "red spot", embedder=embedder)
    pooled = embedder.pixels([pixels])
    first, last = embedder.blocks["tiny-64/avg"]
    z = model.aligner.standardise(torch.from_numpy(pooled)).detach().numpy()[0]
    prompt = model.encode_text(["red spot"])[0]
    prompt /= np.linalg.norm(prompt)
    weight = model.aligner.image_weight.detach().numpy() @ prompt
    assert grid.shape == (8, 8)
    assert grid.mean() == pytest.approx(z[first:last] @ weight[first:last], rel=1e-4)
    assert shown.shape == (64, 64, 3)


def test_each_patch_scores_as_an_image_that_looks_like_it(pixels: np.ndarray) -> None:
    embedder = Embedder(TINY)
    model = _aligned(embedder, power=0.5)
    assert model.aligner is not None
    grid, _ = heatmap(model, pixels, "red spot", embedder=embedder)
    token = embedder.tokens([pixels])[0].tokens[0, 8 * 2 + 5]  # row 2, column 5
    mean = model.aligner.image_mean.numpy()
    image = np.sign(mean) * mean**2  # an image at the training mean: all zero after standardisation
    image[: len(token)] = token
    encoded = model.encode_image(image[None])[0]
    prompt = model.encode_text(["red spot"])[0]
    assert grid[2, 5] == pytest.approx(encoded @ prompt / np.linalg.norm(prompt), rel=1e-3)


def test_encoders_are_averaged_on_the_finest_grid(pixels: np.ndarray) -> None:
    embedder = Embedder(TWO)
    model = _aligned(embedder)
    scores = PatchScores(model, ["red spot"], embedder=embedder)
    grid, shown = scores(pixels, "red spot")
    fine, coarse = (scores._map(t, scores._judges["red spot"]) for t in embedder.tokens([pixels]))
    assert (fine.shape, coarse.shape, grid.shape, shown.shape) == ((8, 8), (4, 4), (8, 8), (64, 64, 3))
    assert grid.mean() == pytest.approx((fine.mean() + coarse.mean()) / 2, abs=0.05 * float(np.abs(coarse).max()))
    assert not np.allclose(grid, fine)


def test_wrong_use_is_refused(pixels: np.ndarray) -> None:
    embedder = Embedder(TINY)
    features = embedder.pixels([pixels, pixels[::-1].copy()])
    labels = np.array([[1.0], [0.0]])
    with pytest.raises(UsageError, match="no weight per feature"):
        heatmap(_adapted(embedder, KNN(k=1), features, labels), pixels, "lesion", embedder=embedder)
    linear = _adapted(embedder, Prototypes(), features, labels)
    with pytest.raises(UsageError, match="was not taught 'glaucoma'"):
        heatmap(linear, pixels, "glaucoma", embedder=embedder)
    with pytest.raises(UsageError, match="24 columns"):
        heatmap(linear, pixels, "lesion", embedder=Embedder(TWO))
    with pytest.raises(UsageError, match="was not asked for"):
        PatchScores(linear, ["lesion"], embedder=embedder)(pixels, "other")
    with pytest.raises(UsageError, match="neither an aligner nor an adapter"):
        heatmap(Model(TINY, "tiny()"), pixels, "lesion", embedder=embedder)


WORDS = ("zero_shot", "zs_lp", "clap", "task_res", "lp_plus_plus", "cross_modal", "clip_adapter", "tip_adapter")


@pytest.mark.parametrize("name", WORDS)
def test_a_patch_on_words_scores_as_an_image_that_looks_like_it(pixels: np.ndarray, name: str) -> None:
    embedder = Embedder(TINY)
    base = _aligned(embedder)
    assert base.aligner is not None
    base.aligner.normalise = True
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (12, 64, 64, 3), dtype=np.uint8)
    labels = np.arange(12)[:, None] % np.array([[2, 3]]) == 0
    head = Anchors(rng.normal(size=(64, 2)), np.zeros(2))
    adapter = Family("tapetum.learn.adapters").build(name)
    adapter.fit(base.encode_image(embedder.pixels(list(images))), labels.astype(float), anchors=head)
    model = dataclasses.replace(base, adapter=adapter, adapter_spec=name, findings=("a", "b"))
    grid, _ = heatmap(model, pixels, "b", embedder=embedder)
    # every patch as an image of which all other blocks are at their mean, as the adapter itself sees it
    tokens = embedder.tokens([pixels])[0].tokens[0]
    rows = np.tile(base.aligner.image_mean.numpy(), (len(tokens), 1))
    rows[:, : tokens.shape[1]] = tokens
    logits = adapter(base.encode_image(rows))[:, 1]
    if name in ("clip_adapter", "tip_adapter"):
        np.testing.assert_allclose(grid.ravel(), logits, rtol=1e-4, atol=1e-5)
    else:  # linear: the same up to the length of the encoded patch and the offset
        length = np.linalg.norm(base.aligner.standardise(torch.from_numpy(rows)).numpy() @ _weight(base), axis=1)
        offset = adapter.state()["bias"][1]
        np.testing.assert_allclose(grid.ravel(), (logits - offset) * length, rtol=1e-3, atol=1e-4)


def _weight(model: Model) -> np.ndarray:
    assert model.aligner is not None
    return model.aligner.image_weight.detach().numpy()


def _eyes(sign: str, numbers: range) -> list[RenderedEye]:
    """Pairs of the same eye without and with the sign."""
    found: list[RenderedEye] = []
    for number in numbers:
        for signs in ({}, {sign: 0.9}):
            eye = EyeSpec(Laterality.RIGHT, number, signs)
            found.append(render_eye(eye, size=128, rng=np.random.default_rng([number, 1])))
    return found


@pytest.mark.parametrize("sign", ["hard_exudate", "chorioretinal_atrophy"])
def test_lesions_of_the_phantom_light_up(sign: str) -> None:
    embedder = Embedder("tiny(size=128, dim=48)")
    train = _eyes(sign, range(12))
    labels = np.tile([[0.0], [1.0]], (12, 1))
    model = _adapted(embedder, Prototypes(), embedder.pixels([e.image for e in train]), labels)
    higher: list[bool] = []
    for eye in _eyes(sign, range(100, 108))[1::2]:
        grid, _ = heatmap(model, eye.image, "lesion", embedder=embedder)
        size = len(eye.image)
        fine = cv2.resize(grid, (size, size), interpolation=cv2.INTER_NEAREST)
        lesion = cv2.dilate(eye.masks[sign].astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
        retina = eye.masks["field_of_view"]
        higher.append(bool(fine[lesion & retina].mean() > fine[~lesion & retina].mean()))
    assert sum(higher) >= 7, higher
