"""Text encoders: each turns texts into rows of one length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from tapetum.nets.spec import TextSpec


@runtime_checkable
class TextEncoder(Protocol):
    """A text encoder; deterministic, frozen, float32."""

    spec: TextSpec

    def __call__(self, texts: Sequence[str]) -> Float[Tensor, "k d"]:
        """One row per text, in the order given; an empty text gets a row too."""
        ...
