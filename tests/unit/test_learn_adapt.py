"""Adapting with labels: shots, refusals, operating points."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tapetum.core.errors import DataError, UsageError
from tapetum.core.types import Split
from tapetum.learn import AdaptConfig, adapt, load_model, zero_shot
from tapetum.learn.fitting.anchors import SPREAD, anchors_of
from tapetum.learn.fitting.shots import draw_shots
from tapetum.learn.heatmap import heatmap
from toys import COLOURS, ENCODER, clinic

CONFIG = AdaptConfig(encoders=ENCODER, threads=1)


def test_it_finds_what_it_was_taught(toy_archive, toy_embeddings):
    model = adapt(toy_archive, CONFIG, embeddings=toy_embeddings)
    ids = [r.image_id for r in toy_archive.in_split(Split.TEST)]
    found = zero_shot(model, toy_embeddings.rows(ids), model.findings)
    truth = toy_archive.labels(model.findings, image_ids=ids)
    assert (found.logits.argmax(1) == truth.argmax(1)).mean() > 0.8
    assert np.isfinite(found.probs).all()
    assert model.findings == toy_archive.label_names


def test_labels_of_tested_patients_change_nothing(toy_archive, toy_embeddings):
    records = tuple(
        dataclasses.replace(r, labels=("glaucoma",)) if r.split == Split.TEST else r for r in toy_archive.records
    )
    other = dataclasses.replace(toy_archive, records=records)
    first, second = (adapt(a, CONFIG, embeddings=toy_embeddings) for a in (toy_archive, other))
    assert first.digest == second.digest


@pytest.mark.parametrize("shots", [1, 3, 5])
def test_shots_give_both_classes_from_as_many_patients_as_there_are(shots):
    rng = np.random.default_rng(0)
    labels = (rng.random((120, 3)) < 0.3).astype(float)
    labels[:10] = np.nan
    patients = [f"p{i // 4}" for i in range(120)]
    for seed in range(5):
        chosen = draw_shots(labels, patients, shots, np.random.default_rng(seed))
        assert len(set(chosen.tolist())) == len(chosen)
        assert len({patients[i] for i in chosen}) == len(chosen)
        counts = [[int((labels[chosen, j] == v).sum()) for j in range(3)] for v in (1, 0)]
        assert min(counts[0]) >= shots
        assert min(counts[1]) >= shots
        assert len(chosen) <= 2 * 3 * shots


def test_shots_of_one_finding_are_exact_and_random():
    labels = (np.arange(100) % 4 == 0).astype(float)[:, None]
    patients = [str(i) for i in range(100)]
    drawn = [tuple(draw_shots(labels, patients, 5, np.random.default_rng(s))) for s in range(4)]
    assert all(int(labels[list(rows)].sum()) == 5 and len(rows) == 10 for rows in drawn)
    assert len(set(drawn)) == 4
    assert drawn[0] == tuple(draw_shots(labels, patients, 5, np.random.default_rng(0)))


def test_fewer_images_than_shots_are_all_taken():
    labels = np.array([[1.0], [1.0], [0.0]])
    np.testing.assert_array_equal(draw_shots(labels, ["a", "a", "b"], 9, np.random.default_rng(0)), [0, 1, 2])


def test_few_shots_work_end_to_end(toy_archive, toy_embeddings):
    model = adapt(toy_archive, dataclasses.replace(CONFIG, shots=2), embeddings=toy_embeddings)
    assert model.log["shots"] == 2
    assert model.log["pairs"] <= 16
    assert np.isfinite(zero_shot(model, toy_embeddings, model.findings).logits).all()


def test_a_finding_with_one_class_is_refused(toy_archive, toy_embeddings):
    with pytest.raises(DataError, match="positive and"):
        adapt(toy_archive, dataclasses.replace(CONFIG, findings=("drusen",)), embeddings=toy_embeddings)


def test_an_unknown_finding_and_no_labels_are_refused(toy_archive, toy_embeddings, tmp_path):
    with pytest.raises(UsageError):
        adapt(toy_archive, dataclasses.replace(CONFIG, findings=("glaucomo",)), embeddings=toy_embeddings)
    with pytest.raises(DataError, match="has no labels"):
        adapt(clinic(tmp_path / "bare", patients=8), CONFIG)


def test_a_models_towers_are_used(toy_archive, toy_embeddings, toy_model):
    model = adapt(toy_archive, AdaptConfig(threads=1), embeddings=toy_embeddings, model=toy_model)
    assert model.encoders == toy_model.encoders
    assert model.parents["model"] == toy_model.digest
    assert set(model.findings) == set(COLOURS)


def test_an_adapter_that_knows_words_works_on_the_models_common_space(toy_archive, toy_embeddings, toy_model, tmp_path):
    config = dataclasses.replace(CONFIG, adapter="zero_shot")
    model = adapt(toy_archive, config, embeddings=toy_embeddings, model=toy_model)
    assert model.aligner is toy_model.aligner
    assert (model.pack, model.prompt_set) == (toy_model.pack, toy_model.prompt_set)
    found = zero_shot(model, toy_embeddings, model.findings)
    named = zero_shot(toy_model, toy_embeddings, model.findings)
    # Scaled and shifted finding by finding, so that the order of the images is the prompts' own.
    np.testing.assert_array_equal(found.logits.argsort(0, kind="stable"), named.logits.argsort(0, kind="stable"))
    again = load_model(model.save(tmp_path / "model"))
    np.testing.assert_array_equal(zero_shot(again, toy_embeddings, model.findings).logits, found.logits)
    assert again.digest == model.digest != toy_model.digest
    assert np.isfinite(found.probs).all()


def test_anchors_have_a_set_spread_over_unlabelled_images_and_the_prompts_direction(toy_embeddings, toy_model):
    rows, names = toy_model.encode_image(toy_embeddings.features), tuple(COLOURS)
    head = anchors_of(toy_model, names, rows)
    np.testing.assert_allclose(head.logits(rows).mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(head.logits(rows).std(0), SPREAD)
    plain = anchors_of(toy_model, names)
    np.testing.assert_allclose(plain.lengths, 1.0, rtol=1e-6)  # the closed form learns no scale
    np.testing.assert_allclose(head.weight / head.lengths, plain.weight / plain.lengths, atol=1e-12)
    np.testing.assert_array_equal(plain.bias, 0)
    one = anchors_of(toy_model, names, rows[:1])
    np.testing.assert_array_equal(one.weight, plain.weight)
    same = anchors_of(toy_model, names, np.repeat(rows[:1], 5, axis=0))
    assert np.isfinite(same.weight).all()
    assert np.abs(same.logits(rows)).max() < 3


def test_words_without_a_model_that_knows_them_are_refused(toy_archive, toy_embeddings):
    config = dataclasses.replace(CONFIG, adapter="zero_shot")
    with pytest.raises(UsageError, match="no model") as caught:
        adapt(toy_archive, config, embeddings=toy_embeddings)
    assert "tapetum pretrain" in str(caught.value)
    probe = adapt(toy_archive, CONFIG, embeddings=toy_embeddings)
    with pytest.raises(UsageError, match="no aligner"):
        adapt(toy_archive, config, embeddings=toy_embeddings, model=probe)


def test_a_finding_that_the_pack_of_the_words_does_not_know_is_refused(toy_archive, toy_embeddings, toy_model):
    with pytest.raises(UsageError, match="no words stand for it") as caught:
        anchors_of(toy_model, ["glaucoma", "glaucomo"])
    assert "'glaucomo'" in caught.value.found
    assert "'glaucoma'" in caught.value.expected


def test_a_heat_map_of_an_adapter_without_weights_is_refused(toy_archive, toy_embeddings):
    model = adapt(toy_archive, dataclasses.replace(CONFIG, adapter="knn"), embeddings=toy_embeddings)
    with pytest.raises(UsageError, match="no weight per feature"):
        heatmap(model, np.zeros((32, 32, 3), dtype=np.uint8), model.findings[0])


@pytest.mark.parametrize("adapter", ["clap", "tip_adapter(finetune=True)", "clip_adapter", "lp_plus_plus", "lda"])
def test_every_kind_of_state_is_stored(toy_archive, toy_embeddings, toy_model, tmp_path, adapter):
    config = dataclasses.replace(CONFIG, adapter=adapter, shots=3)
    model = adapt(toy_archive, config, embeddings=toy_embeddings, model=toy_model)
    again = load_model(model.save(tmp_path / "model"))
    ours, theirs = (zero_shot(m, toy_embeddings, model.findings) for m in (model, again))
    np.testing.assert_array_equal(theirs.logits, ours.logits)
    np.testing.assert_array_equal(theirs.probs, ours.probs)
    ids = [r.image_id for r in toy_archive.in_split(Split.TEST)]
    truth = toy_archive.labels(model.findings, image_ids=ids)
    found = zero_shot(model, toy_embeddings.rows(ids), model.findings).logits
    assert (found.argmax(1) == truth.argmax(1)).mean() > 0.6


def test_held_out_logits_of_an_adapter_with_words(toy_archive, toy_embeddings, toy_model):
    """All labels, cross-fitted: operating points come from fits that never saw the patient."""
    model = adapt(toy_archive, dataclasses.replace(CONFIG, adapter="clap"), embeddings=toy_embeddings, model=toy_model)
    assert model.operating is not None
    assert np.isfinite(zero_shot(model, toy_embeddings, model.findings).probs).all()
