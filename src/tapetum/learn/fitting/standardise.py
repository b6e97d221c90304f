"""Signed root and standardisation: what turns pooled activations into features that a linear method can weigh."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


def signed_root(features: Float[np.ndarray, "n d"], power: float) -> Float[np.ndarray, "n d"]:
    """sign(x)·|x|^power: tames the long right tail of pooled activations; power 1 leaves them as they are.

    Example:
        >>> signed_root(np.array([[-4.0, 9.0]]), 0.5)
        array([[-2.,  3.]])
    """
    return features if power == 1 else np.sign(features) * np.abs(features) ** power


@dataclass(frozen=True)
class Standardiser:
    """z = (signed_root(x) - mean) / (scale·√d), fitted on training images only.

    The division by √d gives a typical image length 1, so that a ridge penalty means the same for every encoder.
    """

    mean: Float[np.ndarray, "d"]
    scale: Float[np.ndarray, "d"]
    power: float

    @staticmethod
    def fit(
        features: Float[np.ndarray, "n d"], power: float, blocks: Mapping[str, tuple[int, int]] | None = None
    ) -> Standardiser:
        """Mean and standard deviation per column; a constant column gets scale 1 and so carries nothing.

        Args:
            features: of the training images.
            power: exponent of the signed root.
            blocks: columns of each pooled output. With them a block of d columns weighs as √d and not as d, so that the
                wide last map of a network does not drown the narrow early ones.
        """
        rooted = signed_root(np.asarray(features, dtype=np.float32), power)
        deviation = rooted.std(0, dtype=np.float64)
        deviation[deviation < 1e-6] = 1.0
        scale = deviation * np.sqrt(features.shape[1])
        if blocks:
            widths = np.ones(features.shape[1])
            for first, end in blocks.values():
                widths[first:end] = end - first
            scale = deviation * widths**0.25 * np.sqrt((1 / np.sqrt(widths)).sum())
        return Standardiser(rooted.mean(0, dtype=np.float64).astype(np.float32), scale.astype(np.float32), power)

    def __call__(self, features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        """Standardised features, float32."""
        return (signed_root(np.asarray(features, dtype=np.float32), self.power) - self.mean) / self.scale

    def state(self) -> dict[str, np.ndarray]:
        """Named arrays for a checkpoint."""
        return {"mean": self.mean, "scale": self.scale, "power": np.array(self.power)}

    @staticmethod
    def restore(state: Mapping[str, np.ndarray]) -> Standardiser:
        """The inverse of `state`."""
        return Standardiser(state["mean"], state["scale"], float(state["power"]))
