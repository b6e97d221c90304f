"""Pretraining that trains nothing: the joint space of a published model, with operating points from the archive."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
import transformers as hf

from small_models import PREPROCESSING, joint, tokenizer
from tapetum.bench.comparison import CompareConfig, cells_of, compare
from tapetum.core.errors import UsageError
from tapetum.core.types import Split
from tapetum.learn import PretrainConfig, embed, load_model, predict_files, pretrain, zero_shot
from tapetum.learn.predict import image_files
from tapetum.learn.tasks.joint import Joint
from toys import COLOURS, ENCODER, TEXT, pairs

FINDINGS = tuple(COLOURS)
hf.utils.logging.disable_progress_bar()


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    joint("clip").save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSING))
    tokenizer(folder)
    return f"transformer(path={str(folder)!r})"


@pytest.fixture(scope="module")
def config(spec):
    return PretrainConfig(encoders=spec, text_encoder=spec, task="joint", prompt_set="name", threads=1)


@pytest.fixture(scope="module")
def model(toy_archive, config):
    return pretrain(toy_archive, config)


def test_nothing_is_learned_but_operating_points(toy_archive, spec, model, tmp_path):
    emb = embed(toy_archive, spec, threads=1)
    bare = load_model(spec.partition("'")[2].rpartition("'")[0])
    words = dataclasses.replace(bare, pack=model.pack, prompt_set="name")
    np.testing.assert_allclose(
        zero_shot(model, emb, FINDINGS).logits, zero_shot(words, emb, FINDINGS).logits, atol=1e-5
    )
    assert model.log["pairs"] == 0
    assert set(model.operating.findings) == set(FINDINGS)
    val = toy_archive.in_split(Split.VAL)
    assert model.operating.positives == tuple(
        toy_archive.labels(model.operating.findings, image_ids=[r.image_id for r in val]).sum(0).astype(int)
    )
    again = load_model(model.save(tmp_path / "model"))
    assert (again.digest, again.space) == (model.digest, model.space)
    assert "published image-text model" in (tmp_path / "model" / "README.md").read_text()


def test_reports_change_nothing_and_need_not_be_there(toy_archive, config, model):
    records = tuple(dataclasses.replace(r, report="") for r in toy_archive.records)
    assert pretrain(dataclasses.replace(toy_archive, records=records), config).digest == model.digest


def test_loose_files_without_any_archive(toy_archive, spec):
    folder = spec.partition("'")[2].rpartition("'")[0]
    files = image_files([toy_archive.path.parent / "export"])[:3]
    found, refused = predict_files(files, load_model(folder), ("hard drusen", "no macula"))
    assert found.findings == ("hard drusen", "no macula")
    assert found.logits.shape == (3, 2)
    assert refused == ()


def test_a_text_tower_of_another_checkpoint_is_refused_before_anything_is_embedded(toy_archive, config):
    seen = []
    with pytest.raises(UsageError, match="not the two towers of one checkpoint"):
        pretrain(toy_archive, dataclasses.replace(config, text_encoder=TEXT), progress=lambda *p: seen.append(p))
    assert seen == []
    with pytest.raises(UsageError, match="leave_out"):
        pretrain(toy_archive, dataclasses.replace(config, leave_out=("glaucoma",)))


def test_an_option_says_it_otherwise(toy_archive, config, model):
    other = pretrain(toy_archive, dataclasses.replace(config, task="joint(scale=2.0, bias=-1.0)"))
    assert (other.space.scale, other.space.bias) == (2.0, -1.0)
    assert other.space.columns == model.space.columns
    assert other.aligner.logit_log_scale.item() == pytest.approx(np.log(2))


def test_towers_are_trained_further_from_the_joint_space(toy_archive, config):
    tuned = pretrain(toy_archive, dataclasses.replace(config, text="report", unfreeze="last", fine_tuning_epochs=1))
    assert tuned.space is None
    assert tuned.towers
    assert tuned.log["fine_tuning"]["train_loss"]


def test_by_hand():
    found = pairs(dim=4, words=2)
    fitted = Joint(columns=(1, 3), scale=4.0, bias=-1.0).fit(found, np.random.default_rng(0))
    with torch.no_grad():
        image = fitted.aligner.encode_image(torch.tensor([[9.0, 3.0, 4.0, 9.0]]))
        text = fitted.aligner.encode_text(torch.tensor([[0.0, 2.0]]))
        torch.testing.assert_close(image, torch.tensor([[0.6, 0.8]]))
        torch.testing.assert_close(fitted.aligner.logits(image, text), torch.tensor([[4 * 0.8 - 1]]))


@pytest.mark.parametrize("options", [{"columns": (0, 3)}, {"columns": (3, 5)}, {}, {"columns": (0, 2), "scale": 0.0}])
def test_sides_that_do_not_fit_are_refused(options):
    with pytest.raises(UsageError):
        Joint(**options).fit(pairs(dim=4, words=2), np.random.default_rng(0))


def test_the_comparison_uses_the_space_and_says_so(toy_archive, spec):
    settings = CompareConfig(encoders=f"{ENCODER}, {spec}", modes="zero_shot, clap", shots="2", text_encoder=TEXT,
                             draws=50, runs=2, threads=1)  # fmt: skip
    assert [cell.supervision for cell in cells_of(settings)] == [
        "report-supervised", "reports + 2 shots", "published space", "published + 2 shots",
    ]  # fmt: skip
    found = compare(toy_archive, dataclasses.replace(settings, modes="zero_shot"))
    lines = {line.cell.encoder: line for line in found.lines}
    mine = next(line for name, line in lines.items() if name.startswith("transformer"))
    assert mine.cost.learned == mine.cost.images == 0
    assert "published space" in found.table()
    model = pretrain(toy_archive, PretrainConfig(encoders=spec, text_encoder=spec, task="joint", threads=1))
    test = [r.image_id for r in toy_archive.in_split(Split.TEST)]
    scores = zero_shot(model, embed(toy_archive, spec, threads=1).rows(test), found.findings).logits
    labels = toy_archive.labels(found.findings, image_ids=test)
    from sklearn.metrics import roc_auc_score

    assert mine.auroc.estimate == pytest.approx(roc_auc_score(labels, scores, average="macro"))
