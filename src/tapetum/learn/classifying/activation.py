"""Where a tower that learns looks: which places of a picture speak for its class, as the network stands now."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import interpolate

from tapetum.core.errors import UsageError
from tapetum.learn.classifying.pictures import Tower
from tapetum.nets import Encoder

Maps = Callable[[Float[Tensor, "b c h w"], Int[Tensor, "b"]], Float[Tensor, "b h w"]]


def maps_of(tower: nn.Module | None, head: nn.Module) -> Maps:
    """Class activation maps of the pictures that are asked for, by the weights of that moment.

    A place's value is the slope of the logit of the picture's class along what the tower sees at this place: with a
    linear head its weights. A map has no value below 0 and sums to 1; where all places are alike, it is even.

    Args:
        tower: see `Pictures`.
        head: from its features to logits.

    Source: after Zhou et al., CVPR 2016, arXiv 1512.04150. Differs: slopes in place of weights, as in Selvaraju et al.,
    ICCV 2017, arXiv 1610.02391.
    """

    def maps(images: Float[Tensor, "b c h w"], labels: Int[Tensor, "b"]) -> Float[Tensor, "b h w"]:
        if not isinstance(tower, Tower) or labels.ndim != 1:
            raise UsageError("maps of where a network looks", "pictures of one class each, and a tower that learns")
        encoder, spec = tower.encoder, cast(Encoder, tower.encoder).spec
        training = tower.training
        tower.eval()
        with torch.no_grad():
            features, tokens = tower(images), cast(Encoder, encoder).tokens(images)
        tower.train(training)
        with torch.enable_grad():
            asked = features.detach().requires_grad_(True)
            own = head(asked).gather(1, labels[:, None]).sum()
            slope = torch.autograd.grad(own, asked)[0]
        first, last = spec.blocks[spec.token_block]
        weights = slope[:, first:last] / tower.scale[first:last]
        rows, columns = spec.grid
        found = torch.einsum("bte,be->bt", tokens, weights).reshape(-1, 1, rows, columns)
        size = (images.shape[2], images.shape[3])
        found = interpolate(found, size=size, mode="bilinear", align_corners=False)[:, 0]
        found = found - found.amin(dim=(1, 2), keepdim=True)
        whole = found.sum(dim=(1, 2), keepdim=True)
        return torch.where(whole > 1e-12, found / whole.clamp_min(1e-12), torch.full_like(found, 1 / found[0].numel()))

    return maps
