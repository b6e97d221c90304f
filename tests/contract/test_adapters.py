"""What every few-shot adapter promises; a new file in the family is tested by being there."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tapetum.core.errors import UsageError
from tapetum.core.registry import Family
from tapetum.learn.fitting.anchors import Anchors

ADAPTERS = Family("tapetum.learn.adapters")
each_adapter = pytest.mark.parametrize("name", ADAPTERS.names())


def toy(n=120, seed=0, k=3):
    """Features whose first columns carry one finding each; two images per patient."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, k)) < 0.4).astype(float)
    features = 0.7 * rng.normal(size=(n, 12))
    features[:, :k] += 3 * labels
    return features.astype(np.float32), labels, np.repeat(np.arange(n // 2), 2)


def heads(order=(0, 1, 2)):
    """The zero-shot head that knows which column speaks for which finding."""
    return Anchors(np.eye(12)[:, list(order)], np.full(len(order), -1.2))


def fitted(name, features, labels, groups=None, *, anchors=None):
    return ADAPTERS.build(name).fit(features, labels, groups, anchors=anchors or heads())


@each_adapter
def test_better_than_chance_on_other_images(name):
    adapter = ADAPTERS.build(name)
    assert adapter.fit(*toy(), anchors=heads()) is adapter
    query, truth, _ = toy(seed=1)
    logits = adapter(query)
    assert logits.shape == truth.shape
    assert min(roc_auc_score(truth[:, j], logits[:, j]) for j in range(3)) > 0.85


@each_adapter
def test_it_says_what_it_needs(name):
    assert set(ADAPTERS.member(name).NEEDS) <= {"anchors", "concepts"}


@each_adapter
def test_anchors_are_asked_for_where_they_are_needed(name):
    features, labels, groups = toy()
    adapter, query = ADAPTERS.build(name), toy(seed=1)[0]
    if not adapter.NEEDS:
        with_them = fitted(name, features, labels, groups)(query)
        np.testing.assert_array_equal(adapter.fit(features, labels, groups)(query), with_them)
        return
    with pytest.raises(UsageError, match="no anchors"):
        adapter.fit(features, labels, groups)
    for other in (Anchors(np.eye(11)[:, :3], np.zeros(3)), heads((0, 1)), Anchors(np.eye(12)[:, :3], np.zeros(2))):
        with pytest.raises(UsageError, match="anchors for"):
            adapter.fit(features, labels, groups, anchors=other)


@each_adapter
def test_permuted_findings_permute_the_columns(name):
    features, labels, groups = toy()
    order = [2, 0, 1]
    query = toy(seed=1)[0]
    straight = fitted(name, features, labels, groups)(query)
    mixed = fitted(name, features, labels[:, order], groups, anchors=heads(order))(query)
    np.testing.assert_allclose(mixed, straight[:, order], atol=1e-6)


@each_adapter
def test_fitting_and_scoring_are_deterministic_and_row_by_row(name):
    query = toy(seed=1)[0]
    adapter = fitted(name, *toy())
    np.testing.assert_array_equal(fitted(name, *toy())(query), adapter(query))
    np.testing.assert_allclose(adapter(query[:7]), adapter(query)[:7], atol=1e-6)


@each_adapter
def test_state_survives_storing(name):
    query = toy(seed=1)[0]
    adapter = fitted(name, *toy())
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
    once = fitted(name, features, labels, groups)(query)
    padded = np.concatenate([labels, np.full_like(labels, np.nan)])
    twice = fitted(name, np.tile(features, (2, 1)), padded, np.tile(groups, 2))(query)
    np.testing.assert_allclose(twice, once, atol=1e-5)


@each_adapter
def test_unknown_labels_of_one_finding_leave_the_others_alone(name):
    features, labels, groups = toy()
    query = toy(seed=1)[0]
    straight = fitted(name, features, labels, groups)(query)
    holed = labels.copy()
    holed[:30, 0] = np.nan
    found = fitted(name, features, holed, groups)(query)
    # All findings share one network there: the others feel it, but hardly.
    shared = 0.05 if name == "clip_adapter" else 1e-6
    np.testing.assert_allclose(found[:, 1:], straight[:, 1:], atol=shared)
    if name != "zero_shot":  # which learns nothing
        assert not np.allclose(found[:, 0], straight[:, 0])
    assert roc_auc_score(toy(seed=1)[1][:, 0], found[:, 0]) > 0.8


@each_adapter
def test_the_support_is_left_as_it_was(name):
    features, labels, groups = toy()
    before = features.copy(), labels.copy()
    fitted(name, features, labels, groups)
    np.testing.assert_array_equal(features, before[0])
    np.testing.assert_array_equal(labels, before[1])


@each_adapter
def test_groups_may_be_names_or_missing(name):
    features, labels, groups = toy()
    named = fitted(name, features, labels, np.array([f"p{g}" for g in groups]))
    assert np.isfinite(named(features)).all()
    assert np.isfinite(fitted(name, features, labels)(features)).all()


@each_adapter
def test_fitting_again_forgets(name):
    query = toy(seed=1)[0]
    adapter = fitted(name, *toy(seed=5))
    np.testing.assert_allclose(adapter.fit(*toy(), anchors=heads())(query), fitted(name, *toy())(query))


WITH_WORDS = [name for name in ADAPTERS.names() if "anchors" in ADAPTERS.member(name).NEEDS]
each_with_words = pytest.mark.parametrize("name", WITH_WORDS)


def macro(logits, truth):
    return np.mean([roc_auc_score(truth[:, j], logits[:, j]) for j in range(truth.shape[1])])


def few(shots, seed):
    """As many images with as without each finding, drawn from the toy."""
    features, labels, groups = toy(300, seed=seed)
    rows = np.unique([np.flatnonzero(labels[:, j] == v)[:shots] for j in range(3) for v in (0, 1)])
    return features[rows], labels[rows], groups[rows]


# Members that only start at the words, and are held by nothing but the number of their steps.
FREE = {"cross_modal", "lp_plus_plus", "zs_lp"}
# Members whose reach is short by design: a fifth of a network's output, a few hundred small steps.
SHORT = {"clip_adapter", "task_res"}


@each_with_words
def test_one_shot_does_not_undo_words_that_are_right(name):
    query, truth, _ = toy(600, seed=9)
    start = macro(heads().logits(query), truth)
    found = [macro(fitted(name, *few(1, seed))(query), truth) for seed in range(5)]
    without = [macro(fitted("linear_probe", *few(1, seed))(query), truth) for seed in range(5)]
    assert np.mean(found) > (np.mean(without) + 0.02 if name in FREE else start - 0.01), (start, found, without)


@each_with_words
def test_many_shots_leave_words_that_are_wrong(name):
    if name == "zero_shot":
        return
    query, truth, _ = toy(600, seed=9)
    # Each finding named by the column of another one and turned round.
    wrong = Anchors(-np.eye(12)[:, [1, 2, 0]], np.full(3, 1.2))
    start = macro(wrong.logits(query), truth)
    found = macro(fitted(name, *toy(400, seed=3), anchors=wrong)(query), truth)
    assert start < 0.55
    assert found > start + (0.002 if name in SHORT else 0.1), (start, found)


@each_with_words
def test_a_finding_with_one_class_keeps_its_words(name):
    features, labels, groups = toy()
    labels[:, 1] = np.where(labels[:, 1] == 1, np.nan, 0)
    query, truth, _ = toy(600, seed=1)
    found = fitted(name, features, labels, groups)(query)
    if name == "clip_adapter":  # whose network the other findings train
        assert roc_auc_score(truth[:, 1], found[:, 1]) > 0.9
    else:
        np.testing.assert_allclose(found[:, 1], heads().logits(query)[:, 1], atol=1e-9)
