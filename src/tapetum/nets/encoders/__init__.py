"""Image encoders: each takes a normalised image and gives named blocks of pooled features and a map of tokens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from tapetum.nets.spec import EncoderSpec


@runtime_checkable
class Encoder(Protocol):
    """An image encoder; every member is a `torch.nn.Module`, built in evaluation mode."""

    spec: EncoderSpec

    def __call__(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        """Pooled features, the blocks of `spec.blocks` side by side."""
        ...

    def tokens(self, x: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b t e"]:
        """Local features, row by row of `spec.grid`; their mean is the block `spec.token_block`."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """The weights by name."""
        ...

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any:
        """Take weights of the same shape."""
        ...
