"""What every few-shot adapter promises; a new file in the family is tested by being there."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tapetum.core.registry import Family

ADAPTERS = Family("tapetum.learn.adapters")
each_adapter = pytest.mark.parametrize("name", ADAPTERS.names())


def toy(n=120, seed=0, k=3):
    """Features whose first columns carry one finding each; two images per patient."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, k)) < 0.4).astype(float)
    features = 0.7 * rng.normal(size=(n, 12))
    features[:, :k] += 3 * labels
    return features.astype(np.float32), labels, np.repeat(np.arange(n // 2), 2)


@each_adapter
def test_better_than_chance_on_other_images(name):
    adapter = ADAPTERS.build(name)
    assert adapter.fit(*toy()) is adapter
    query, truth, _ = toy(seed=1)
    logits = adapter(query)
    assert logits.shape == truth.shape
    assert min(roc_auc_score(truth[:, j], logits[:, j]) for j in range(3)) > 0.85


@each_adapter
def test_permuted_findings_permute_the_columns(name):
    features, labels, groups = toy()
    order = [2, 0, 1]
    query = toy(seed=1)[0]
    straight = ADAPTERS.build(name).fit(features, labels, groups)(query)
    mixed = ADAPTERS.build(name).fit(features, labels[:, order], groups)(query)
    np.testing.assert_allclose(mixed, straight[:, order], atol=1e-6)


@each_adapter
def test_fitting_and_scoring_are_deterministic_and_row_by_row(name):
    query = toy(seed=1)[0]
    adapter = ADAPTERS.build(name).fit(*toy())
    np.testing.assert_array_equal(ADAPTERS.build(name).fit(*toy())(query), adapter(query))
    np.testing.assert_allclose(adapter(query[:7]), adapter(query)[:7], atol=1e-6)


@each_adapter
def test_state_survives_storing(name):
    query = toy(seed=1)[0]
    adapter = ADAPTERS.build(name).fit(*toy())
    state = adapter.state()
    assert all(isinstance(array, np.ndarray) for array in state.values())
    np.testing.assert_array_equal(ADAPTERS.build(name).restore(state)(query), adapter(query))


@each_adapter
def test_images_without_any_label_are_ignored(name):
    """The same images again, unlabelled: standardisation stays, so the scores must stay as well."""
    if name == "knn":
        # A neighbour that does not vote takes the place of one that does: not equal, and not claimed.
        adapter = ADAPTERS.build("knn(k=240)")
        features, labels, groups = toy()
        twice = adapter.fit(np.tile(features, (2, 1)), np.concatenate([labels, np.full_like(labels, np.nan)]), groups)
        assert np.isfinite(twice(toy(seed=1)[0])).all()
        return
    features, labels, groups = toy()
    query = toy(seed=1)[0]
    once = ADAPTERS.build(name).fit(features, labels, groups)(query)
    padded = np.concatenate([labels, np.full_like(labels, np.nan)])
    twice = ADAPTERS.build(name).fit(np.tile(features, (2, 1)), padded, np.tile(groups, 2))(query)
    np.testing.assert_allclose(twice, once, atol=1e-5)


@each_adapter
def test_unknown_labels_of_one_finding_leave_the_others_alone(name):
    features, labels, groups = toy()
    query = toy(seed=1)[0]
    straight = ADAPTERS.build(name).fit(features, labels, groups)(query)
    holed = labels.copy()
    holed[:30, 0] = np.nan
    found = ADAPTERS.build(name).fit(features, holed, groups)(query)
    np.testing.assert_allclose(found[:, 1:], straight[:, 1:], atol=1e-6)
    assert not np.allclose(found[:, 0], straight[:, 0])
    assert roc_auc_score(toy(seed=1)[1][:, 0], found[:, 0]) > 0.8


@each_adapter
def test_the_support_is_left_as_it_was(name):
    features, labels, groups = toy()
    before = features.copy(), labels.copy()
    ADAPTERS.build(name).fit(features, labels, groups)
    np.testing.assert_array_equal(features, before[0])
    np.testing.assert_array_equal(labels, before[1])


@each_adapter
def test_groups_may_be_names_or_missing(name):
    features, labels, groups = toy()
    named = ADAPTERS.build(name).fit(features, labels, np.array([f"p{g}" for g in groups]))
    assert np.isfinite(named(features)).all()
    assert np.isfinite(ADAPTERS.build(name).fit(features, labels)(features)).all()


@each_adapter
def test_fitting_again_forgets(name):
    query = toy(seed=1)[0]
    adapter = ADAPTERS.build(name).fit(*toy(seed=5))
    np.testing.assert_allclose(adapter.fit(*toy())(query), ADAPTERS.build(name).fit(*toy())(query))
