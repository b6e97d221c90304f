"""The aligner: two linear maps from frozen image and text features into one space."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tapetum.core.errors import UsageError

# Keeps the root's gradient finite at 0, where it would be infinite; the value there stays 0.
_TINY = 1e-12


class Aligner(nn.Module):
    """Image features and text features → one space in which a dot product is a score.

    Image side: `z = (sroot(x) − mean) / scale` with `sroot(x) = sign(x)·|x|^power`, then
    `z @ image_weight + image_bias`. Text side: `(t − text_mean) @ text_weight`. Statistics and the power are buffers,
    that is, measured once; weights, bias, scale and offset of the logits are parameters, so that a closed form can be
    written in and a gradient method can train them.

    Args:
        image_dim, text_dim: columns of the features that come in. dim: columns of the common space.
        power: exponent of the signed root, in (0, 1]; 1 leaves the features as they are.
        normalise: scale both outputs to length 1, so that the dot product is a cosine.

    Raises:
        UsageError: a dimension below 1 or a power outside (0, 1].

    Example:
        >>> aligner = Aligner(4, 3, 2)
        >>> aligner.logits(aligner.encode_image(torch.ones(5, 4)), aligner.encode_text(torch.ones(2, 3))).shape
        torch.Size([5, 2])
    """

    image_mean: Tensor
    image_scale: Tensor
    power: Tensor
    text_mean: Tensor

    def __init__(self, image_dim: int, text_dim: int, dim: int, *, power: float = 1.0, normalise: bool = False) -> None:
        super().__init__()
        if min(image_dim, text_dim, dim) < 1:
            raise UsageError(f"dimensions {image_dim}, {text_dim}, {dim}", "each at least 1")
        if not 0 < power <= 1:
            raise UsageError(f"power={power}", "0 < power ≤ 1; 1 leaves the features as they are", "power=0.5")
        self.normalise = normalise
        self.register_buffer("image_mean", torch.zeros(image_dim))
        self.register_buffer("image_scale", torch.ones(image_dim))
        self.register_buffer("power", torch.tensor(float(power)))
        self.register_buffer("text_mean", torch.zeros(text_dim))
        self.image_weight = nn.Parameter(torch.zeros(image_dim, dim))
        self.image_bias = nn.Parameter(torch.zeros(dim))
        self.text_weight = nn.Parameter(torch.zeros(text_dim, dim))
        self.logit_log_scale = nn.Parameter(torch.tensor(math.log(1.0)))
        self.logit_bias = nn.Parameter(torch.tensor(0.0))
        nn.init.eye_(self.image_weight)
        nn.init.eye_(self.text_weight)

    def standardise(self, features: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        """The signed root, then mean and scale: what `image_weight` is applied to."""
        power = float(self.power)
        rooted = features if power == 1.0 else features.sign() * features.abs().clamp_min(_TINY).pow(power)
        return (rooted - self.image_mean) / self.image_scale

    def encode_image(self, features: Float[Tensor, "b d"]) -> Float[Tensor, "b e"]:
        """Image features in the common space."""
        return self._finish(self.standardise(features) @ self.image_weight + self.image_bias)

    def encode_text(self, embeddings: Float[Tensor, "k t"]) -> Float[Tensor, "k e"]:
        """Text features in the common space."""
        return self._finish((embeddings - self.text_mean) @ self.text_weight)

    def logits(self, image: Float[Tensor, "b e"], text: Float[Tensor, "k e"]) -> Float[Tensor, "b k"]:
        """Scaled dot products of encoded images and texts, plus the offset; higher = fits better."""
        return self.logit_log_scale.exp() * (image @ text.T) + self.logit_bias

    def _finish(self, encoded: Float[Tensor, "b e"]) -> Float[Tensor, "b e"]:
        return nn.functional.normalize(encoded, dim=-1) if self.normalise else encoded
