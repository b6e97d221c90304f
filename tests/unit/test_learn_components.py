"""Fewer columns for methods that are trained step by step: what they keep of the training rows."""

from __future__ import annotations

import numpy as np
import pytest

from tapetum.learn.fitting.components import Components


@pytest.mark.parametrize("count", [12, 13, 30, 39])
def test_of_fewer_rows_than_components_the_directions_of_the_rows_are_kept(count):
    """Not all columns, of which there may be thousands; dot products between the rows stay what they were."""
    features = np.random.default_rng(4).normal(size=(12, 40))
    some, whole = (Components.fit(features, c, np.random.default_rng(0)) for c in (count, 0))
    rows, plain = some(features) / some.scale, whole(features) / whole.scale
    assert (rows.shape, plain.shape) == ((12, 12), (12, 40))
    np.testing.assert_allclose(rows @ rows.T, plain @ plain.T, atol=1e-3)


def test_as_many_components_as_columns_are_the_columns():
    features = np.random.default_rng(4).normal(size=(50, 8))
    assert Components.fit(features, 8, np.random.default_rng(0)).rotation is None
