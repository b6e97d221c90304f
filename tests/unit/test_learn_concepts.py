"""The concept bottleneck: what a logit is made of, what a sentence may say, and what labels may change."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tapetum.core.errors import UsageError
from tapetum.knowledge import load_pack
from tapetum.learn import AdaptConfig, adapt, load_model, zero_shot
from tapetum.learn.adapters.concepts import EVERY, Concepts
from tapetum.learn.fitting.anchors import Anchors, anchors_of
from tapetum.learn.fitting.concepts import Described, described
from toys import COLOURS, ENCODER

FINDINGS = tuple(sorted(COLOURS))


def ground(n=200, seed=0, flipped=False):
    """Two findings on columns 0 and 1; sentences a1 and a2 speak for the first, b for the second, x for neither."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((n, 2)) < 0.5).astype(float)
    rows = rng.normal(size=(n, 4))
    rows[:, :2] += 2 * labels
    directions = np.eye(4)[:, [0, 0, 1, 3]]
    directions[:, 1] = [0.8, 0, 0, 0.6]
    said = Described(
        ("a1", "a2", "b", "x"), -directions if flipped else directions,
        np.array([[1, 0], [1, 0], [0, 1], [0, 0]], dtype=bool), np.array([0, 0, 1, -1]),
    )  # fmt: skip
    return rows, labels, Anchors(np.eye(4)[:, :2], np.zeros(2), said)


def fitted(spec=None, **how):
    rows, labels, anchors = ground(**how)
    return dataclasses.replace(spec or Concepts()).fit(rows, labels, anchors=anchors)


def test_what_a_logit_is_made_of_sums_to_it():
    adapter, (query, _, _) = fitted(), ground(seed=1)
    logits = adapter(query[:5])
    for i, row in enumerate(query[:5]):
        for j in range(2):
            parts = adapter.explained(row, j)
            assert sum(value for _, value in parts) == pytest.approx(logits[i, j])
            assert parts[-1] == (EVERY, pytest.approx(adapter.bias_[j]))
            sizes = [abs(value) for _, value in parts[:-1]]
            assert sizes == sorted(sizes, reverse=True)


def test_a_concept_that_is_made_absent_moves_the_logit_by_its_weight():
    adapter, (rows, labels, _) = fitted(), ground()
    b = adapter.names_.index("b")
    image = rows[np.argmax(rows[:, 1])][None]
    absent = adapter.scores(rows)[labels[:, 1] == 0, b].mean()
    assert adapter.absent_[b] == pytest.approx(absent)
    assert adapter.absent_[adapter.names_.index("x")] == 0  # no label speaks of its finding
    before, after = adapter(image)[0], adapter.without(image, ["b"])[0]
    expected = (absent - adapter.scores(image)[0, b]) * adapter.weight_[b]
    np.testing.assert_allclose(after - before, expected)
    assert after[1] < before[1] - 1
    np.testing.assert_array_equal(adapter.without(image, [])[0], before)
    with pytest.raises(UsageError, match="no concept"):
        adapter.without(image, ["c"])


def test_scores_and_the_start_by_hand():
    """Without a negative image a finding stays at its own sentences: equal weights, logits that spread by 2."""
    rows, labels, anchors = ground(flipped=True)
    labels[:, 0] = 1
    adapter = Concepts().fit(rows, labels, anchors=anchors)
    cosine = rows @ anchors.described.directions
    z = (cosine - cosine.mean(0)) / cosine.std(0)
    np.testing.assert_allclose(adapter.scores(rows), z)
    own = (z[:, 0] + z[:, 1]) / 2
    np.testing.assert_allclose(adapter(rows)[:, 0], 2 * own / own.std())
    np.testing.assert_allclose(adapter.weight_[:, 0], [1 / own.std(), 1 / own.std(), 0, 0])


def test_a_sentence_never_speaks_against_its_own_finding():
    """All sentences turned round: their own weights end at 0, those of other findings may be negative."""
    adapter = fitted(flipped=True, spec=Concepts(penalty=1e-4, sparse=0.0))
    assert (adapter.weight_[:2, 0] == 0).all()
    assert adapter.weight_[2, 1] == 0
    assert fitted(spec=Concepts(penalty=1e-4, sparse=0.0)).weight_[:2, 0].max() > 0.5


def test_without_signs_and_price_it_is_the_ridge_of_scikit_learn():
    """One finding in as many rows with as without, no sentence its own: penalty 0.1 is C = 1 / (0.1 · n)."""
    rows, labels, anchors = ground()
    chosen = np.concatenate([np.flatnonzero(labels[:, 0] == v)[:70] for v in (0, 1)])
    said = dataclasses.replace(anchors.described, speaks=np.zeros((4, 1), dtype=bool), taught=np.full(4, -1))
    adapter = Concepts(penalty=0.1, sparse=0.0).fit(
        rows[chosen], labels[chosen, :1], anchors=Anchors(np.eye(4)[:, :1], np.zeros(1), said)
    )
    z = adapter.scores(rows[chosen])
    peer = LogisticRegression(C=1 / (0.1 * 140), tol=1e-10, max_iter=1000).fit(z, labels[chosen, 0])
    np.testing.assert_allclose(adapter.weight_[:, 0], peer.coef_[0], atol=1e-4)
    np.testing.assert_allclose(adapter.bias_, peer.intercept_, atol=1e-4)


def test_a_price_leaves_other_sentences_out():
    free, dear = (fitted(Concepts(penalty=0.001, sparse=s)) for s in (0.0, 0.05))
    others = ~ground()[2].described.speaks
    assert (free.weight_[others] != 0).all()
    assert (dear.weight_[others] == 0).sum() >= 3
    np.testing.assert_array_equal(fitted(Concepts(penalty=0.01)).penalty_, [0.01, 0.01])


def test_grounding_turns_a_sentence_to_what_its_labels_mean():
    rows, labels, anchors = ground(flipped=True)
    blind, told = (Concepts(grounding=g).fit(rows, labels, anchors=anchors) for g in (0.0, 1.0))
    apart = rows[labels[:, 1] == 1].mean(0) - rows[labels[:, 1] == 0].mean(0)
    np.testing.assert_allclose(told.directions_[:, 2], apart / np.linalg.norm(apart))
    np.testing.assert_array_equal(told.directions_[:, 3], anchors.described.directions[:, 3])
    np.testing.assert_array_equal(blind.directions_, anchors.described.directions)
    assert told.weight_[2, 1] > 0.5


def test_descriptions_of_a_pack(toy_model):
    said, pack = described(toy_model, ["diabetic_retinopathy", "mild_npdr"]), load_pack("fundus")
    hidden = [d for f in pack.findings.values() if not f.visible for d in f.descriptions]
    assert hidden
    assert not set(hidden) & set(said.names)
    assert len(set(said.names)) == len(said.names) == said.directions.shape[1]
    np.testing.assert_allclose(np.linalg.norm(said.directions, axis=0), 1, rtol=1e-5)
    grade = said.names.index(pack.findings["mild_npdr"].descriptions[0])
    assert said.speaks[grade].tolist() == [True, True]
    assert said.taught[grade] == 1
    whole = said.names.index(pack.findings["diabetic_retinopathy"].descriptions[0])
    assert said.speaks[whole].tolist() == [True, False]
    assert not said.speaks[said.names.index(pack.findings["cataract"].descriptions[0])].any()
    assert described(dataclasses.replace(toy_model, pack=""), ["x"]) is None
    assert anchors_of(toy_model, FINDINGS).described is None
    assert anchors_of(toy_model, FINDINGS, concepts=True).described.speaks.any(0).all()


def test_controls_have_no_sentence_at_its_own_direction(toy_model):
    said, rng = described(toy_model, FINDINGS), np.random.default_rng(0)
    shuffled, drawn = said.shuffled(rng), said.randomised(rng)
    assert (np.abs(shuffled.directions - said.directions).max(0) > 0).all()
    np.testing.assert_array_equal(np.sort(shuffled.directions, axis=1), np.sort(said.directions, axis=1))
    np.testing.assert_allclose(np.linalg.norm(drawn.directions, axis=0), 1)
    assert drawn.names == said.names


def test_a_model_with_it_is_saved_and_read(toy_archive, toy_embeddings, toy_model, tmp_path):
    settings = AdaptConfig("concepts(penalty=0.1)", ENCODER, FINDINGS, threads=1)
    model = adapt(toy_archive, settings, embeddings=toy_embeddings, model=toy_model)
    again = load_model(model.save(tmp_path / "model"))
    before, after = (zero_shot(m, toy_embeddings, FINDINGS).logits for m in (model, again))
    np.testing.assert_allclose(before, after)
    image = again.encode_image(toy_embeddings.features[:1])[0]
    parts = again.adapter.explained(image, 0)
    assert sum(v for _, v in parts) == pytest.approx(before[0, 0])
    assert {name for name, _ in parts} - {EVERY} <= set(described(toy_model, FINDINGS).names)


@pytest.mark.parametrize("wrong", [{"penalty": -1.0}, {"sparse": -0.1}, {"grounding": 1.5}, {"folds": 1}])
def test_options_out_of_range_are_refused(wrong):
    rows, labels, anchors = ground()
    with pytest.raises(UsageError, match="penalty"):
        Concepts(**wrong).fit(rows, labels, anchors=anchors)
