"""Pretraining on a toy clinic: what is left out, what decides, what is the same again."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tapetum.bench.models.controls import shuffle_between_patients
from tapetum.core.errors import DataError, UsageError
from tapetum.core.types import Split
from tapetum.knowledge import load_pack, parse_report
from tapetum.learn import PretrainConfig, embed, pretrain, zero_shot
from tapetum.learn.pretrain import candidates, targets
from toys import COLOURS, ENCODER, REPORTS, TEXT, clinic

CONFIG = PretrainConfig(encoders=ENCODER, text_encoder=TEXT, text="report", prompt_set="name", threads=1)
FINDINGS = tuple(COLOURS)


def seen_pairs(archive, config, embeddings=None):
    """The pairs that a run is trained on."""
    found = []
    pretrain(archive, config, embeddings=embeddings, rearrange=lambda pairs: found.append(pairs) or pairs)
    return found[0]


def test_it_learns_from_reports_what_the_images_show(toy_archive, toy_model, toy_embeddings):
    test = toy_archive.in_split(Split.TEST)
    ids = [r.image_id for r in test]
    scores = zero_shot(toy_model, toy_embeddings.rows(ids), FINDINGS).logits
    truth = toy_archive.labels(FINDINGS, image_ids=ids)
    assert (scores.argmax(1) == truth.argmax(1)).mean() > 0.8


def test_only_training_patients_are_learned_from(toy_archive, toy_embeddings):
    found = seen_pairs(toy_archive, CONFIG, toy_embeddings)
    assert set(found.image_ids) == {r.image_id for r in toy_archive.in_split(Split.TRAIN)}


def test_reports_and_labels_of_tested_patients_change_nothing(toy_archive, toy_model, toy_embeddings):
    records = tuple(
        dataclasses.replace(r, report="drusen", labels=("glaucoma",)) if r.split == Split.TEST else r
        for r in toy_archive.records
    )
    other = dataclasses.replace(toy_archive, records=records)
    assert pretrain(other, CONFIG, embeddings=toy_embeddings).digest == toy_model.digest


def test_thresholds_come_from_the_validation_patients(toy_archive, toy_model, toy_embeddings):
    val = toy_archive.in_split(Split.VAL)
    truth = toy_archive.labels(toy_model.operating.findings, image_ids=[r.image_id for r in val])
    assert toy_model.operating.positives == tuple(truth.sum(0).astype(int))
    assert toy_model.operating.truth == "labels"
    probs = zero_shot(toy_model, toy_embeddings.rows([r.image_id for r in val]), toy_model.operating.findings).probs
    called = probs >= toy_model.operating.thresholds
    assert all(called[truth[:, j] == 1, j].mean() >= 0.9 for j in range(truth.shape[1]))


def test_equal_runs_are_equal_and_seeds_are_used(toy_archive, toy_model, toy_embeddings):
    assert pretrain(toy_archive, CONFIG, embeddings=toy_embeddings).digest == toy_model.digest
    config = dataclasses.replace(CONFIG, task="contrastive(epochs=2)")
    first = pretrain(toy_archive, config, embeddings=toy_embeddings)
    assert pretrain(toy_archive, dataclasses.replace(config, seed=1), embeddings=toy_embeddings).digest != first.digest


def test_rearranging_keeps_the_inner_folds(toy_archive, toy_model, toy_embeddings):
    """A control that changes nothing must give the very model of the real run."""
    same = pretrain(toy_archive, CONFIG, embeddings=toy_embeddings, rearrange=lambda pairs: pairs)
    assert same.digest == toy_model.digest
    assert same.log["inner_quality"] == toy_model.log["inner_quality"]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A clinic whose reports name a macular hole in many ways."""
    pack = load_pack("fundus")
    synonym = pack.findings["macular_hole"].synonyms["en"][0]
    reports = [
        "Macular hole.", "No macular hole.", f"{synonym.capitalize()}.", "Possible macular hole.", "Drusen.",
        "Glaucoma. No macular hole seen.", "Moderate NPDR.", "Diabetic retinopathy.", "Normal fundus.", "Glaucoma.",
    ]  # fmt: skip
    extra = [(f"x{i:02d}", reports[i % len(reports)], "") for i in range(60)]
    return clinic(tmp_path_factory.mktemp("mixed") / "mixed", patients=12, extra=extra)


@pytest.mark.parametrize("finding", ["macular_hole", "diabetic_retinopathy", "glaucoma"])
def test_every_image_whose_report_names_the_finding_is_left_out(mixed, finding):
    pack = load_pack("fundus")
    below = {finding, *pack.descendants(finding)}
    config = dataclasses.replace(CONFIG, leave_out=(finding,))
    kept = set(seen_pairs(mixed, config).image_ids)
    train = mixed.in_split(Split.TRAIN)
    named = {r.image_id for r in train if any(m.finding in below for m in parse_report(r.report, pack).mentions)}
    assert named
    assert kept == {r.image_id for r in train} - named
    words = {"macular_hole": "hole", "diabetic_retinopathy": "npdr", "glaucoma": "glaucoma"}[finding]
    assert not [r.report for r in train if r.image_id in kept and words in r.report.lower()]


def test_leaving_out_needs_a_pack(tmp_path):
    archive = clinic(tmp_path / "bare", pack="", patients=30)
    with pytest.raises(UsageError, match="leave_out needs a domain pack"):
        pretrain(archive, dataclasses.replace(CONFIG, leave_out=("glaucoma",)))


@pytest.mark.parametrize("text", ["report", "eye", "findings"])
def test_text_modes(mixed, text):
    found = seen_pairs(mixed, dataclasses.replace(CONFIG, text=text))
    assert all(found.texts)
    if text == "findings":
        assert "no macular hole." not in {t.lower() for t in found.texts}
        assert load_pack("fundus").findings["macular_hole"].name in found.texts


def test_without_labels_the_reports_are_the_truth(mixed):
    test = list(mixed.in_split(Split.TEST))
    found, truth = targets(mixed, test, ["glaucoma"])
    assert truth == "reports"
    for value, record in zip(found[:, 0], test, strict=True):
        assert value == float("glaucoma" in record.report.lower())


def test_labels_that_speak_of_no_finding_are_not_the_truth(tmp_path):
    grades = {name: str(i) for i, name in enumerate(COLOURS)}
    archive = clinic(tmp_path / "graded", patients=24, labels=grades)
    assert archive.label_names == ("0", "1", "2", "3")
    assert targets(archive, archive.records, ["glaucoma"])[1] == "reports"
    assert targets(archive, archive.records, ["1"])[1] == "labels"
    assert "glaucoma" in candidates(archive)


def test_an_archive_without_a_pack_is_learned_from_and_asked_in_words(tmp_path):
    archive = clinic(tmp_path / "bare", pack="", patients=30)
    model = pretrain(archive, CONFIG)
    assert model.operating is None
    found = zero_shot(model, embed(archive, ENCODER, threads=1), ["glaucoma", "normal fundus"])
    assert np.isfinite(found.logits).all()
    with pytest.raises(DataError, match="no labels and no domain pack"):
        targets(archive, archive.records, ["glaucoma"])


@pytest.mark.parametrize(
    "change",
    [
        {"unfreeze": "some"},
        {"text": "reports"},
        {"task": "ridgee"},
        {"leave_out": ("glaucomo",)},
        {"matching": "findings"},  # the closed form has no matching and no batches
        {"sampler": "per_visit"},
        {"task": "contrastive", "matching": "finding"},
        {"pool": "sum"},
        {"pool": "mean", "unfreeze": "last"},
    ],
)
def test_wrong_names_are_refused(toy_archive, toy_embeddings, change):
    with pytest.raises(UsageError):
        pretrain(toy_archive, dataclasses.replace(CONFIG, **change), embeddings=toy_embeddings)


def test_embeddings_of_other_towers_are_refused(toy_archive, toy_embeddings):
    with pytest.raises(DataError, match="embeddings of"):
        pretrain(toy_archive, dataclasses.replace(CONFIG, encoders="tiny(size=64)"), embeddings=toy_embeddings)


def test_too_few_reports_are_refused(tmp_path):
    archive = clinic(tmp_path / "small", patients=8, reports=dict(list(REPORTS.items())[:2]))
    with pytest.raises(DataError, match="have a text"):
        pretrain(archive, CONFIG)


@pytest.mark.parametrize("change", [{"matching": "category"}, {"sampler": "no_duplicate_patients"}])
def test_settings_of_the_batch_reach_the_task(toy_archive, toy_embeddings, change):
    ((name, value),) = change.items()
    config = dataclasses.replace(CONFIG, task="contrastive(epochs=2, batch=16)")
    found = pretrain(toy_archive, dataclasses.replace(config, **change), embeddings=toy_embeddings)
    told = dataclasses.replace(config, task=f"contrastive(epochs=2, batch=16, {name}={value!r})")
    assert found.digest == pretrain(toy_archive, told, embeddings=toy_embeddings).digest
    assert (found.digest == pretrain(toy_archive, config, embeddings=toy_embeddings).digest) == (name == "matching")


@pytest.mark.parametrize(
    "change", [{"text": "facets"}, {"text": "descriptions"}, {"task": "hierarchical(epochs=20, batch=16)"}]
)
def test_words_and_levels_teach_what_the_images_show(toy_archive, toy_embeddings, change):
    config = dataclasses.replace(CONFIG, task="contrastive(epochs=20, batch=16)")
    model = pretrain(toy_archive, dataclasses.replace(config, **change), embeddings=toy_embeddings)
    ids = [r.image_id for r in toy_archive.in_split(Split.TEST)]
    scores = zero_shot(model, toy_embeddings.rows(ids), FINDINGS).logits
    assert (scores.argmax(1) == toy_archive.labels(FINDINGS, image_ids=ids).argmax(1)).mean() > 0.7


def test_shuffled_words_take_their_findings_with_them(toy_archive, toy_embeddings):
    """The negative control of a rule that reads findings: were they left behind, they would teach the truth."""
    config = dataclasses.replace(CONFIG, task="contrastive(epochs=20, batch=16, matching='category')")
    rng = np.random.default_rng(0)
    model = pretrain(
        toy_archive, config, embeddings=toy_embeddings, rearrange=lambda pairs: shuffle_between_patients(pairs, rng)
    )
    ids = [r.image_id for r in toy_archive.in_split(Split.TEST)]
    scores = zero_shot(model, toy_embeddings.rows(ids), FINDINGS).logits
    assert (scores.argmax(1) == toy_archive.labels(FINDINGS, image_ids=ids).argmax(1)).mean() < 0.7
