"""What every way of blending rows promises; a new file in the family is tested by being there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tapetum.core.errors import UsageError
from tapetum.core.registry import Family

MIXING = Family("tapetum.learn.mixing")
PICTURES = ("augmix", "cropmix", "cutmix", "snapmix", "yoco")
ACROSS = ("domain_mixup",)
COUNTS, LABELS = torch.tensor([40.0, 8.0, 2.0]), torch.arange(12) % 3
each_way = pytest.mark.parametrize("name", MIXING.names())


def rows(name: str, seed: int = 0):
    shape = (12, 3, 16, 20) if name in PICTURES else (12, 7)
    return torch.from_numpy(np.random.default_rng(seed).random(shape)).float()


def maps(images, labels):
    """Where a network might look: at what is bright, the more the higher the class."""
    looked = images.mean(dim=1) ** (1 + labels[:, None, None])
    return looked / looked.sum(dim=(1, 2), keepdim=True)


def blend(name: str, inputs, seed: int = 0, **options):
    if "maps" in MIXING.options(name):
        options |= {"maps": maps}
    known = {"domains": torch.arange(12) % 2} if name in ACROSS else {}
    return MIXING.build(name, **known, rng=np.random.default_rng(seed), **options)(inputs, LABELS, COUNTS)


@each_way
def test_shapes_and_shares(name):
    inputs = rows(name)
    before = inputs.clone()
    for seed in range(10):
        blended, partner, share = blend(name, inputs, seed)
        assert blended.shape == inputs.shape
        assert blended.dtype == inputs.dtype
        assert torch.isfinite(blended).all()
        if name in ACROSS:
            assert ((partner + np.arange(12)) % 2 == 1).all(), "a partner is of the other domain"
        else:
            assert sorted(partner.tolist()) == list(range(12))
        assert share.shape in ((12,), (12, 2))
        assert share.dtype == inputs.dtype
        assert ((share >= 0) & (share <= 1)).all()
        assert torch.equal(inputs, before), "the rows themselves must stay"


@each_way
def test_the_generator_alone_decides(name):
    inputs = rows(name)
    first, again, other = blend(name, inputs, 1), blend(name, inputs, 1), blend(name, inputs, 2)
    assert torch.equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    assert torch.equal(first[2], again[2])
    assert not torch.equal(first[0], other[0])


@each_way
def test_what_needs_pixels_refuses_features(name):
    if name not in PICTURES:
        assert blend(name, torch.rand(12, 7))[0].shape == (12, 7)
        assert blend(name, torch.rand(12, 3, 8, 8))[0].shape == (12, 3, 8, 8)
        return
    with pytest.raises(UsageError, match="inputs of shape"):
        blend(name, torch.rand(12, 7))


@each_way
def test_a_row_whose_label_is_shared_holds_something_of_its_partner(name):
    inputs = rows(name)
    for seed in range(10):
        blended, partner, share = blend(name, inputs, seed)
        own = share[:, 0] if share.ndim == 2 else share
        for i in np.flatnonzero((own < 0.999).numpy()):
            alone = inputs.clone()
            if partner[i] == i:
                continue
            alone[partner[i]] = 0.5
            assert not torch.equal(blend(name, alone, seed)[0][i], blended[i])
