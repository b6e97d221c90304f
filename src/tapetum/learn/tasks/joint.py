"""No training at all: the space that a published image-text model was trained for, with its own scale and offset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tapetum.learn.aligner.joint import joint_aligner
from tapetum.learn.pairing.pairs import Fitted, Pairs
from tapetum.learn.training.runlog import UNWATCHED, Watch

__all__ = ["Joint"]


@dataclass(frozen=True)
class Joint:
    """Take image and text rows as they are: both lie in one space already, and cosines in it are scores.

    Args:
        columns: first and last+1 column of the image features that lie in the space of the texts; empty = all.
            `pretrain` reads them, the scale and the bias from the checkpoint where they are not given.
        scale, bias: a logit is `scale · cosine + bias`.

    Source: Radford et al., ICML 2021, arXiv 2103.00020 (detection by the cosine with a prompt). Differs: findings are
    scored one by one, not against each other; of several prompts for a finding the mean of their rows is taken, at
    length 1; only operating points come from the archive.
    """

    NEEDS: ClassVar[tuple[str, ...]] = ("space",)

    columns: tuple[int, ...] = ()
    scale: float = 1.0
    bias: float = 0.0

    def fit(self, pairs: Pairs, rng: np.random.Generator, watch: Watch = UNWATCHED) -> Fitted:
        """The aligner that changes nothing; the log says that no pair was learned from.

        Raises:
            UsageError: images and texts have different numbers of columns.
        """
        del rng, watch
        sides = pairs.features.shape[1], pairs.text_features.shape[1]
        aligner = joint_aligner(*sides, self.columns, self.scale, self.bias)
        return Fitted(aligner, {"pairs": 0, "scale": self.scale, "bias": self.bias})
