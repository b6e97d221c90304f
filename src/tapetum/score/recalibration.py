"""What calibration is made of: the parts of the Brier error, and the line that would mend the log odds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Real
from scipy import special

from tapetum.score.inputs import Labels, binary_probabilities
from tapetum.score.reliability import Spacing, bin_of

FLOOR = 1e-6  # probabilities are kept this far from 0 and 1 before their log odds are taken
STEPS, LONGEST, SMALL = 40, 2.0, 1e-8  # of Newton's method: most, longest, and the mean residual that ends it


@dataclass(frozen=True)
class BrierParts:
    """Brier error = reliability - resolution + uncertainty + within_variance - within_covariance, exactly.

    Attributes:
        reliability: mean squared distance of a bin's mean probability from its share of positives; lower is better.
        resolution: mean squared distance of the bins' shares from that of all images; higher is better.
        uncertainty: share of positives times share of negatives: the error of always saying the share.
        within_variance: of the probabilities inside the bins. within_covariance: twice that of probability and outcome.
    """

    reliability: float
    resolution: float
    uncertainty: float
    within_variance: float
    within_covariance: float

    @property
    def total(self) -> float:
        """The Brier error."""
        return (
            self.reliability - self.resolution + self.uncertainty + self.within_variance - self.within_covariance
        )  # fmt: skip


@dataclass(frozen=True)
class Recalibration:
    """Logistic recalibration: the log odds that would be right are intercept + slope times those stated.

    Attributes:
        slope: 1 is perfect; below it, probabilities are too extreme; above it, too timid.
        intercept: with the slope held at 1, 0 is perfect; below it, probabilities are too high on the whole.
    """

    slope: float
    intercept: float


def brier_parts(
    probs: Float[np.ndarray, "n"], labels: Labels, *, bins: int = 15, spacing: Spacing = "width"
) -> BrierParts:
    """Where a Brier error comes from.

    Args:
        probs: of the positive class, 0..1.
        labels: 0 or 1.
        bins: number of bins.
        spacing: `width` or `mass`, see `reliability.bin_of`.

    Returns:
        All parts NaN without images. In small bins reliability and resolution are both too large by the same noise.

    Raises:
        DataError: NaN, logits, or labels other than 0 and 1. UsageError: fewer than one bin, or unknown spacing.

    Example:
        >>> parts = brier_parts(np.array([0.2, 0.2, 0.8, 0.8]), np.array([0, 0, 1, 0]), bins=2)
        >>> round(parts.reliability, 3), round(parts.resolution, 3), round(parts.uncertainty, 4), round(parts.total, 3)
        (0.065, 0.062, 0.1875, 0.19)

    Source: Murphy, Journal of Applied Meteorology 1973; terms within bins: Stephenson, Coelho and Jolliffe, Weather and
    Forecasting 2008. Differs: nothing.
    """
    values, truth = binary_probabilities(probs, labels)
    found = brier_draws(values, truth, np.ones((1, len(values))), bin_of(values, bins, spacing), bins)
    return BrierParts(*(float(part[0]) for part in found))


def brier_draws(
    values: Float64[np.ndarray, "n"],
    truth: Bool[np.ndarray, "n"],
    weights: Real[np.ndarray, "b n"],
    place: Real[np.ndarray, "n"],
    bins: int,
) -> Float64[np.ndarray, "5 b"]:
    """The parts of `BrierParts`, in its order, in every draw of weighted images; the bins stay those of all images.

    Args:
        values: probabilities, checked.
        truth: outcomes.
        weights: how often each image occurs in each draw.
        place: bin of each image.
        bins: how many bins.
    """
    inside = np.eye(bins)[place]
    w = weights.astype(np.float64)
    total = w.sum(axis=1)

    def summed(of: Float64[np.ndarray, "n"]) -> Float64[np.ndarray, "b bins"]:
        return w @ (inside * of[:, None])

    images, stated, seen = summed(np.ones(len(values))), summed(values), summed(truth * 1.0)
    squares, products = summed(values**2), summed(values * truth)
    with np.errstate(invalid="ignore", divide="ignore"):
        p, y, base = stated / images, seen / images, seen.sum(axis=1) / total
        parts = np.stack(
            [
                images * (p - y) ** 2,
                images * (y - base[:, None]) ** 2,
                squares - images * p**2,
                2 * (products - images * p * y),
            ]
        )
        found = np.where(images > 0, parts, 0.0).sum(axis=2) / total
        return np.stack([found[0], found[1], base * (1 - base), found[2], found[3]])


def recalibration(probs: Float[np.ndarray, "n"], labels: Labels) -> Recalibration:
    """Calibration slope, and intercept with the slope held at 1 (calibration in the large).

    Args:
        probs: of the positive class, 0..1; drawn in to `FLOOR` and 1 - `FLOOR`, since log odds of 0 have no end: for
            step functions that say 0 or 1 the slope depends on it.
        labels: 0 or 1.

    Returns:
        Both NaN when a class is absent; the slope NaN for probabilities that are all equal, or classes fully apart.

    Raises:
        DataError: NaN, logits, or labels other than 0 and 1.

    Example:
        >>> found = recalibration(np.array([0.9, 0.9, 0.9, 0.1, 0.1, 0.1]), np.array([1, 1, 0, 0, 0, 1]))
        >>> round(found.slope, 3), round(abs(found.intercept), 3)
        (0.315, 0.0)

    Source: Cox, Biometrika 1958; Van Calster et al., BMC Medicine 2019, for the two as a pair. Differs: the floor.
    """
    values, truth = binary_probabilities(probs, labels)
    slope, intercept = recalibration_draws(values, truth, np.ones((1, len(values))))
    return Recalibration(float(slope[0]), float(intercept[0]))


def recalibration_draws(
    values: Float64[np.ndarray, "n"], truth: Bool[np.ndarray, "n"], weights: Real[np.ndarray, "b n"]
) -> tuple[Float64[np.ndarray, "b"], Float64[np.ndarray, "b"]]:
    """Slope and intercept in every draw of weighted images, by Newton's method on all draws side by side.

    Args:
        values: probabilities, checked.
        truth: outcomes.
        weights: how often each image occurs in each draw.
    """
    z = special.logit(np.clip(values, FLOOR, 1 - FLOOR))
    w = weights.astype(np.float64)
    total, positives = w.sum(axis=1), w @ truth
    both = (positives > 0) & (positives < total)
    slope, intercept = np.full(len(w), np.nan), np.full(len(w), np.nan)
    if not both.any():
        return slope, intercept
    intercept[both] = _shift(z, truth, w[both])
    spread = float(z.std())
    if spread > 1e-9:
        slope[both] = _slope((z - z.mean()) / spread, truth, w[both]) / spread
    return slope, intercept


def _shift(
    z: Float64[np.ndarray, "n"], truth: Bool[np.ndarray, "n"], w: Float64[np.ndarray, "b n"]
) -> Float64[np.ndarray, "b"]:
    """What is to be added to all log odds so that as many positives are expected as there are."""
    total, wanted, shift = w.sum(axis=1), w @ truth, np.zeros(len(w))
    missing = np.full(len(w), np.inf)
    for _ in range(STEPS):
        p = special.expit(z + shift[:, None])
        missing = wanted - (w * p).sum(axis=1)
        if (np.abs(missing) < SMALL * total).all():
            break
        curve = np.maximum((w * p * (1 - p)).sum(axis=1), 1e-300)
        shift = shift + np.clip(missing / curve, -LONGEST, LONGEST)
    return np.where(np.abs(missing) < SMALL * total, shift, np.nan)


def _slope(
    x: Float64[np.ndarray, "n"], truth: Bool[np.ndarray, "n"], w: Float64[np.ndarray, "b n"]
) -> Float64[np.ndarray, "b"]:
    """Slope on standardised log odds; NaN where no finite one is found."""
    total, start = w.sum(axis=1), w @ truth / w.sum(axis=1)
    a, b = np.zeros(len(w)), special.logit(start)
    residual = np.full(len(w), np.inf)
    for _ in range(STEPS):
        p = special.expit(a[:, None] * x + b[:, None])
        off, curve = w * (truth - p), w * p * (1 - p)
        by_slope, by_shift = off @ x, off.sum(axis=1)
        residual = np.maximum(np.abs(by_slope), np.abs(by_shift)) / total
        if (residual < SMALL).all():
            break
        s0, s1, s2 = curve.sum(axis=1), curve @ x, curve @ x**2
        determinant = np.maximum(s0 * s2 - s1**2, 1e-300)
        steps = np.stack([s0 * by_slope - s1 * by_shift, s2 * by_shift - s1 * by_slope]) / determinant
        long = np.abs(steps).max(axis=0)
        steps *= np.where(long > LONGEST, LONGEST / np.maximum(long, LONGEST), 1.0)
        a, b = a + steps[0], b + steps[1]
    return np.where((residual < SMALL) & ~_apart(x, truth, w), a, np.nan)


def _apart(
    x: Float64[np.ndarray, "n"], truth: Bool[np.ndarray, "n"], w: Float64[np.ndarray, "b n"]
) -> Bool[np.ndarray, "b"]:
    """Draws in which a threshold tells the classes apart: the likelihood rises for ever with the slope."""
    ill, well = np.where((w > 0) & truth, x, np.nan), np.where((w > 0) & ~truth, x, np.nan)
    return (np.nanmin(ill, axis=1) >= np.nanmax(well, axis=1)) | (np.nanmax(ill, axis=1) <= np.nanmin(well, axis=1))
