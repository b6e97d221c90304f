"""The OOD protocol: planted OOD images are found, a second sample is not, and what is learned on stays apart."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tapetum.archive import open_archive
from tapetum.bench import BenchConfig, run_bench
from tapetum.bench.trial import trial_of
from tapetum.bench.trust.outlying import known_of
from tapetum.bench.trust.outlying_parts import parts_of
from tapetum.core.errors import ArtefactError, DataError, LeakageError, UsageError
from tapetum.core.registry import Family
from tapetum.core.types import Split
from tapetum.knowledge import load_pack
from tapetum.learn.granular.places import place_cosines
from tapetum.learn.model import prompt_vectors
from tapetum.score.spectrum import full_spectrum
from toys import COLOURS, ENCODER, TEXT, clinic

CONFIG = BenchConfig(encoders=ENCODER, text_encoder=TEXT, threads=1, draws=60)
LABELS = {name: name for name in COLOURS}
FEATURES = "('knn', 'residual', 'mahalanobis')"


def all_of(colour, folder, **options):
    """A clinic whose pictures all have one colour, whatever the finding."""
    with pytest.MonkeyPatch.context() as patched:
        for name in COLOURS:
            patched.setitem(COLOURS, name, colour)
        return clinic(folder, labels=LABELS, noise=8.0, **options)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """Another clinic whose pictures are all dark, of a colour that the toy clinic does not know."""
    return all_of((70, 50, 40), tmp_path_factory.mktemp("foreign") / "foreign", patients=16, seed=5)


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


@pytest.fixture(scope="module")
def dim(tmp_path_factory):
    """A third clinic of dark pictures, of another colour than those tested: outliers to choose on."""
    return all_of((50, 60, 80), tmp_path_factory.mktemp("dim") / "dim", patients=12, seed=7)


@pytest.fixture(scope="module")
def brighter(tmp_path_factory):
    """The findings of the toy clinic under another camera."""
    with pytest.MonkeyPatch.context() as patched:
        for name, colour in COLOURS.items():
            patched.setitem(COLOURS, name, tuple(min(255, c + 25) for c in colour))
        return clinic(tmp_path_factory.mktemp("brighter") / "brighter", patients=30, seed=8, labels=LABELS)


def test_settings_are_chosen_on_outliers_that_are_not_tested(toy_archive, foreign, dim):
    spec = f"ood(scores=('knn', 'energy(temperature=3.0)', 'entropy', 'react'), choose='{dim.path}', limit='balanced')"
    results = run_bench(spec, toy_archive, CONFIG, test=foreign)
    trial = trial_of(toy_archive, CONFIG, test=foreign)
    parts = parts_of(trial, "", choose=str(dim.path))
    tested = {r.image_id for r in (*parts.test, *parts.outside)}
    assert tested.isdisjoint(r.image_id for r in parts.choosing.records)
    assert {r.image_id for r in parts.choosing.records} == {r.image_id for r in dim.records}
    some, last = parts.choosing.some(3), len(dim.records) - 1
    assert some.records == [parts.choosing.records[i] for i in (0, last // 2, last)]
    np.testing.assert_array_equal(some.features[1], parts.choosing.features[last // 2])
    known, areas = known_of(trial, parts, "logistic", ""), {}
    ood = np.repeat([0, 1], [len(parts.val), len(parts.choosing.records)])
    rows = known.rows(np.concatenate([parts.features(parts.val), parts.choosing.features]))
    for k in (10, 1, 5, 20, 50, 100):
        if k <= len(parts.train):
            score = Family("tapetum.score.ood").build(f"knn(k={k})").fit(known.images)
            areas[f"knn(k={k})"] = roc_auc_score(ood, score(rows))
    best = max(areas, key=areas.__getitem__)
    rows_found = {r.row for r in results.records}
    assert best.replace("(k=10)", "()") in rows_found
    assert {"energy(temperature=3.0)", "entropy()"} <= rows_found  # what is written out is not chosen
    assert len(rows_found) == 4
    assert any(f"chosen on {len(parts.val)} known validation images and {len(dim.records)} OOD images of dim" in n
               for n in results.notes)  # fmt: skip
    assert results.records[0].digests["choosing"] == dim.digest
    assert "OOD images kept for choosing" in results.records[0].selection
    assert not (dim.path / "test_reads.jsonl").exists()  # choosing is no test


def test_without_outliers_to_choose_on_nothing_is_chosen_and_it_is_said(toy_archive, foreign):
    results = run_bench("ood(scores=('knn',))", toy_archive, CONFIG, test=foreign)
    assert any("thresholds: from known validation images alone" in n for n in results.notes)
    assert {r.row for r in results.records} == {"knn()"}
    with pytest.raises(UsageError, match="limit='balanced'"):
        run_bench("ood(scores=('knn',), limit='balanced')", toy_archive, CONFIG, test=foreign)


def test_a_finding_serves_choosing_and_is_neither_known_nor_tested(toy_archive):
    parts = parts_of(trial_of(toy_archive, CONFIG), "cataract", choose="glaucoma")

    def labels(records):
        return toy_archive.labels(("glaucoma",), image_ids=[r.image_id for r in records])[:, 0]

    for records in (parts.train, parts.val, parts.test, parts.outside):
        assert len(records)
        assert (labels(records) == 0).all()
    assert (labels(parts.choosing.records) == 1).all()
    assert {r.split for r in parts.choosing.records} == {Split.TRAIN, Split.VAL}
    results = run_bench("ood(scores=('knn',), unseen='cataract', choose='glaucoma')", toy_archive, CONFIG)
    assert any("it serves choosing" in n for n in results.notes)
    with pytest.raises(UsageError, match="is what is tested"):
        run_bench("ood(unseen='cataract', choose='cataract')", toy_archive, CONFIG)


def test_what_is_tested_or_learned_on_does_not_serve_choosing(toy_archive, foreign, dim):
    for other in (foreign, toy_archive):
        with pytest.raises((LeakageError, UsageError), match=r"stand in both archives|is the archive itself"):
            run_bench(f"ood(scores=('knn',), choose='{other.path}')", toy_archive, CONFIG, test=foreign)
    with pytest.raises(LeakageError, match="stand in both archives"):
        run_bench(f"ood(scores=('knn',), choose='{dim.path}', shifted='{dim.path}')", toy_archive, CONFIG, test=foreign)
    with pytest.raises(UsageError, match="neither a label nor an archive"):
        run_bench("ood(scores=('knn',), choose='nowhere')", toy_archive, CONFIG, test=foreign)


def test_full_spectrum_under_both_policies_is_that_of_the_arrays(toy_archive, foreign, brighter):
    spec = f"ood(scores=('knn',), shifted='{brighter.path}')"
    results = run_bench(spec, toy_archive, CONFIG, test=foreign)
    trial = trial_of(toy_archive, CONFIG, test=foreign)
    parts = parts_of(trial, "", shifted=str(brighter.path))
    score = Family("tapetum.score.ood").build("knn").fit(known_of(trial, parts, "logistic", "").images)
    rows = known_of(trial, parts, "logistic", "").rows
    given = (parts.features(parts.test), parts.outside_embeddings.features, parts.shifted.features)
    values = np.concatenate([score(rows(x)) for x in given])
    kinds = np.repeat(["id", "far", "shifted"], [len(x) for x in given])
    for policy, kind, names in (
        ("leave out", "far", ("OOD", "ID")),
        ("accept", "far", ("OOD, shifted accepted", "ID, shifted accepted")),
        ("refuse", "shifted", ("shifted, to be refused", "ID, shifted refused")),
    ):
        told = full_spectrum(values, kinds, shifted=policy)[kind]
        for finding, area, precision, fpr in (
            (names[0], told.auroc, told.average_precision_ood, told.fpr95_ood),
            (names[1], told.auroc, told.average_precision_id, told.fpr95_id),
        ):
            for metric, value in (
                ("auroc_score", area), ("average_precision_score", precision), ("fpr_at_95_tpr_error", fpr),
            ):  # fmt: skip
                assert results.find(finding, metric).interval.estimate == pytest.approx(value), (finding, metric)
    assert results.find("OOD, shifted accepted", "auroc_score").images == len(values)
    assert results.find("shifted, to be refused", "auroc_score").positives == len(brighter.records)
    assert any(n.startswith("shifted accepted:") for n in results.notes)
    assert any(n.startswith("shifted refused:") for n in results.notes)
    assert results.records[0].digests["shifted"] == brighter.digest


def test_corrupted_images_are_those_of_the_tested_patients(toy_archive, foreign):
    trial = trial_of(toy_archive, CONFIG, test=foreign)
    parts = parts_of(trial, "", shifted="corrupted", severity=1.0)
    assert parts.shifted.patients == tuple(r.patient_id for r in parts.test)
    assert np.abs(parts.shifted.features - parts.features(parts.test)).max(axis=1).min() > 0
    results = run_bench("ood(scores=('knn',), shifted='corrupted', severity=1.0)", toy_archive, CONFIG, test=foreign)
    record = results.find("shifted, to be refused", "auroc_score")
    assert record.images == 2 * len(parts.test)
    assert record.patients == len({r.patient_id for r in parts.test})
    assert record.interval.estimate > 0.5


def test_odin_is_the_confidence_after_its_step_and_chosen_elsewhere(toy_archive, foreign, dim):
    config = dataclasses.replace(CONFIG, exclusive=True, draws=20)
    spec = f"ood(scores=('msp',), odin=True, choose='{dim.path}', shifted='corrupted')"
    results = run_bench(spec, toy_archive, config, test=foreign)
    (row,) = {r.row for r in results.records if r.row.startswith("odin")}
    assert any(row in n and "of 6 settings" in n and "OOD images of dim" in n for n in results.notes)
    assert {r.supervision for r in results.records} == {"supervised"}
    assert results.find("OOD, shifted accepted", "auroc_score", row).images > 0
    plain = run_bench("ood(scores=('msp',), odin=True)", toy_archive, config, test=foreign)
    assert any("odin(temperature=1000, epsilon=0.0014): as its authors set it" in n for n in plain.notes)


def test_where_odin_cannot_be_had_a_note_says_why(tmp_path, toy_archive, foreign):
    bare = clinic(tmp_path / "bare", seed=2)
    results = run_bench("ood(odin=True)", bare, CONFIG, test=foreign)
    assert {r.row for r in results.records} == {"knn()"}
    assert any("odin left out: it needs a linear head" in n for n in results.notes)
    gone = clinic(tmp_path / "gone", patients=24, seed=3, labels=LABELS)
    run_bench("ood(scores=('msp',))", gone, CONFIG, test=foreign)  # features are cached now
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(type(gone), "pixels", _no_pixels)
        found = run_bench("ood(scores=('msp',), odin=True)", gone, CONFIG, test=foreign)
        assert any("odin left out: the images or a gradient cannot be had" in n for n in found.notes)
        assert {r.row for r in found.records} == {"msp()"}


def _no_pixels(*_given, **_more):
    raise ArtefactError("the vault holds no such file", "the images")


def test_odin_on_too_many_images_is_refused(toy_archive, foreign, monkeypatch):
    monkeypatch.setattr("tapetum.bench.trust.outlying_choice.ODIN_IMAGES", 5)
    with pytest.raises(DataError, match="odin on"):
        run_bench("ood(scores=('msp',), odin=True)", toy_archive, CONFIG, test=foreign)
