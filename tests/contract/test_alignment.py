"""What every image-text loss promises; a new file in the family is tested by being there."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from tapetum.core.registry import Family

LOSSES = Family("tapetum.learn.alignment")
each_loss = pytest.mark.parametrize("name", LOSSES.names())
SCALE, BIAS = torch.tensor(7.0, dtype=torch.float64), torch.tensor(-1.5, dtype=torch.float64)


def batch(b=8, d=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    image, text = (normalize(torch.randn(b, d, generator=generator, dtype=torch.float64), dim=1) for _ in range(2))
    return image, text, torch.eye(b, dtype=torch.float64)


def value(name, image, text, match, scale=SCALE, bias=BIAS):
    return LOSSES.build(name)(image, text, match, scale=scale, bias=bias)


@each_loss
def test_one_finite_value_per_pair(name):
    loss = value(name, *batch())
    assert loss.shape == (8,)
    assert torch.isfinite(loss).all()
    assert (loss >= 0).all()


@each_loss
def test_the_order_of_the_pairs_does_not_matter(name):
    image, text, match = batch()
    match[0, 3] = match[3, 0] = 0.97
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    mixed = value(name, image[order], text[order], match[order][:, order])
    torch.testing.assert_close(mixed, value(name, image, text, match)[order])


@each_loss
def test_matched_beats_shuffled(name):
    image, _, match = batch()
    assert value(name, image, image, match).mean() < value(name, image, image.roll(1, 0), match).mean()


@each_loss
@pytest.mark.parametrize("scale", [0.0, 1.0, 100.0])
def test_gradients_are_finite(name, scale):
    image, text, match = batch()
    leaves = [x.clone().requires_grad_() for x in (image, text, torch.tensor(scale, dtype=torch.float64), BIAS)]
    value(name, leaves[0], leaves[1], match, leaves[2], leaves[3]).mean().backward()
    for leaf in leaves[:3]:
        assert leaf.grad is not None
        assert torch.isfinite(leaf.grad).all()


@each_loss
def test_training_pulls_partners_together(name):
    image, text, match = batch()
    image.requires_grad_()
    before = value(name, image, text, match).mean()
    (gradient,) = torch.autograd.grad(before, image)
    assert value(name, normalize(image - 0.05 * gradient, dim=1), text, match).mean() < before


@each_loss
@pytest.mark.parametrize("soft", [True, False])
def test_equal_texts_are_drawn_to_each_others_images_and_not_pushed_away(name, soft):
    image, text, match = batch()
    if soft:
        match[0, 1] = match[1, 0] = 1.0
    # Moving text 1 towards image 0: downhill where both texts say the same, uphill where they do not.
    text.requires_grad_()
    loss = value(name, image, text, match, scale=torch.tensor(1.0, dtype=torch.float64))[0]
    (slope,) = torch.autograd.grad(loss, text)
    assert (float(slope[1] @ image[0]) < 0) == soft


@each_loss
def test_rows_can_be_computed_in_chunks_where_the_loss_is_a_sum_over_pairs(name):
    """Value and gradient of the image side, row block by row block, against the whole batch."""
    if name in ("clip", "convirt"):
        # Its text direction normalises over all images of the batch: a block alone has another denominator.
        image, text, match = batch()
        part = LOSSES.build(name)(image[:4], text[:4], match[:4, :4], scale=SCALE, bias=BIAS)
        assert (part < value(name, image, text, match)[:4]).all()
        return
    image, text, match = batch()
    whole = image.clone().requires_grad_()
    value(name, whole, text, match).sum().backward()
    for rows in (slice(0, 3), slice(3, 8)):
        chunk = image[rows].clone().requires_grad_()
        loss = LOSSES.build(name)(chunk, text, match[rows], scale=SCALE, bias=BIAS)
        loss.sum().backward()
        torch.testing.assert_close(loss, value(name, image, text, match)[rows])
        torch.testing.assert_close(chunk.grad, whole.grad[rows])


@each_loss
def test_shapes_that_do_not_fit_are_refused(name):
    image, text, match = batch()
    with pytest.raises(RuntimeError):
        value(name, image[:, :3], text, match)
    with pytest.raises((RuntimeError, ValueError)):
        value(name, image, text, match[:5])
