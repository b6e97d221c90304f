"""Out-of-distribution scores against pytorch-ood, on the same features and the same head.

Needs a folder with pytorch-ood and torchvision, named by TAPETUM_PEERS; they are no dependencies of ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from asking import Arrays, told_by

from tapetum.core.registry import Family
from tapetum.core.types import Head
from tapetum.learn.odin import Step, odin
from tapetum.score.in_distribution import InDistribution

pytestmark = pytest.mark.slow

N, D, K = 600, 40, 5
# ours → theirs, how theirs scales ours, relative tolerance (theirs computes in single precision)
SAME = {
    "msp": ("msp", 1, 1e-5),
    "max_logit": ("max_logit", 1, 1e-5),
    "energy": ("energy", 1, 1e-5),
    "entropy": ("entropy", 1, 1e-4),
    "gen": ("gen", 1 / K, 1e-4),  # a mean over classes, ours is the paper's sum
    "kl_matching": ("kl_matching", 1, 1e-3),
    "knn(k=10)": ("knn", 1, 1e-4),
    "nnguide(k=10)": ("nnguide", 1, 1e-4),
    "mahalanobis(shrinkage=0)": ("mahalanobis", 0.5 / N, 1e-3),  # a covariance that is not divided by n, and 1/2
    "relative_mahalanobis(shrinkage=0)": ("relative_mahalanobis", 1 / N, 1e-3),
    "vim(dims=16)": ("vim", 1, 1e-3),
    "she": ("she", 1, 1e-4),
    "fdbd": ("fdbd", 1, 1e-4),
    "dice(sparsity=0.7)": ("dice", 1, 1e-4),
    "react(quantile=0.9)": ("react", 1, 1e-4),
    "ash(variant='s')": ("ash", 1, 1e-4),
    "ash(variant='p')": ("ash_p", 1, 1e-4),
    "ash(variant='b')": ("ash_b", 1, 1e-4),
    "scale(drop=0.85)": ("scale", 1, 1e-4),
    "gradnorm": ("gradnorm", 1, 1e-4),
}


def made() -> dict[str, np.ndarray]:
    """Features after a ReLU, of classes that overlap a little, and a head that was fitted to them."""
    rng = np.random.default_rng(0)
    labels = rng.integers(K, size=N)
    centres = rng.normal(0.5, 0.6, (K, D))
    train = np.maximum(centres[labels] + rng.normal(0, 0.5, (N, D)), 0)
    query = np.maximum(
        np.concatenate([centres, rng.normal(0.5, 1, (3, D))]).repeat(20, 0) + rng.normal(0, 0.6, (160, D)), 0
    )
    design = np.column_stack([train, np.ones(N)])
    solved = np.linalg.lstsq(design, 4 * np.eye(K)[labels] + 1, rcond=None)[0]
    arrays = {"train": train, "query": query, "weight": solved[:-1].T, "bias": solved[-1]}
    return {k: v.astype(np.float32) for k, v in arrays.items()} | {"labels": labels}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Arrays, Arrays]:
    given = made()
    return given, told_by("pytorch_ood", "ood_peer.py", given, tmp_path_factory.mktemp("ood"))


@pytest.mark.parametrize("spec", SAME)
def test_equal_to_pytorch_ood(spec: str, both: tuple[Arrays, Arrays]) -> None:
    given, told = both
    name, factor, tolerance = SAME[spec]
    known = InDistribution(given["train"], given["labels"], Head(given["weight"], given["bias"]))
    ours = Family("tapetum.score.ood").build(spec).fit(known)(given["query"]) * factor
    spread = told[name].max() - told[name].min()
    assert spread > 0
    np.testing.assert_allclose(ours, told[name], rtol=tolerance, atol=tolerance * spread)


def test_odin_equal_to_pytorch_ood(both: tuple[Arrays, Arrays]) -> None:
    """A step of the features through a network that is not linear, in units of each channel."""
    given, told = both
    weight, bias, query = (torch.from_numpy(given[name]) for name in ("weight", "bias", "query"))

    def classify(inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.tanh(inputs[0].flatten(1)) @ weight.T + bias

    units = torch.full((D, 1, 1), 4.0)
    ours = odin(classify, [query[:, :, None, None]], [Step(10.0, 0.05), Step(10.0, 0.0)], units=[units])
    np.testing.assert_allclose(ours[0], told["odin"], rtol=1e-5)
    assert np.abs(ours[0] - ours[1]).min() > 1e-3
