"""Quadratic kappa of many runs and draws against the metric, draw by draw."""

from __future__ import annotations

import numpy as np
import pytest

from tapetum.core.errors import DataError
from tapetum.core.registry import Family
from tapetum.score.grading import kappa_draws


def test_every_draw_is_what_the_metric_gives():
    rng = np.random.default_rng(0)
    kappa = Family("tapetum.score.metrics").build("cohen_kappa_score(weights='quadratic')")
    grades = rng.integers(5, size=60)
    called = np.clip(grades + rng.integers(-1, 3, size=(3, 60)), 0, 4)
    weights = rng.multinomial(60, np.full(60, 1 / 60), size=8)
    made = kappa_draws(called, grades, 5, weights)
    for b, times in enumerate(weights):
        rows = np.repeat(np.arange(60), times)
        for r in range(3):
            assert made[b, r] == pytest.approx(kappa(np.eye(5)[called[r, rows]], grades[rows]))


def test_invalid_use():
    with pytest.raises(DataError):
        kappa_draws(np.zeros((1, 3), int), np.zeros(2, int), 2, np.ones((1, 2), int))
    with pytest.raises(DataError):
        kappa_draws(np.zeros((1, 2), int), np.zeros(2, int), 2, np.ones((1, 3), int))
