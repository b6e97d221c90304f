"""Random changes of training images that leave their findings as they are: one file, one way.

Every image has a generator of its own, and a member draws from nothing else: the same image, epoch and seed give the
same picture, whatever batch it stands in, in whatever order, by however many workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from jaxtyping import Float
from torch import Tensor


class Augmentation(Protocol):
    """`(images[b 3 s s] in 0..1, *, rngs) -> same`; `strength` scales every range, and 0 changes nothing."""

    def __call__(
        self, images: Float[Tensor, "b 3 s s"], *, rngs: Sequence[np.random.Generator]
    ) -> Float[Tensor, "b 3 s s"]:
        """Changed images, still in 0..1; the given ones are left as they were."""
        ...
