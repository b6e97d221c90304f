"""Protocols one by one, and the door for predictions that anybody made."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from tapetum.bench import BenchConfig, evaluate, run_bench
from tapetum.core.errors import DataError, UsageError
from tapetum.core.types import Predictions, Split
from tapetum.learn import AdaptConfig, adapt, zero_shot
from tapetum.learn.model import Model
from tapetum.nets import Aligner, build_text_encoder
from toys import COLOURS, ENCODER, TEXT, clinic

CONFIG = BenchConfig(encoders=ENCODER, text_encoder=TEXT, text="report", prompt_set="name", threads=1, draws=40)
LABELS = {name: name for name in COLOURS}


def test_rows_of_zero_shot_are_never_mixed(toy_archive):
    results = run_bench("zero_shot(shuffles=2)", toy_archive, CONFIG)
    rows = {(r.row, r.supervision) for r in results.records}
    assert rows == {
        ("ridge()", "report-supervised"), ("contrastive(loss='clip')", "report-supervised"),
        ("contrastive(loss='siglip')", "report-supervised"), ("ridge()", "unseen finding"),
        ("ridge()", "negative control"),
    }  # fmt: skip
    assert sum("paired over patients" in note for note in results.notes) == 2
    unseen = [r for r in results.records if r.supervision == "unseen finding"]
    assert {r.metric for r in unseen} == {"auroc_score", "auroc_score (DeLong)", "average_precision_score"}


@pytest.mark.parametrize("protocol", ["zero_shot", "retrieval", "few_shot"])
@pytest.mark.parametrize("setting", ["ordinal", "exclusive"])
def test_grades_and_classes_are_refused_where_nothing_would_come_of_them(toy_archive, protocol, setting):
    with pytest.raises(UsageError, match=f"{setting}=true with {protocol}"):
        run_bench(protocol, toy_archive, dataclasses.replace(CONFIG, **{setting: True}))


def test_the_main_task_is_not_compared_with_itself(toy_archive):
    config = dataclasses.replace(CONFIG, task="contrastive(epochs=3)")
    results = run_bench("zero_shot(shuffles=0, unseen=False, compare=('contrastive(epochs=3)',))", toy_archive, config)
    assert {r.row for r in results.records} == {"contrastive(epochs=3)"}


def test_an_alarm_of_the_training_stands_below_the_table(toy_archive):
    config = dataclasses.replace(CONFIG, task="contrastive(learning_rate=1e30)")
    results = run_bench("zero_shot(shuffles=0, unseen=False, compare=())", toy_archive, config)
    assert any("ALARM" in note and "not finite" in note for note in results.notes)
    assert "ALARM" in results.table()


def test_a_checkpoint_is_tested_as_it_is(toy_archive, toy_model):
    results = run_bench("zero_shot", toy_archive, CONFIG, model=toy_model)
    assert {r.digests["model"] for r in results.records} == {toy_model.digest}
    assert {r.supervision for r in results.records} == {"report-supervised"}
    assert not any("another archive" in note for note in results.notes)


def test_a_checkpoint_of_another_archive_is_marked(toy_archive, toy_model):
    other = dataclasses.replace(toy_model, parents={"archive": "x"})
    results = run_bench("zero_shot", toy_archive, CONFIG, model=other)
    assert any("also called toy, in a state (x) that is not known here" in note for note in results.all_notes)


def test_an_adapter_knows_no_words(toy_archive, toy_embeddings):
    model = adapt(toy_archive, AdaptConfig(encoders=ENCODER, threads=1), embeddings=toy_embeddings)
    for protocol in ("zero_shot", "retrieval"):
        with pytest.raises(UsageError, match="knows no words"):
            run_bench(protocol, toy_archive, CONFIG, model=model)


def test_retrieval_with_perfect_alignment(tmp_path):
    """Each colour is one text and the aligner was told so: everything is found at once, and chance is known."""
    archive = clinic(tmp_path / "clean", patients=60, noise=0.0, labels=LABELS)
    from tapetum.learn import embed

    emb = embed(archive, ENCODER, threads=1)
    texts = sorted({r.report for r in archive.records})
    own = np.array([texts.index(r.report) for r in archive.records])
    words = build_text_encoder(TEXT)(texts).numpy().astype(np.float64)
    x = emb.features.astype(np.float64)
    solved, *_ = np.linalg.lstsq(np.c_[x, np.ones(len(x))], np.eye(4)[own], rcond=None)
    aligner = Aligner(16, 32, 4, normalise=True)
    with torch.no_grad():
        aligner.image_weight.copy_(torch.from_numpy(solved[:-1]))
        aligner.image_bias.copy_(torch.from_numpy(solved[-1]))
        aligner.text_weight.copy_(torch.from_numpy(np.linalg.pinv(words)))
    model = Model(emb.encoder, TEXT, "fundus", aligner=aligner, config={"text": "report"})
    results = run_bench("retrieval(ks=(1, 3))", archive, CONFIG, model=model)
    for direction in ("text → image", "image → text"):
        for k in (1, 3):
            assert results.find(direction, f"recall_at_{k}_score").interval.estimate == 1.0
    # 8 images of 4 patients per text; without the own patient 30 candidates, 6 of them right.
    assert results.records[0].images == 32
    assert results.records[0].positives == 32
    assert all("chance: R@1 0.200" in note for note in results.notes[:2])
    assert all("median rank 1;" in note for note in results.notes[:2])


def test_retrieval_of_own_texts_and_wrong_words(toy_archive, toy_model):
    results = run_bench("retrieval(relevant='own')", toy_archive, CONFIG, model=toy_model)
    assert all("32 queries, 0 left out" in note for note in results.notes[:2])
    with pytest.raises(UsageError, match="relevant"):
        run_bench("retrieval(relevant='mine')", toy_archive, CONFIG, model=toy_model)


def test_grades_get_a_quadratic_kappa(tmp_path):
    grades = {name: str(i) for i, name in enumerate(COLOURS)}
    archive = clinic(tmp_path / "graded", labels=grades, noise=5.0, patients=120)
    results = run_bench("linear_probe", archive, dataclasses.replace(CONFIG, ordinal=True))
    assert results.find("macro", "quadratic_kappa_score").interval.estimate > 0.9
    assert results.find("macro", "accuracy_score").interval.estimate > 0.9


def test_a_finding_without_both_classes_is_left_out_and_named(tmp_path):
    extra = [(f"z{i}", "drusen", "drusen") for i in range(2)]
    archive = clinic(tmp_path / "rare", labels=LABELS, extra=extra)
    moved = tuple(
        dataclasses.replace(r, split=Split.TEST) if r.patient_id.startswith("z") else r for r in archive.records
    )
    results = run_bench("linear_probe", dataclasses.replace(archive, records=moved), CONFIG)
    assert "drusen" not in {r.finding for r in results.records}
    assert any("left out" in note and "drusen" in note for note in results.notes)


def test_other_archives_must_share_a_label(toy_archive, tmp_path):
    other = clinic(tmp_path / "other", patients=4, seed=7, pack="", labels=dict.fromkeys(COLOURS, "x"))
    with pytest.raises(UsageError, match="share no label"):
        run_bench("linear_probe", toy_archive, CONFIG, test=other)


def loose(archive, split=Split.TEST, seed=0):
    records = archive.in_split(split)
    logits = np.random.default_rng(seed).normal(size=(len(records), 2))
    return Predictions(
        tuple(r.image_id for r in records), ("?",) * len(records), ("unknown",) * len(records),
        ("glaucoma", "cataract"), logits, np.full(logits.shape, np.nan), np.full(2, np.nan), "somebody",
    )  # fmt: skip


def test_anybodys_predictions_are_measured(toy_archive):
    predictions = loose(toy_archive)
    results = evaluate(predictions, toy_archive, draws=40)
    truth = toy_archive.labels(predictions.findings, image_ids=predictions.image_ids)
    for j, finding in enumerate(predictions.findings):
        record = results.find(finding, "auroc_score")
        assert record.interval.estimate == pytest.approx(roc_auc_score(truth[:, j], predictions.logits[:, j]))
        assert record.patients == 16  # the archive says whose the images are
        assert record.digests["model"] == "somebody"
        assert record.supervision == "given predictions"


def test_only_the_named_split_counts(toy_archive, toy_model, toy_embeddings):
    whole = zero_shot(toy_model, toy_embeddings, ("glaucoma",))
    for split in ("test", "val"):
        results = evaluate(whole, toy_archive, split=split, draws=40)
        assert results.records[0].images == len(toy_archive.in_split(Split(split)))
        assert {r.image_id for r in results.trial.test_records} == set(results.scored[0].predictions.image_ids)
        assert results.records[0].digests["split"] == split
    assert results.records[0].test_reads >= 1


def test_missing_predictions_are_told(toy_archive):
    part = loose(toy_archive)
    part = Predictions(
        part.image_ids[:20], part.patient_ids[:20], part.lateralities[:20], part.findings, part.logits[:20],
        part.probs[:20], part.thresholds, part.model,
    )  # fmt: skip
    assert any("only 20 of the 32 test images" in note for note in evaluate(part, toy_archive, draws=40).notes)


def test_wrong_predictions_are_refused(toy_archive):
    with pytest.raises(DataError, match="no prediction belongs"):
        evaluate(loose(toy_archive, Split.VAL), toy_archive, draws=40)
    with pytest.raises(UsageError):
        evaluate(loose(toy_archive), toy_archive, split="tset", draws=40)
    twice = loose(toy_archive)
    twice = dataclasses.replace(twice, image_ids=(twice.image_ids[1], *twice.image_ids[1:]))
    with pytest.raises(DataError, match="predicted twice"):
        evaluate(twice, toy_archive, draws=40)
