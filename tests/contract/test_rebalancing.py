"""What every choice of rows promises; a new file in the family is tested by being there."""

from __future__ import annotations

import numpy as np
import pytest

from tapetum.core.registry import Family

SAMPLERS = Family("tapetum.learn.rebalancing")
LABELS = np.repeat([0, 1, 2], [800, 160, 40])
each_sampler = pytest.mark.parametrize("name", SAMPLERS.names())
# Chance of each class in an epoch, by the member's own rule, with its default options.
ROOTS = np.sqrt([800, 160, 40])
REPEATED = np.maximum(1, np.sqrt(1000 / 3 / np.array([800, 160, 40]))) * [800, 160, 40]
DECLARED = {
    "class_balanced": np.ones(3), "square_root": ROOTS, "progressive": np.ones(3), "repeat_factor": REPEATED,
    "undersampled": np.array([160, 160, 40]),
}  # fmt: skip


def epoch(name: str, seed: int, labels=LABELS):
    return SAMPLERS.build(name)(labels, rng=np.random.default_rng(seed))


@each_sampler
def test_the_declared_frequencies_are_reached(name):
    drawn = np.concatenate([LABELS[epoch(name, seed)] for seed in range(40)])
    share = np.bincount(drawn, minlength=3) / len(drawn)
    np.testing.assert_allclose(share, DECLARED[name] / DECLARED[name].sum(), atol=0.01)


@each_sampler
def test_the_generator_alone_decides(name):
    assert np.array_equal(epoch(name, 1), epoch(name, 1))
    assert not np.array_equal(epoch(name, 1), epoch(name, 2))


@each_sampler
def test_rows_are_rows_in_mixed_order(name):
    rows = epoch(name, 0)
    assert rows.min() >= 0
    assert rows.max() < len(LABELS)
    assert np.issubdtype(rows.dtype, np.integer)
    half = len(rows) // 2
    assert abs((LABELS[rows[:half]] == 0).mean() - (LABELS[rows[half:]] == 0).mean()) < 0.15


@each_sampler
def test_every_row_of_a_class_is_as_likely(name):
    drawn = np.bincount(np.concatenate([epoch(name, seed) for seed in range(200)]), minlength=len(LABELS))
    of = drawn[LABELS == 2]
    assert of.min() > 0.6 * of.mean()
    assert of.max() < 1.4 * of.mean()


@each_sampler
def test_findings_count_by_their_rarest(name):
    findings = np.zeros((1000, 2))
    findings[:400, 0] = 1
    findings[390:400, 1] = 1
    rows = np.concatenate([epoch(name, seed, findings) for seed in range(20)])
    share = (rows >= 390) & (rows < 400)
    assert share.mean() > 0.015
