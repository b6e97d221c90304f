"""What a benchmark refuses: each test names a way to test on what was learned or chosen on."""

from __future__ import annotations

import csv
import dataclasses
import shutil

import numpy as np
import pytest
from PIL import Image

from tapetum.archive import IngestConfig, ingest, open_archive
from tapetum.archive.store.catalog import REDRAWN, Catalog
from tapetum.bench import BenchConfig, evaluate, refusals, run_bench
from tapetum.bench.budget import refuse_unequal, settings_of
from tapetum.bench.comparison import CompareConfig, compare
from tapetum.bench.trial import trial_of
from tapetum.core.errors import LeakageError, UsageError
from tapetum.core.registry import Family
from tapetum.core.types import Predictions, Split
from tapetum.learn import PretrainConfig, pretrain
from toys import COLOURS, ENCODER, TEXT, clinic

LABELS = {name: name for name in COLOURS}
CONFIG = BenchConfig(encoders=ENCODER, text_encoder=TEXT, text="report", prompt_set="name", threads=1, draws=20)
VAL = dataclasses.replace(CONFIG, test_split="val")


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return clinic(tmp_path_factory.mktemp("other") / "other", patients=16, seed=9, labels=LABELS)


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """A model, and its archive in a later state: two patients more."""
    folder = tmp_path_factory.mktemp("grown") / "growing"
    first = clinic(folder, patients=60, labels=LABELS)
    settings = PretrainConfig(encoders=ENCODER, text_encoder=TEXT, text="report", prompt_set="name", threads=1)
    model = pretrain(first, settings)
    table = folder / "export" / "clinic.csv"
    rows = list(csv.DictReader(table.read_text().splitlines()))
    for i in range(2):
        Image.new("RGB", (32, 32), (40 + 50 * i, 99, 30)).save(folder / "export" / f"late{i}.png")
        rows.append({**rows[0], "image": f"late{i}.png", "patient": f"late{i}"})
    with table.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    config = IngestConfig(
        map="image=image,patient=patient,eye=eye,report=report", labels="label", pack="fundus", modality="fundus",
        name="growing", fractions=(0.5, 0.25, 0.25), report_required=False,
    )  # fmt: skip
    ingest(folder / "export", folder / "archive", config)
    return model, first, open_archive(folder / "archive")


# --- what a model has seen -------------------------------------------------------------------------------------------


def test_a_model_of_an_earlier_state_is_not_tested_on_all_of_the_archive(grown, other):
    model, first, later = grown
    assert model.parents["archive"] == first.digest != later.digest
    seen = {r.patient_id for s in (Split.TRAIN, Split.VAL) for r in first.in_split(s)}
    everybody = {r.patient_id for r in later.records}
    with pytest.raises(
        LeakageError, match=f"earlier state of growing: it has seen {len(seen)} of the {len(everybody)}"
    ):
        trial_of(other, CONFIG, test=later, model=model)


def test_its_thresholds_are_not_tested_where_they_were_chosen(grown):
    model, _, later = grown
    with pytest.raises(LeakageError, match="thresholds were chosen on the validation patients"):
        trial_of(later, VAL, model=model)
    assert trial_of(later, VAL, model=dataclasses.replace(model, operating=None)).notes == ()


def test_the_test_patients_of_the_later_state_may_be_tested(grown):
    model, _, later = grown
    assert trial_of(later, CONFIG, model=model).notes == ()


def test_another_split_of_the_same_archive_is_refused(grown):
    """The archive on disk says who was learned on; a split made in memory cannot hide it."""
    model, first, _ = grown
    turned = {Split.TRAIN: Split.TEST, Split.TEST: Split.TRAIN, Split.VAL: Split.VAL, Split.NONE: Split.NONE}
    records = tuple(dataclasses.replace(r, split=turned[r.split]) for r in first.records)
    train = len({r.patient_id for r in first.in_split(Split.TRAIN)})
    with pytest.raises(LeakageError, match=f"has seen {train} of the {train} tested patients .{train} train"):
        trial_of(dataclasses.replace(first, records=records), CONFIG, model=model)


def test_where_splits_were_drawn_anew_everybody_counts_as_seen(grown, tmp_path):
    model, _, later = grown
    shutil.copytree(later.path, tmp_path / "again")
    again = open_archive(tmp_path / "again")
    assert trial_of(again, CONFIG, model=model).test_records
    catalog = Catalog(again.path / "catalog.sqlite")
    with catalog.transaction():
        catalog.set_settings({REDRAWN: "2"})
    catalog.close()
    with pytest.raises(LeakageError, match="drawn anew"):
        trial_of(again, CONFIG, model=model)


def test_an_archive_of_the_same_name_that_is_unknown_is_told_loudly(grown, other):
    model, _, _ = grown
    namesake = dataclasses.replace(other, name="growing")
    results = run_bench("retrieval", namesake, CONFIG, model=model)
    (note,) = [n for n in results.all_notes if n.startswith("WARNING")]
    assert "also called growing" in note
    assert note in results.table()
    (plain,) = trial_of(other, CONFIG, model=model).notes
    assert "was made from growing, another archive" in plain


def test_a_model_without_an_archive_is_told(toy_archive, grown):
    published = dataclasses.replace(grown[0], parents={})
    assert "published by others" in trial_of(toy_archive, CONFIG, model=published).notes[0]
    stacked = dataclasses.replace(grown[0], parents={"archive": grown[2].digest, "teacher": "f" * 64})
    assert "teacher ffffffffffff" in trial_of(grown[2], CONFIG, model=stacked).notes[0]


# --- people and pictures on both sides -------------------------------------------------------------------------------


def test_equal_patient_numbers_are_told_and_equal_pseudonyms_refused(toy_archive, other, monkeypatch):
    shared = len({r.patient_id for r in toy_archive.records} & {r.patient_id for r in other.records})
    assert shared == 16
    assert trial_of(toy_archive, CONFIG, test=other).notes[0].startswith("16 patient numbers occur in both")
    monkeypatch.setattr(refusals, "_key_id", lambda archive: "one key")
    with pytest.raises(LeakageError, match="16 patients stand in both archives, whose pseudonyms follow from one key"):
        trial_of(toy_archive, CONFIG, test=other)


@pytest.fixture(scope="module")
def twice(tmp_path_factory):
    """Picture 0 stands in the training part and, with the same pixels in another file, in the test part."""
    root = tmp_path_factory.mktemp("twice")
    (root / "export").mkdir()
    lines = []
    for i, picture in enumerate((0, 1, 2, 0, 3)):
        pixels = np.random.default_rng(picture).integers(0, 255, (64, 64, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(root / "export" / f"{i}.png", compress_level=i)
        lines.append(f"{i}.png,p{i},{'glaucoma' if i % 2 else 'cataract'}\n")
    (root / "export" / "t.csv").write_text("file,patient,label\n" + "".join(lines))
    ingest(root / "export", root / "twice.tap", IngestConfig(pack="fundus", modality="fundus"))
    archive = open_archive(root / "twice.tap")
    assert len({r.split for r in archive.records if r.patient_id in ("p0", "p3")}) == 1, "ingest keeps them together"
    given = {"p0": Split.TRAIN, "p1": Split.TRAIN, "p2": Split.VAL, "p3": Split.TEST, "p4": Split.TEST}
    records = tuple(dataclasses.replace(r, split=given[r.patient_id]) for r in archive.records)
    return dataclasses.replace(archive, records=records)


def test_equal_pixels_in_two_parts_of_a_given_split_are_an_error(twice):
    with pytest.raises(LeakageError, match=r"1 of 2 tested images look like .* 1 have their very pixels") as caught:
        _ = trial_of(twice, CONFIG).test_records
    assert "tapetum audit" in caught.value.next_step
    assert "copies=leave_out" in caught.value.next_step


@pytest.mark.parametrize(("copies", "tested"), [("leave_out", {"p4"}), ("keep", {"p3", "p4"})])
def test_the_two_ways_out_are_said_in_the_table(twice, copies, tested):
    trial = trial_of(twice, dataclasses.replace(CONFIG, copies=copies))
    assert {r.patient_id for r in trial.test_records} == tested
    assert trial.notes


def test_copies_that_only_look_alike_can_be_an_error_too(twice, monkeypatch):
    monkeypatch.setattr(refusals, "equal_copies", lambda *_: frozenset())
    assert len(trial_of(twice, CONFIG).test_records) == 1
    with pytest.raises(LeakageError, match="0 have their very pixels"):
        _ = trial_of(twice, dataclasses.replace(CONFIG, copies="refuse")).test_records


# --- choosing on the test set ----------------------------------------------------------------------------------------


def predicted(archive, records):
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(len(records), 1))
    return Predictions(
        tuple(r.image_id for r in records), tuple(r.patient_id for r in records), ("OD",) * len(records),
        ("cataract",), scores, 1 / (1 + np.exp(-scores)), np.array([0.5]), "somebody's",
    )  # fmt: skip


def test_thresholds_chosen_on_tested_patients_are_refused(toy_archive):
    tested = toy_archive.in_split(Split.TEST)
    val = [r.patient_id for r in toy_archive.in_split(Split.VAL)]
    given = predicted(toy_archive, tested)
    with pytest.raises(LeakageError, match="chosen on 1 of the patients who are tested"):
        evaluate(given, toy_archive, draws=20, chosen_on=[*val, tested[0].patient_id])
    assert not [n for n in evaluate(given, toy_archive, draws=20, chosen_on=val).notes if "WARNING" in n]
    assert [n for n in evaluate(given, toy_archive, draws=20).notes if "nobody said" in n]


def test_given_predictions_of_a_model_that_has_seen_the_patients_are_refused(grown):
    model, _, later = grown
    with pytest.raises(LeakageError, match="thresholds were chosen on the validation"):
        evaluate(predicted(later, later.in_split(Split.VAL)), later, split="val", draws=20, model=model)


def test_many_settings_on_one_test_set_are_counted_and_told(tmp_path):
    archive = clinic(tmp_path / "fresh", patients=16, labels=LABELS)
    tables = [run_bench(p, archive, CONFIG).table() for p in ("knn(k=3)", "knn(k=3)", "knn(k=5)", "linear_probe")]
    assert ["different settings" in table for table in tables] == [False, False, True, True]
    assert "now been read with 3 different settings or protocols" in tables[-1]
    assert "test set read 4 time(s)" in tables[-1]


# --- equal budgets ---------------------------------------------------------------------------------------------------


def test_budgets():
    assert settings_of(["knn", "knn()", "knn(k=3)", "lda(shrinkage=0.1)"]) == {"knn": 2, "lda": 1}
    assert refuse_unequal({}) == refuse_unequal({"a": 3}) == refuse_unequal({"a": 2, "b": 2}) == ()
    assert refuse_unequal({"a": 3, "b": 1}, chosen_on_tested=False) == ()
    with pytest.raises(UsageError, match="table of test results: b 3, a 1"):
        refuse_unequal({"a": 1, "b": 3})
    assert "b 3, a 1" in refuse_unequal({"a": 1, "b": 3}, said=True)[0]


UNEQUAL = "few_shot(adapters=('knn(k=3)', 'knn(k=5)'), baseline='prototypes', shots=(2,), draws=1)"


def test_a_method_with_more_settings_than_another_is_refused(toy_archive):
    with pytest.raises(UsageError, match="knn 2, prototypes 1"):
        run_bench(UNEQUAL, toy_archive, CONFIG)
    with pytest.raises(UsageError, match="knn 2, energy 1"):
        run_bench("ood(scores=('knn(k=3)', 'knn(k=5)', 'energy'), unseen='cataract')", toy_archive, CONFIG)
    with pytest.raises(UsageError, match="knn 2, linear_probe 1"):
        compare(toy_archive, CompareConfig(encoders=ENCODER, modes="knn(k=3), knn(k=5), linear_probe", shots="all"))


def test_unless_it_is_said_or_the_patients_are_for_choosing(toy_archive):
    said = run_bench(UNEQUAL, toy_archive, dataclasses.replace(CONFIG, unequal_budgets=True))
    assert "UNEQUAL BUDGETS" in said.table()
    assert "UNEQUAL" not in run_bench(UNEQUAL, toy_archive, VAL).table()


# --- unknown names ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("protocol", "settings", "nearest"),
    [
        ("zeroshot", {}, "'zero_shot'"),
        ("knn(neighbours=3)", {}, "one of: k, shots"),
        ("linear_probe", {"findings": ("cataracts",)}, "'cataract'"),
        ("zero_shot(shuffles=0, unseen=False, compare=())", {"findings": ("cataracts",)}, "'cataract'"),
        ("few_shot", {"findings": ("cataracts",)}, "'cataract'"),
        ("noise", {"findings": ("cataracts",)}, "'cataract'"),
        ("ood(unseen='glaucoma')", {"findings": ("cataracts",)}, "'cataract'"),
        ("ood(unseen='cataracts')", {}, "'cataract'"),
        ("knn", {"test_split": "tests"}, "'test'"),
        ("knn", {"copies": "leaveout"}, "'leave_out'"),
        ("knn", {"calibrator": "plat"}, "'platt'"),
        ("knn", {"encoders": "tinny()"}, "'tiny'"),
        ("zero_shot", {"task": "rigde"}, "'ridge'"),
        ("zero_shot(compare=('contrastiv',))", {}, "'contrastive'"),
        ("few_shot(adapters=('knnn',))", {}, "'knn'"),
        ("few_shot(baseline='knnn')", {}, "'knn'"),
        ("noise(methods=('confident_learnin',))", {}, "'confident_learning'"),
        ("noise(plant=('symetric',))", {}, "'symmetric'"),
        ("noise(probe='logistics')", {}, "'logistic'"),
        ("noise(by='anchor')", {}, "anchors"),
        ("ood(scores=('energi',), unseen='cataract')", {}, "'energy'"),
        ("ood(head='logistics', unseen='cataract')", {}, "'logistic'"),
        ("retrieval(relevant='others')", {}, "other patients"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(protocol, settings, nearest, toy_archive):
    with pytest.raises(UsageError) as caught:
        run_bench(protocol, toy_archive, dataclasses.replace(CONFIG, **settings))
    assert nearest in caught.value.expected


def test_no_family_of_the_benchmark_falls_back(toy_archive):
    for family in ("bench.protocols", "score.metrics", "score.calibration", "score.ood", "learn.adapters"):
        with pytest.raises(UsageError, match="unknown name 'nothing_like_it'"):
            Family(f"tapetum.{family}").build("nothing_like_it")
