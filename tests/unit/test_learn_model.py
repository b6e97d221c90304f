"""Models: saving, loading, damage, and what may be asked."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from tapetum.core.errors import ArtefactError, DataError, UsageError
from tapetum.knowledge import load_pack
from tapetum.learn import AdaptConfig, adapt, load_model, zero_shot
from toys import COLOURS, ENCODER, TEXT

FINDINGS = tuple(COLOURS)


@pytest.fixture(scope="module")
def adapter_model(toy_archive, toy_embeddings):
    return adapt(toy_archive, AdaptConfig(encoders=ENCODER, threads=1), embeddings=toy_embeddings)


@pytest.fixture(params=["aligner", "adapter"])
def model(request, toy_model, adapter_model):
    return toy_model if request.param == "aligner" else adapter_model


def test_saved_and_loaded_it_is_the_same(model, toy_embeddings, tmp_path):
    again = load_model(model.save(tmp_path / "model"))
    assert again.digest == model.digest
    ours, theirs = (zero_shot(m, toy_embeddings, FINDINGS) for m in (model, again))
    np.testing.assert_array_equal(theirs.logits, ours.logits)
    np.testing.assert_array_equal(theirs.probs, ours.probs)
    np.testing.assert_array_equal(theirs.thresholds, ours.thresholds)
    assert again.parents == model.parents
    assert np.isfinite(ours.probs).all()


def test_the_files_are_strict_json_and_name_the_intended_use(model, tmp_path):
    place = model.save(tmp_path / "model")
    for name in ("config.json", "preprocessor_config.json", "meta.json"):
        json.loads((place / name).read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert "Not a cleared device" in (place / "README.md").read_text(encoding="utf-8")


def test_a_number_that_is_none_in_the_log_becomes_null(toy_model, tmp_path):
    odd = dataclasses.replace(toy_model, log={"chance": float("nan"), "tried": {0.3: -float("inf")}})
    assert load_model(odd.save(tmp_path / "model")).log == {"chance": None, "tried": {"0.3": None}}


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("damage", ["missing", "truncated", "flipped"])
def test_damage_is_noticed(toy_model, tmp_path, file, damage):
    place = toy_model.save(tmp_path / "model")
    whole = (place / file).read_bytes()
    if damage == "missing":
        (place / file).unlink()
    elif damage == "truncated":
        (place / file).write_bytes(whole[: len(whole) // 2])
    elif file == "config.json":
        (place / file).write_bytes(whole.replace(b'"prompt_set": "name"', b'"prompt_set": "grades"', 1))
    else:
        (place / file).write_bytes(whole[:-3] + bytes([whole[-3] ^ 64]) + whole[-2:])
    with pytest.raises(ArtefactError, match="damaged"):
        load_model(place)


def test_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(ArtefactError):
        load_model(tmp_path)


def test_the_digest_tells_models_apart(toy_model):
    digests = {toy_model.digest, dataclasses.replace(toy_model, prompt_set="grades").digest}
    digests.add(dataclasses.replace(toy_model, operating=None).digest)
    digests.add(dataclasses.replace(toy_model, towers={0: {"w": torch.ones(1)}}).digest)
    assert len(digests) == 4
    assert dataclasses.replace(toy_model, log={"a": 1}).digest == toy_model.digest


def test_columns_come_in_the_order_asked(model, toy_embeddings):
    straight = zero_shot(model, toy_embeddings, FINDINGS)
    turned = zero_shot(model, toy_embeddings, FINDINGS[::-1])
    assert turned.findings == FINDINGS[::-1]
    np.testing.assert_allclose(turned.logits, straight.logits[:, ::-1], atol=1e-6)
    np.testing.assert_allclose(turned.thresholds, straight.thresholds[::-1])


def test_rows_keep_their_ids_and_eyes(model, toy_embeddings):
    part = toy_embeddings.rows(toy_embeddings.image_ids[5:8])
    found = zero_shot(model, part, FINDINGS, lateralities=("OD", "OS", "OD"))
    assert found.image_ids == part.image_ids
    assert found.patient_ids == part.patient_ids
    assert found.lateralities == ("OD", "OS", "OD")


def test_findings_may_be_objects(toy_model, toy_embeddings):
    pack = load_pack("fundus")
    found = zero_shot(toy_model, toy_embeddings, [pack.findings["glaucoma"]])
    assert found.findings == ("glaucoma",)


def test_an_unknown_finding_is_refused_naming_the_nearest(model, toy_embeddings):
    with pytest.raises(UsageError) as caught:
        zero_shot(model, toy_embeddings, ["glaucomo"])
    assert "glaucoma" in caught.value.expected


def test_an_adapter_refuses_what_it_was_not_taught(adapter_model, toy_embeddings):
    with pytest.raises(UsageError, match="was not taught 'drusen'"):
        zero_shot(adapter_model, toy_embeddings, ["drusen"])
    with pytest.raises(UsageError, match="knows no words"):
        adapter_model.encode_text(["drusen"])


def test_nothing_asked_and_other_towers_are_refused(model, toy_embeddings):
    with pytest.raises(UsageError):
        zero_shot(model, toy_embeddings, [])
    with pytest.raises(DataError, match="embeddings of"):
        zero_shot(model, dataclasses.replace(toy_embeddings, encoder="tiny(dim=16, size=64)"), FINDINGS)


def test_a_finding_that_was_never_calibrated_has_no_probability(toy_model, toy_embeddings):
    found = zero_shot(toy_model, toy_embeddings, ["drusen", "glaucoma"])
    assert np.isnan(found.probs[:, 0]).all()
    assert np.isnan(found.thresholds[0])
    assert np.isfinite(found.logits).all()
    assert np.isfinite(found.probs[:, 1]).all()


def test_prompt_sets_change_the_scores(toy_model, toy_embeddings):
    by_set = {s: zero_shot(toy_model, toy_embeddings, FINDINGS, prompt_set=s).logits for s in ("name", "descriptions")}
    assert not np.allclose(by_set["name"], by_set["descriptions"])
    np.testing.assert_array_equal(by_set["name"], zero_shot(toy_model, toy_embeddings, FINDINGS).logits)
    with pytest.raises(UsageError, match="unknown prompt set"):
        zero_shot(toy_model, toy_embeddings, FINDINGS, prompt_set="nmae")


def test_without_a_pack_plain_words_are_looked_for(toy_model, toy_embeddings):
    free = dataclasses.replace(toy_model, pack="", operating=None)
    found = zero_shot(free, toy_embeddings, ["macular_hole", "anything"])
    reference = zero_shot(toy_model, toy_embeddings, ["macular_hole"])
    assert np.isfinite(found.logits).all()
    # The pack's name set holds synonyms, too; both ask for the same thing.
    assert np.corrcoef(found.logits[:, 0], reference.logits[:, 0])[0, 1] > 0.8


def test_the_logit_is_the_cosine_times_the_scale(toy_model, toy_embeddings):
    found = zero_shot(dataclasses.replace(toy_model, pack="", operating=None), toy_embeddings, ["glaucoma"])
    text, image = toy_model.encode_text(["glaucoma"]), toy_model.encode_image(toy_embeddings.features)
    scale = float(toy_model.aligner.logit_log_scale.detach().exp())
    np.testing.assert_allclose(found.logits, scale * image @ text.T, atol=1e-5)
    assert toy_model.text_encoder == TEXT
