"""The fast draw of shots gives the rows of the plain one."""

from __future__ import annotations

import numpy as np
import pytest

from tapetum.learn.fitting.shots import draw_shots


def plain(labels, patients, shots, rng):
    """Image by image: the first in the order that fits, of a patient not yet drawn if there is one."""
    order, names = rng.permutation(len(labels)), np.asarray(patients)
    chosen = []
    for column in range(labels.shape[1]):
        for value in (1, 0):
            have = sum(labels[i, column] == value for i in chosen)
            for _ in range(shots - have):
                left = [int(i) for i in order if labels[i, column] == value and i not in chosen]
                seen = set(names[chosen])
                chosen += ([i for i in left if names[i] not in seen] or left)[:1]
    return sorted(chosen)


@pytest.mark.parametrize("seed", range(60))
def test_the_rows_of_the_plain_draw(seed):
    rng = np.random.default_rng(seed)
    n, k, shots = int(rng.integers(1, 70)), int(rng.integers(1, 5)), int(rng.integers(0, 9))
    labels = (rng.random((n, k)) < rng.random()).astype(float)
    labels[rng.random((n, k)) < 0.2] = np.nan
    patients = [f"p{i}" for i in rng.integers(0, max(1, n // 3), n)]
    found = draw_shots(labels, patients, shots, np.random.default_rng(seed + 1))
    assert found.tolist() == plain(labels, patients, shots, np.random.default_rng(seed + 1))


def test_more_shots_of_one_finding_go_further_down_the_same_order():
    labels = (np.arange(90) % 3 == 0).astype(float)[:, None]
    patients = [str(i) for i in range(90)]
    few, more = (set(draw_shots(labels, patients, s, np.random.default_rng(4)).tolist()) for s in (3, 8))
    assert few < more
