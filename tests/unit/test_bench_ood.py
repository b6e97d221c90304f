"""The OOD protocol: planted OOD images are found, a second sample is not, and what is learned on stays apart."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tapetum.archive import open_archive
from tapetum.bench import BenchConfig, run_bench
from tapetum.bench.trial import trial_of
from tapetum.bench.trust.outlying import known_of, parts_of
from tapetum.core.errors import DataError, LeakageError, UsageError
from tapetum.core.registry import Family
from tapetum.core.types import Split
from tapetum.knowledge import load_pack
from tapetum.learn.granular.places import place_cosines
from tapetum.learn.model import prompt_vectors
from toys import COLOURS, ENCODER, TEXT, clinic

CONFIG = BenchConfig(encoders=ENCODER, text_encoder=TEXT, threads=1, draws=60)
LABELS = {name: name for name in COLOURS}
FEATURES = "('knn', 'residual', 'mahalanobis')"


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """Another clinic whose pictures are all dark, of a colour that the toy clinic does not know."""
    with pytest.MonkeyPatch.context() as patched:
        for name in COLOURS:
            patched.setitem(COLOURS, name, (70, 50, 40))
        return clinic(tmp_path_factory.mktemp("foreign") / "foreign", patients=16, seed=5, labels=LABELS, noise=8.0)


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    """The same clinic, other patients."""
    return clinic(tmp_path_factory.mktemp("second") / "second", patients=60, seed=9, labels=LABELS)


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    return clinic(tmp_path_factory.mktemp("wide") / "wide", patients=120, seed=1, labels=LABELS)


def test_planted_ood_images_are_found(toy_archive, foreign):
    results = run_bench(f"ood(scores={FEATURES})", toy_archive, CONFIG, test=foreign)
    for row in ("knn()", "residual()", "mahalanobis()"):
        assert results.find("OOD", "auroc_score", row).interval.estimate > 0.9
        refused = results.find("OOD", "sensitivity_score", row).interval.estimate
        assert refused > 1 - results.find("OOD", "specificity_score", row).interval.estimate + 0.3


def test_a_second_sample_of_the_same_clinic_is_not(wide, second):
    results = run_bench(f"ood(scores={FEATURES})", wide, CONFIG, test=second)
    for record in results.records:
        if (record.finding, record.metric) == ("OOD", "auroc_score"):
            assert abs(record.interval.estimate - 0.5) < 0.15  # standard error about 0.05
        if (record.finding, record.metric) == ("OOD", "specificity_score"):
            assert record.interval.estimate > 0.8  # 0.95 on validation patients


def test_both_classes_are_positive_in_turn(toy_archive, foreign):
    results = run_bench("ood(scores=('knn',))", toy_archive, CONFIG, test=foreign)
    outside, inside = len(foreign.records), len(toy_archive.in_split(Split.TEST))
    assert results.find("OOD", "auroc_score").positives == outside
    assert results.find("ID", "auroc_score").positives == inside
    assert results.find("OOD", "auroc_score").images == outside + inside
    values = {f: results.find(f, "auroc_score").interval.estimate for f in ("OOD", "ID")}
    assert values["OOD"] == values["ID"]
    shares = [results.find(f, m).interval for f, m in (("OOD", "sensitivity_score"), ("ID", "specificity_score"))]
    assert shares[0] == shares[1]
    assert results.records[0].data == f"{toy_archive.name} against {foreign.name}"
    table = results.table()
    assert "higher scores = more OOD" in table
    assert "FPR95 ↓" in table


def test_the_numbers_are_those_of_the_arrays(toy_archive, foreign):
    trial = trial_of(toy_archive, CONFIG, test=foreign)
    parts = parts_of(trial, "")
    known = known_of(trial, parts, "logistic", "")
    score = Family("tapetum.score.ood").build("energy").fit(known.images)
    values = [score(known.rows(x)) for x in (parts.features(parts.test), parts.outside_embeddings.features)]
    labels = np.repeat([0, 1], [len(v) for v in values])
    results = run_bench("ood(scores=('energy',))", toy_archive, CONFIG, test=foreign)
    assert results.find("OOD", "auroc_score").interval.estimate == pytest.approx(
        roc_auc_score(labels, np.concatenate(values))
    )
    probs = known.images.probs_of(known.images.logits)
    assert roc_auc_score(known.images.labels, probs, average="macro") > 0.9  # the head is a head


def test_nothing_is_fitted_or_chosen_on_the_finding_held_out(toy_archive):
    trial = trial_of(toy_archive, CONFIG)
    parts = parts_of(trial, "cataract")
    for records, wanted in ((parts.train, 0), (parts.val, 0), (parts.test, 0), (parts.outside, 1)):
        labels = toy_archive.labels(("cataract",), image_ids=[r.image_id for r in records])
        assert (labels == wanted).all()
    splits = [{r.split for r in getattr(parts, n)} for n in ("train", "val", "test", "outside")]
    assert splits == [{Split.TRAIN}, {Split.VAL}, {Split.TEST}, {Split.TEST}]
    assert "cataract" not in known_of(trial, parts, "logistic", "cataract").note


def test_a_patient_with_images_on_both_sides_is_one_patient(toy_archive, foreign):
    inner = parts_of(trial_of(toy_archive, CONFIG), "cataract")
    assert set(inner.patients(external=False)) == {r.patient_id for r in (*inner.test, *inner.outside)}
    outer = parts_of(trial_of(toy_archive, CONFIG, test=foreign), "")
    here = {r.patient_id for r in outer.test}
    there = {r.patient_id for r in outer.outside}
    assert here & there  # the clinics number their patients alike, and they are different people
    assert len(set(outer.patients(external=True))) == len(here) + len(there)


def test_an_archive_without_labels_has_scores_of_features(tmp_path, foreign):
    bare = clinic(tmp_path / "bare", seed=2)
    results = run_bench("ood", bare, CONFIG, test=foreign)
    assert {(r.row, r.supervision) for r in results.records} == {("knn()", "unsupervised")}
    assert any("left out, no labels: mahalanobis, energy" in note for note in results.notes)
    with pytest.raises(UsageError, match="needs head"):
        run_bench("ood(scores=('energy',))", bare, CONFIG, test=foreign)


def test_classes_are_read_with_softmax(toy_archive, foreign):
    config = dataclasses.replace(CONFIG, exclusive=True)
    results = run_bench("ood(scores=('msp',), head='lda')", toy_archive, config, test=foreign)
    assert any("lda on" in note and "softmax" in note for note in results.notes)
    sigmoid = run_bench("ood(scores=('msp',), head='lda')", toy_archive, CONFIG, test=foreign)
    assert sigmoid.records[0].interval.estimate != results.records[0].interval.estimate


def test_both_test_sets_are_counted_as_read(tmp_path):
    here, there = (clinic(tmp_path / n, patients=16, seed=s, labels=LABELS) for n, s in (("here", 3), ("there", 4)))
    reads = [run_bench("ood(scores=('knn',))", here, CONFIG, test=there).records[0].test_reads for _ in range(2)]
    assert reads == [1, 2]
    for archive in (here, there):
        assert len((archive.path / "test_reads.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("spec", "match"),
    [
        ("ood", "no OOD images"),
        ("ood(unseen='cataracts')", "is no label"),
        ("ood(scores=('knnn',), unseen='cataract')", "unknown name 'knnn'"),
        ("ood(scores=('knn(kk=3)',), unseen='cataract')", "unknown option 'kk'"),
        ("ood(head='tip_adapter', unseen='cataract')", "starts from words"),
        ("ood(head='knn', unseen='cataract')", "is not linear"),
        ("ood(kept=0, unseen='cataract')", "kept=0"),
    ],
)
def test_invalid_use(toy_archive, spec, match):
    with pytest.raises(UsageError, match=match):
        run_bench(spec, toy_archive, CONFIG)


def test_what_contradicts_itself_is_refused(toy_archive, foreign):
    with pytest.raises(UsageError, match="another archive and an unseen finding"):
        run_bench("ood(unseen='cataract')", toy_archive, CONFIG, test=foreign)
    with pytest.raises(UsageError, match="ordinal=true with ood"):
        run_bench("ood(unseen='cataract')", toy_archive, dataclasses.replace(CONFIG, ordinal=True))
    copy = dataclasses.replace(open_archive(foreign.path), records=toy_archive.records[:3] + foreign.records)
    with pytest.raises(LeakageError, match="stand in both archives"):
        run_bench("ood", toy_archive, CONFIG, test=copy)


def test_an_image_of_two_classes_is_no_exclusive_class(tmp_path):
    both = LABELS | {"glaucoma": "glaucoma;cataract"}
    archive = clinic(tmp_path / "both", patients=40, labels=both)
    with pytest.raises(DataError, match="or several"):
        run_bench("ood(unseen='macular_hole')", archive, dataclasses.replace(CONFIG, exclusive=True))


def test_the_page_says_what_was_found(toy_archive, foreign, tmp_path):
    run_bench("ood(scores=('knn',))", toy_archive, CONFIG, test=foreign).save(tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Out-of-distribution detection" in page
    assert "FPR95 ↓" in page


def test_validation_images_like_training_images_choose_no_threshold(toy_archive, foreign, monkeypatch):
    val = [r.image_id for r in toy_archive.in_split(Split.VAL)]
    train = [r.image_id for r in toy_archive.in_split(Split.TRAIN)]
    asked = []

    def alike(learned, ids, tested):
        asked.append((learned.digest, sorted(ids), tested.digest))
        return frozenset(val[:3])

    monkeypatch.setattr("tapetum.bench.trial.copies", alike)
    parts = parts_of(trial_of(toy_archive, CONFIG, test=foreign), "")
    assert [r.image_id for r in parts.val] == val[3:]
    # the other calls look for copies of train and val among what is tested
    assert [ids for _, ids, _ in asked if ids != sorted(train + val)] == [sorted(train)]
    assert parts.notes[0] == f"3 of {len(val)} validation images left out: they look like training images"
    whole = trial_of(toy_archive, dataclasses.replace(CONFIG, copies="keep"), test=foreign)
    assert len(parts_of(whole, "").val) == len(val)


def test_words_stand_in_the_place_of_a_head(toy_archive, foreign, toy_model):
    words = dataclasses.replace(CONFIG, findings=("cataract", "glaucoma", "macular_hole"))
    results = run_bench("ood(head='words', places=True)", toy_archive, words, test=foreign, model=toy_model)
    rows = {r.row for r in results.records}
    assert {"gl_mcm", "neg_label()", "max_logit()", "msp(temperature=0.01)"} <= rows
    assert {r.supervision for r in results.records} == {"report-supervised"}
    assert any("negative words" in note for note in results.notes)
    trial = trial_of(toy_archive, words, test=foreign, model=toy_model)
    parts = parts_of(trial, "")
    vectors = prompt_vectors(toy_model, words.findings, load_pack("fundus"), toy_model.prompt_set)
    values = [
        -(toy_model.encode_image(features) @ vectors.T).max(axis=1)
        for features in (parts.features(parts.test), parts.outside_embeddings.features)
    ]
    truth = np.repeat([0, 1], [len(v) for v in values])
    largest = results.find("OOD", "auroc_score", "max_logit()").interval.estimate
    assert largest == pytest.approx(roc_auc_score(truth, np.concatenate(values)))


def test_places_have_cosines_of_their_own(toy_archive, toy_model):
    ids = [r.image_id for r in toy_archive.in_split(Split.TEST)][:2]
    vectors = prompt_vectors(toy_model, ("cataract", "glaucoma"), load_pack("fundus"), toy_model.prompt_set)
    found = place_cosines(toy_model, toy_archive, ids, vectors, threads=1)
    assert found.shape[::2] == (2, 2)
    assert np.abs(found).max() <= 1 + 1e-6
    assert found.std(axis=1).max() > 0


def test_words_without_a_model_that_knows_them_are_refused(toy_archive, foreign):
    with pytest.raises(UsageError, match="knows words"):
        run_bench("ood(head='words')", toy_archive, CONFIG, test=foreign)
    with pytest.raises(UsageError, match="without words"):
        run_bench("ood(places=True)", toy_archive, CONFIG, test=foreign)
