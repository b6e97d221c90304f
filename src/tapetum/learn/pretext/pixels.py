"""What is to be said of a masked patch: its pixels, or how steep they are."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d, pad

_FLAT = 1e-4  # added to variances: a flat patch of camera noise is not blown up to a pattern


def patches_of(images: Float[Tensor, "b c s s"], side: int) -> Float[Tensor, "b t p"]:
    """The pixels of each patch, patches row by row, within a patch row, column, channel.

    Args:
        images: a multiple of `side` wide and high.
        side: of a patch in pixels.

    Example:
        >>> patches_of(torch.arange(16.0).view(1, 1, 4, 4), 2)[0, 1]
        tensor([2., 3., 6., 7.])
    """
    b, c, height, width = images.shape
    cut = images.view(b, c, height // side, side, width // side, side)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(b, (height // side) * (width // side), side * side * c)


def standardised(values: Float[Tensor, "*n p"]) -> Float[Tensor, "*n p"]:
    """Mean 0 and variance 1 along the last axis; what is flat becomes 0.

    Example:
        >>> standardised(torch.tensor([[1.0, 3.0], [5.0, 5.0]])).round(decimals=3)
        tensor([[-1.,  1.],
                [ 0.,  0.]])
    """
    return (values - values.mean(-1, keepdim=True)) / (values.var(-1, correction=0, keepdim=True) + _FLAT).sqrt()


def steepness(images: Float[Tensor, "b c s s"]) -> Float[Tensor, "b 1 s s"]:
    """Length of the gradient of the mean channel, per pixel, by Sobel's filters; the border goes on.

    Example:
        >>> float(steepness(torch.arange(5.0).expand(1, 3, 5, 5))[0, 0, 2, 2])
        1.0
    """
    across = images.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
    grey = pad(images.mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    both = conv2d(grey, torch.stack([across, across.T])[:, None])
    return both.square().sum(1, keepdim=True).sqrt()


def masked_error(said: Float[Tensor, "b m p"], target: Float[Tensor, "b m p"]) -> tuple[Float[Tensor, "b"], float]:
    """Mean squared error over the masked patches of each image; and that of saying 0 everywhere, over all images.

    Args:
        said: what was said of each masked patch.
        target: what is there.

    Example:
        >>> masked_error(torch.zeros(1, 1, 2), torch.tensor([[[1.0, -2.0]]]))
        (tensor([2.5000]), 2.5)
    """
    return (said - target).square().mean((1, 2)), float(target.square().mean())
