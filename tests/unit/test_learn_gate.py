"""A gate around a model: what it keeps, what it lets through, and that it belongs to one model only."""

from __future__ import annotations

import csv
import dataclasses
import io

import numpy as np
import pytest

from tapetum.core.errors import ArtefactError, DataError, UsageError
from tapetum.core.types import Split
from tapetum.learn import AdaptConfig, adapt, predict_archive, zero_shot
from tapetum.learn import gate as gate_module
from tapetum.learn.adapt import held_out_logits, unseen_logits
from tapetum.learn.gate import GateConfig, fit_gate, load_gate
from tapetum.learn.predict import predictions_csv
from toys import ENCODER

FINDINGS = ("cataract", "glaucoma")
KNN = GateConfig(score="knn(k=3)", threads=1)


@pytest.fixture(scope="module")
def model(toy_archive, toy_embeddings):
    return adapt(toy_archive, AdaptConfig(encoders=ENCODER, findings=FINDINGS, threads=1), embeddings=toy_embeddings)


@pytest.fixture(scope="module")
def gate(toy_archive, toy_embeddings, model):
    return fit_gate(toy_archive, model, KNN, embeddings=toy_embeddings)


def test_it_keeps_the_stated_share_of_validation_images(gate, toy_archive, toy_embeddings):
    val = toy_embeddings.rows([r.image_id for r in toy_archive.in_split(Split.VAL)])
    kept = gate.outlying(val.features) < gate.limit
    assert kept.sum() == np.ceil(0.95 * len(kept))


def test_noise_is_refused_and_known_images_are_not(gate, toy_archive, toy_embeddings, model):
    test = toy_embeddings.rows([r.image_id for r in toy_archive.in_split(Split.TEST)])
    known = gate.judge(zero_shot(model, test, FINDINGS), test.features).doubts
    assert (known.outlying < known.limit).mean() > 0.7
    strange = dataclasses.replace(test, features=-10 * test.features[:, ::-1].copy())
    doubts = gate.judge(zero_shot(model, strange, FINDINGS), strange.features).doubts
    assert {doubts.why(i, 0) for i in range(len(strange.features))} == {"out of distribution"}


def test_a_model_that_learned_from_val_is_judged_by_folds_left_out(model, toy_archive, toy_embeddings):
    logits, labels, patients = unseen_logits(toy_archive, model, toy_embeddings)
    ids = [r.image_id for s in (Split.TRAIN, Split.VAL) for r in toy_archive.in_split(s)]
    rows = toy_embeddings.rows(ids)
    again = held_out_logits("linear_probe", rows, toy_archive.labels(FINDINGS, image_ids=ids), np.random.default_rng(0))
    assert len(labels) == len(ids)
    assert patients == rows.patient_ids
    np.testing.assert_array_equal(logits, again)
    assert not np.allclose(logits, zero_shot(model, rows, FINDINGS).logits)


def test_a_model_that_left_val_out_is_judged_by_it(toy_archive, toy_embeddings):
    config = AdaptConfig(encoders=ENCODER, findings=FINDINGS, threads=1, cross_fit=False)
    plain = adapt(toy_archive, config, embeddings=toy_embeddings)
    logits, _, _ = unseen_logits(toy_archive, plain, toy_embeddings)
    val = toy_embeddings.rows([r.image_id for r in toy_archive.in_split(Split.VAL)])
    np.testing.assert_array_equal(logits, zero_shot(plain, val, FINDINGS).logits)


def test_a_model_of_words_needs_findings(toy_archive, toy_embeddings, toy_model):
    made = fit_gate(toy_archive, toy_model, dataclasses.replace(KNN, findings=FINDINGS), embeddings=toy_embeddings)
    assert made.findings == FINDINGS
    bare = dataclasses.replace(toy_model, operating=None)
    with pytest.raises(UsageError, match="no finding"):
        fit_gate(toy_archive, bare, KNN, embeddings=toy_embeddings)


def test_saved_and_read_it_is_the_same_and_damage_is_told(gate, tmp_path):
    place = gate.save(tmp_path / "gate")
    again = load_gate(place)
    assert again.digest == gate.digest
    assert (again.counts, again.parents) == (gate.counts, gate.parents)
    text = (place / "gate.json").read_text().replace('"alpha": 0.1', '"alpha": 0.2')
    (place / "gate.json").write_text(text)
    with pytest.raises(ArtefactError, match="damaged"):
        load_gate(place)


def test_predictions_name_what_to_leave_to_a_person(gate, model, toy_archive):
    found = predict_archive(toy_archive, model, gate=gate)
    rows = list(csv.DictReader(io.StringIO(predictions_csv(found))))
    plain = list(csv.DictReader(io.StringIO(predictions_csv(predict_archive(toy_archive, model)))))
    assert set(rows[0]) - set(plain[0]) == {"leave_to_a_person", "outlying", "outlying_limit"}
    for row, (i, j) in zip(rows, np.ndindex(found.logits.shape), strict=True):
        assert row["leave_to_a_person"] == found.doubts.why(i, j)
        refused = float(row["outlying"]) >= float(row["outlying_limit"])
        assert refused == (row["leave_to_a_person"] == "out of distribution")
    assert [{k: v for k, v in r.items() if k in plain[0]} for r in rows] == plain


def test_another_models_predictions_and_unknown_findings_are_refused(gate, model, toy_archive, toy_embeddings):
    predictions = zero_shot(model, toy_embeddings, FINDINGS)
    with pytest.raises(UsageError, match="a gate of model"):
        gate.judge(dataclasses.replace(predictions, model="another"), toy_embeddings.features)
    with pytest.raises(UsageError, match="nothing of"):
        gate.judge(dataclasses.replace(predictions, findings=("cataract", "drusen")), toy_embeddings.features)


def test_a_score_that_needs_labels_and_an_empty_split_are_refused(model, toy_archive, toy_embeddings):
    with pytest.raises(UsageError, match="a score of features"):
        fit_gate(toy_archive, model, GateConfig(score="energy"), embeddings=toy_embeddings)
    records = tuple(r for r in toy_archive.records if r.split != Split.VAL)
    with pytest.raises(DataError, match="0 validation images"):
        fit_gate(dataclasses.replace(toy_archive, records=records), model, KNN, embeddings=toy_embeddings)


def test_validation_images_that_copy_training_images_set_no_limit(model, toy_archive, toy_embeddings, monkeypatch):
    """The nearest ones are called copies: the limit for the same share rises, and the gate says how many."""
    plain = fit_gate(toy_archive, model, KNN, embeddings=toy_embeddings)
    val = [r.image_id for r in toy_archive.in_split(Split.VAL)]
    scores = plain.outlying(toy_embeddings.rows(val).features)
    order = np.argsort(scores)
    near = {val[i] for i in order[: len(val) // 2]}
    monkeypatch.setattr(gate_module, "copies", lambda learned, ids, tested: frozenset(near))
    made = fit_gate(toy_archive, model, KNN, embeddings=toy_embeddings)
    assert (made.counts["copies left out"], plain.counts["copies left out"]) == (len(near), 0)
    assert made.counts["validation images"] == len(val) - len(near)
    kept = np.sort(scores)[len(near) :] < made.limit
    assert kept.sum() == np.ceil(0.95 * len(kept))
    monkeypatch.setattr(gate_module, "copies", lambda learned, ids, tested: frozenset(val))
    with pytest.raises(DataError, match="0 validation images"):
        fit_gate(toy_archive, model, KNN, embeddings=toy_embeddings)
