"""Logistic regression with an L2 penalty for many targets, folds and penalties at once.

With few images and many features the rows are turned into as many coordinates as there are images, by a Cholesky
factor of their Gram matrix: the scores and the length of the weights stay as they were. Folds and unknown labels are
row weights of 0, so that one turn serves them all, and every Newton step of every target is one matrix product for all
of them. Eigenvectors would do the same, but finding all of them costs more than everything else together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int
from scipy.linalg import solve_triangular
from scipy.special import expit

from tapetum.core.errors import UsageError
from tapetum.learn.fitting.ridge import best_penalty
from tapetum.score.metrics.auroc_score import auroc_score

LOGISTIC_PENALTIES = (30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)  # large to small: each starts the next
STEPS, INNER, HALVINGS = 100, 60, 30
_COARSE = 1e-5  # mean Newton decrement at which inner folds are ranked
_WHOLE, _LEADING, _SWEEPS = 300, 128, 2  # axes: all of them up to that many coordinates, else the leading ones


@dataclass(frozen=True)
class Turned:
    """Rows in few coordinates, the way back to weights of the features, and the axes along which they vary most.

    Attributes:
        coordinates: of the centred rows. mean: of the rows.
        rows: as they were given. factor: lower triangular, the coordinates are its rows; None where the coordinates are
            the centred rows themselves.
        values: squared lengths along the leading axes. axes: those, orthonormal columns. rest: mean of the others'.
    """

    coordinates: Float[np.ndarray, "n q"]
    mean: Float64[np.ndarray, "d"]
    rows: Float[np.ndarray, "n d"]
    factor: Float64[np.ndarray, "n n"] | None
    values: Float[np.ndarray, "r"]
    axes: Float[np.ndarray, "q r"]
    rest: float

    @staticmethod
    def of(rows: Float[np.ndarray, "n d"]) -> Turned:
        """Turn once, O(n²·d + n³/3) with fewer rows than features, O(n·d) otherwise; then a few leading axes."""
        mean = rows.mean(0, dtype=np.float64)
        factor = None
        if rows.shape[1] <= rows.shape[0]:
            x = rows.astype(np.float64) - mean
        else:
            gram = (rows @ rows.T).astype(np.float64)
            inner = gram.mean(1)
            gram += inner.mean() - inner[:, None] - inner
            # What rounding leaves uncertain is lifted above 0: centred rows always have one direction too many.
            gram[np.diag_indices_from(gram)] += (
                16 * np.finfo(rows.dtype).eps * max(float(np.trace(gram)), 1e-12) / len(rows)
            )
            x = factor = np.linalg.cholesky(gram)
        values, axes = _leading(x)
        width = x.shape[1]
        others = max(float((x**2).sum() - values.sum()), 0.0) / max(width - len(values), 1)
        return Turned(x, mean, rows, factor, values, axes, others)

    def single(self) -> Turned:
        """The same in single precision, for choosing."""
        x, values, axes = (a.astype(np.float32) for a in (self.coordinates, self.values, self.axes))
        return Turned(x, self.mean, self.rows, self.factor, values, axes, self.rest)

    def weights(
        self, solution: Float[np.ndarray, "s c"]
    ) -> tuple[Float64[np.ndarray, "d c"], Float64[np.ndarray, "c"]]:
        """Weights and intercepts of the features from those of the coordinates (the intercept stands last)."""
        weight = solution[:-1].astype(np.float64)
        if self.factor is not None:
            dual = solve_triangular(self.factor, weight, lower=True, trans=1)
            # Taking the mean out of the combination spares a centred copy of the rows.
            weight = (self.rows.T @ (dual - dual.mean(0)).astype(self.rows.dtype)).astype(np.float64)
        return weight, solution[-1] - self.mean @ weight


def logistic_fit(
    turned: Turned,
    targets: Float[np.ndarray, "n c"],
    weights: Float[np.ndarray, "n c"],
    penalty: Float[np.ndarray, "c"],
    *,
    start: Float[np.ndarray, "s c"] | None = None,
    tolerance: float = 1e-18,
) -> Float[np.ndarray, "s c"]:
    """Minimise Σ weight·log-loss + penalty/2·‖w‖² column by column, by Newton steps solved with conjugate gradients.

    Args:
        turned: the rows; the dtype of the coordinates is that of the work.
        targets: 0 or 1; what stands where the weight is 0 plays no part.
        weights: of each row in each column, 0 = left out.
        penalty: above 0; the intercept is not penalised. scikit-learn's C is 1 / penalty.
        start: solution of a neighbouring penalty.
        tolerance: a column is done when its Newton decrement falls below tolerance × the number of its rows.

    Returns:
        `[q + 1, c]`: weights of the coordinates, the intercept last.

    Raises:
        UsageError: a penalty that is not above 0: with more features than rows there would be no minimum.
    """
    if not (penalty > 0).all():
        raise UsageError(f"penalty={float(penalty.min()):g}", "above 0", "logistic()")
    x = turned.coordinates
    y, m = np.where(weights > 0, targets, 0).astype(x.dtype), weights.astype(x.dtype)
    ridge = np.repeat(penalty[None].astype(x.dtype), x.shape[1] + 1, axis=0)
    ridge[-1] = 0
    solution = np.zeros((x.shape[1] + 1, y.shape[1]), x.dtype) if start is None else start.astype(x.dtype)
    score, going = x @ solution[:-1] + solution[-1], np.arange(y.shape[1])
    enough = tolerance * np.maximum(m.sum(0), 1)
    for _ in range(STEPS):
        b, f, t, mass, lam = solution[:, going], score[:, going], y[:, going], m[:, going], ridge[:, going]
        probability = expit(f)
        gradient = _down(x, mass * (probability - t)) + lam * b
        curvature = mass * probability * (1 - probability)
        scale = _Scale.of(turned, curvature, lam[0])
        decrement = (gradient * scale(gradient)).sum(0)
        open_ = decrement > enough[going]
        if not open_.any():
            break
        going = going[open_]
        b, f, t, mass, lam, gradient, curvature = (a[:, open_] for a in (b, f, t, mass, lam, gradient, curvature))
        # The nearer the minimum, the more exact the step: a whole Newton step doubles the digits, a rough one does not.
        rough = np.minimum(1e-2, np.sqrt(decrement[open_] / np.maximum(mass.sum(0), 1)))
        step = _newton(x, curvature, lam, _Scale.of(turned, curvature, lam[0]), gradient, rough)
        along = x @ step[:-1] + step[-1]
        length = _halved(f, along, t, mass, b, step, lam, gradient)
        solution[:, going] = b + length * step
        score[:, going] = f + length * along
        if not length.any():
            break
    return solution


def chosen_penalties(
    turned: Turned,
    labels: Float[np.ndarray, "n k"],
    fold: Int[np.ndarray, "n"],
    penalties: Sequence[float] = LOGISTIC_PENALTIES,
) -> Float64[np.ndarray, "k"]:
    """The penalty of each finding with the highest mean AUROC over the folds, the largest of equals.

    Args:
        turned: the rows.
        labels: 1, 0, or NaN unknown.
        fold: number of each row's fold, see `patient_folds`.
        penalties: those to try, best from large to small: each solution is the start of the next.

    Returns:
        A finding that no fold can judge, since a class is absent from it or from the rest, gets what serves the others
        best on average; the middle one of those tried where none can be judged.
    """
    table = _fold_aurocs(turned.single(), labels, fold, penalties)
    counted = ~np.isnan(table)
    quality = np.divide(
        np.where(counted, table, 0).sum(1), counted.sum(1), out=np.full(table[:, 0].shape, np.nan), where=counted.any(1)
    )
    judged = np.asarray(~np.isnan(quality).any(0))
    order = np.argsort(penalties)  # of equals, the largest one stands last
    values = np.asarray(penalties, dtype=np.float64)[order]
    middle = float(values[len(values) // 2])
    shared = best_penalty(quality[order][:, judged].mean(1), values.tolist()) if judged.any() else middle
    return np.array(
        [best_penalty(quality[order, j], values.tolist()) if judged[j] else shared for j in range(labels.shape[1])]
    )


def _fold_aurocs(
    turned: Turned,
    labels: Float[np.ndarray, "n k"],
    fold: Int[np.ndarray, "n"],
    penalties: Sequence[float],
) -> Float64[np.ndarray, "p f k"]:
    """AUROC on each held-out fold under each penalty; NaN where a class is absent from it or from the rest."""
    numbers = np.unique(fold)
    table = np.full((len(penalties), len(numbers), labels.shape[1]), np.nan)
    both = [
        (f, j)
        for f, number in enumerate(numbers)
        for j in range(labels.shape[1])
        if all((labels[side, j] == v).any() for side in (fold == number, fold != number) for v in (0, 1))
    ]
    if not both:
        return table
    columns = np.array([j for _, j in both])
    targets = labels[:, columns]
    weights = ~np.isnan(targets) & (fold[:, None] != numbers[[f for f, _ in both]])
    held = [np.flatnonzero((fold == numbers[f]) & ~np.isnan(labels[:, j])) for f, j in both]
    solution = None
    for p, penalty in enumerate(penalties):
        solution = logistic_fit(
            turned, targets, weights, np.full(len(both), penalty), start=solution, tolerance=_COARSE
        )
        scores = turned.coordinates @ solution[:-1]
        for c, (f, j) in enumerate(both):
            table[p, f, j] = auroc_score(scores[held[c], c], targets[held[c], c].astype(int))
    return table


@dataclass(frozen=True)
class _Scale:
    """The inverse of an approximate Hessian: curvature spread evenly over the rows, exact along the leading axes."""

    axes: Any
    along: Any
    across: Any
    intercept: Any

    @staticmethod
    def of(turned: Turned, curvature: Any, penalty: Any) -> _Scale:
        mass, tiny = curvature.sum(0), np.finfo(curvature.dtype).tiny
        mean = mass / len(curvature)
        across = 1 / (mean * curvature.dtype.type(turned.rest) + penalty)
        along = 1 / (mean * turned.values[:, None] + penalty) - across
        return _Scale(turned.axes, along, across, 1 / np.maximum(mass, tiny**0.5))

    def __call__(self, residual: Any) -> Any:
        scaled = np.empty_like(residual)
        scaled[:-1] = self.axes @ (self.along * (self.axes.T @ residual[:-1])) + self.across * residual[:-1]
        scaled[-1] = residual[-1] * self.intercept
        return scaled


def _leading(x: Float64[np.ndarray, "n q"]) -> tuple[Float64[np.ndarray, "r"], Float64[np.ndarray, "q r"]]:
    """Squared lengths along the axes of largest variance, approximately unless there are few; descending."""
    if min(x.shape) <= _WHOLE:
        narrow = x.shape[1] <= x.shape[0]
        values, axes = np.linalg.eigh(x.T @ x if narrow else x @ x.T)
        if not narrow:
            axes = x.T @ (axes / np.sqrt(np.maximum(values, 1e-300)))
        return np.maximum(values[::-1], 0), axes[:, ::-1]
    small = x.astype(np.float32)  # they only shorten the way, they do not decide where it ends
    axes = np.linalg.qr(small[:: len(x) // _LEADING][:_LEADING].T)[0]
    for _ in range(_SWEEPS):
        axes = np.linalg.qr(small.T @ (small @ axes))[0]
    seen = (small @ axes).astype(np.float64)
    values, turn = np.linalg.eigh(seen.T @ seen)
    return np.maximum(values[::-1], 0), axes.astype(np.float64) @ turn[:, ::-1]


def _down(x: Any, rows: Any) -> Any:
    """Transposed product with the coordinates and the constant one."""
    found = np.empty((x.shape[1] + 1, rows.shape[1]), rows.dtype)
    np.matmul(x.T, rows, out=found[:-1])
    found[-1] = rows.sum(0)
    return found


def _newton(x: Any, curvature: Any, lam: Any, scale: _Scale, gradient: Any, rough: Any) -> Float[np.ndarray, "s c"]:
    """The Newton step, until the squared residual of each column has fallen to `rough` of what it was."""
    step, residual = np.zeros_like(gradient), -gradient
    z = scale(residual)
    direction, rho = z, (residual * z).sum(0)
    first = rho
    for _ in range(INNER):
        turned = _down(x, curvature * (x @ direction[:-1] + direction[-1])) + lam * direction
        bend = (direction * turned).sum(0)
        alpha = np.divide(rho, bend, out=np.zeros_like(rho), where=bend > 0)
        step = step + alpha * direction
        residual = residual - alpha * turned
        z = scale(residual)
        fresh = (residual * z).sum(0)
        if (fresh <= rough * first).all():
            break
        direction = z + np.divide(fresh, rho, out=np.zeros_like(rho), where=rho > 0) * direction
        rho = fresh
    return step


def _halved(f: Any, along: Any, t: Any, mass: Any, b: Any, step: Any, lam: Any, gradient: Any) -> Any:
    """Length of the step per column: 1, halved until the objective falls; 0 where it cannot."""

    def loss(length: Any) -> Any:
        here = f + length * along
        return (mass * (np.logaddexp(0, here) - t * here)).sum(0) + (lam * (b + length * step) ** 2).sum(0) / 2

    length = np.ones(f.shape[1], f.dtype)
    before, slope = loss(np.zeros_like(length)), (gradient * step).sum(0)
    slack = np.finfo(f.dtype).eps * 4 * np.abs(before)
    bad = np.zeros(len(length), bool)
    for _ in range(HALVINGS):
        bad = loss(length) > before + 1e-4 * length * slope + slack
        if not bad.any():
            break
        length[bad] /= 2
    length[bad] = 0
    return length
