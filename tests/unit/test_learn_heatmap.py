"""Heat-maps: values known by hand, and lesions of the phantom that light up."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from tapetum.core.errors import UsageError
from tapetum.core.types import Laterality
from tapetum.learn.adapters.knn import KNN
from tapetum.learn.adapters.prototypes import Prototypes
from tapetum.learn.embedder import Embedder
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
    fine, coarse = (scores._map(t, scores._weights["red spot"]) for t in embedder.tokens([pixels]))
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
