"""Mixture of losses: two kinds of images, those that fit their label and those that do not."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64
from scipy import special

from tapetum.core.errors import UsageError
from tapetum.score.given import SMALLEST, Given, mean_member, of_given

__all__ = ["loss_mixture"]


def loss_mixture(
    probs: Float[np.ndarray, "*e n k"], labels: Given, *, rounds: int = 500, floor: float = 5e-4
) -> Float64[np.ndarray, "n"]:
    """Posterior probability of the low-loss part of a mixture of two normal distributions of the cross-entropy.

    Losses are scaled to 0..1 and the mixture is fitted by expectation-maximisation. Above the higher mean no label is
    trusted more than at it, and below the lower one none less, so that the order never turns round.

    Args:
        probs: out of fold, rows add up to 1; epochs or networks are averaged.
        labels: the given class, 0 to k - 1.
        rounds: most steps of expectation-maximisation, at least 1.
        floor: added to both variances, above 0.

    Returns:
        0..1, higher = trust the label more; all 1 where all losses are equal.

    Raises:
        DataError: NaN, logits, rows that do not add up to 1, or a label that is no column.
        UsageError: an option out of range.

    Example:
        >>> loss_mixture(np.array([[0.9, 0.1], [0.88, 0.12], [0.1, 0.9]]), np.array([0, 0, 0])).round(3).tolist()
        [1.0, 1.0, 0.0]

    Source: Li, Socher and Hoi, ICLR 2020 (DivideMix), section 3.1. Differs: made monotone; started from the halves of
    the sorted losses.
    """
    if rounds < 1 or floor <= 0:
        raise UsageError(f"rounds={rounds}, floor={floor:g}", "rounds ≥ 1, floor > 0", "loss_mixture()")
    values, given = mean_member(probs, labels)
    loss = -np.log(np.clip(of_given(values, given), SMALLEST, 1.0))
    spread = float(np.ptp(loss)) if len(loss) else 0.0
    if spread <= SMALLEST:
        return np.ones(len(loss))
    x = (loss - loss.min()) / spread
    low = (x <= np.median(x)).astype(np.float64)
    if low.all():  # most losses are equal
        low = (x < 0.5).astype(np.float64)
    part, mean, variance = _fit(x, low, rounds, floor)
    inside = np.clip(x, *np.sort(mean))
    return special.softmax(_log_joint(inside, part, mean, variance), axis=0)[int(np.argmin(mean))]


def _fit(
    x: Float64[np.ndarray, "n"], low: Float64[np.ndarray, "n"], rounds: int, floor: float
) -> tuple[Float64[np.ndarray, "2"], Float64[np.ndarray, "2"], Float64[np.ndarray, "2"]]:
    """Shares, means and variances of the two parts."""
    belongs, before = np.stack([low, 1 - low]), -np.inf
    part, mean, variance = np.ones(2), np.ones(2), np.ones(2)
    for _ in range(rounds):
        size = belongs.sum(axis=1) + 1e-12
        part, mean = size / len(x), belongs @ x / size
        variance = (belongs * (x - mean[:, None]) ** 2).sum(axis=1) / size + floor
        joint = _log_joint(x, part, mean, variance)
        belongs = special.softmax(joint, axis=0)
        now = float(np.logaddexp(joint[0], joint[1]).mean())
        if abs(now - before) < 1e-12:
            break
        before = now
    return part, mean, variance


def _log_joint(
    x: Float64[np.ndarray, "n"],
    part: Float64[np.ndarray, "2"],
    mean: Float64[np.ndarray, "2"],
    variance: Float64[np.ndarray, "2"],
) -> Float64[np.ndarray, "2 n"]:
    apart = (x - mean[:, None]) ** 2 / variance[:, None]
    return np.log(part)[:, None] - (np.log(2 * np.pi * variance)[:, None] + apart) / 2
