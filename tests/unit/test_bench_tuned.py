"""`mode=finetune` in the protocols that frozen features are the default of: who is learned from, once, and who asks."""

from __future__ import annotations

import dataclasses
import importlib

import numpy as np
import pytest

from tapetum.bench import BenchConfig, run_bench
from tapetum.bench.models import relearned, tuned
from tapetum.bench.readings import readings
from tapetum.bench.trial import trial_of
from tapetum.bench.trust.outlying_parts import learned_from, parts_of
from tapetum.bench.trust.tail_rows import Rows, Tail
from tapetum.bench.whole import bench_all
from tapetum.core.errors import DataError, UsageError
from tapetum.core.types import Embeddings, Split
from toys import COLOURS, ENCODER, TEXT, clinic

adapting = importlib.import_module("tapetum.learn.adapt")  # the name `adapt` of the package is the function
FROZEN = BenchConfig(encoders=ENCODER, text_encoder=TEXT, threads=1, draws=40)
TUNING = "epochs=3, batch=16, learning_rate=0.01"
CONFIG = dataclasses.replace(FROZEN, mode="finetune", tuning=TUNING)
SMALL = "seeds=1, epochs=2, batch=16, learning_rate=0.01"


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """A clinic whose colours overlap."""
    labels = {name: name for name in COLOURS}
    return clinic(tmp_path_factory.mktemp("noisy") / "noisy", patients=96, seed=3, labels=labels, noise=35.0)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    labels = {name: name for name in COLOURS}
    return clinic(tmp_path_factory.mktemp("else") / "elsewhere", patients=24, seed=9, labels=labels, noise=35.0)


@pytest.fixture
def learned(monkeypatch):
    """The archive of every tuning, and whether it was done."""
    seen = []

    def watched(archive, settings, **words):
        seen.append((archive, settings))
        return adapt(archive, settings, **words)

    adapt = tuned.adapt
    monkeypatch.setattr(tuned, "adapt", watched)
    return seen


def watched_tune(monkeypatch, module):
    """The rows of every tuning that a module asks for."""
    seen, tune = [], module.tune

    def watched(archive, rows, labels, config, **words):
        seen.append(rows)
        return tune(archive, rows, labels, config, **words)

    monkeypatch.setattr(module, "tune", watched)
    return seen


def test_outliers_of_an_archive_without_labels_leave_nothing_to_tune_by(tmp_path, elsewhere):
    bare = clinic(tmp_path / "bare", patients=8, seed=5)
    with pytest.raises(DataError, match="no label to tune a tower by"):
        run_bench("ood", bare, CONFIG, test=elsewhere)


ASKED = {
    "linear_probe": "full()", "knn(k=3)": "knn(k=3)", "calibration(calibrators=('platt',), groups=False)": "platt()",
    "ood(unseen='glaucoma', scores=('knn', 'energy'))": "knn()", "fairness(exchanges=20)": "full()",
    "masked(images=12, steps=(0.5,))": "full()", "abstain": "near the threshold",
    "corrupted(images=12, severities=(0.5,), corruptions=('gamma',))": "full()",
}  # fmt: skip


@pytest.mark.parametrize("spec", ASKED)
def test_one_tuned_tower_is_asked_in_place_of_the_frozen_one(spec, noisy, learned):
    before = readings(noisy, "test")
    found, plain = run_bench(spec, noisy, CONFIG), run_bench(spec, noisy, FROZEN)
    assert len(learned) == 1  # the second run learns nothing
    assert readings(noisy, "test") == before + 2
    assert any(note.startswith("mode=finetune: full(), epochs=3") for note in found.trial.notes)
    assert not any("mode=finetune" in note for note in plain.trial.notes)
    rows = [r for r in found.records if r.row == ASKED[spec]]
    assert rows
    other = {(r.finding, r.metric): r.interval.estimate for r in plain.records}
    assert any(other.get((r.finding, r.metric)) != r.interval.estimate for r in rows)


def test_the_head_that_was_tuned_states_the_probabilities(noisy):
    found = run_bench("calibration(calibrators=('platt',), groups=False)", noisy, CONFIG)
    model = found.trial.model
    logits = model.adapter(found.trial.test_embeddings.features)
    shown = found.scored[0].predictions
    sure = 34.5  # the page shows no probability nearer to 0 or 1
    np.testing.assert_allclose(shown.logits.clip(-sure, sure), logits.clip(-sure, sure), atol=1e-5)
    assert model.parents == {"archive": noisy.digest}
    assert any(r.row == "full(), as it is" for r in found.records)


def test_only_training_patients_are_stepped_on(noisy, monkeypatch):
    seen = watched_tune(monkeypatch, adapting)
    run_bench("linear_probe", noisy, CONFIG)
    assert [set(rows.image_ids) for rows in seen] == [{r.image_id for r in noisy.in_split(Split.TRAIN)}]


def test_what_is_held_out_as_unseen_is_not_learned_from(noisy, learned):
    run_bench("ood(unseen='glaucoma', scores=('energy',), choose='cataract')", noisy, CONFIG)
    archive, settings = learned[0]
    assert settings.findings == ("macular_hole", "normal_fundus")
    labels = {r.image_id: set(r.labels) for r in noisy.records}
    for part in (Split.TRAIN, Split.VAL):
        ids = {r.image_id for r in archive.in_split(part)}
        assert ids < {r.image_id for r in noisy.in_split(part)}
        assert ids
        assert not any(labels[i] & {"glaucoma", "cataract"} for i in ids)
    assert not archive.in_split(Split.TEST)


@pytest.mark.parametrize(("unseen", "choose"), [("glaucoma", ""), ("glaucoma", "cataract"), ("", "cataract")])
def test_who_is_learned_from_is_known_before_anything_is_read(noisy, elsewhere, unseen, choose):
    trial = trial_of(noisy, FROZEN, test=None if unseen else elsewhere)
    before = readings(noisy, "test")
    train, val = learned_from(trial, unseen, choose)
    assert readings(noisy, "test") == before
    parts = parts_of(trial, unseen, choose=choose)
    assert [r.image_id for r in train] == [r.image_id for r in parts.train]
    assert [r.image_id for r in val] == [r.image_id for r in parts.val]


@pytest.mark.parametrize("protocol", ["zero_shot", "retrieval", "concepts", "few_shot"])
def test_who_knows_frozen_features_only_says_so(protocol, noisy):
    with pytest.raises(UsageError, match=f"mode=finetune with {protocol}"):
        run_bench(protocol, noisy, CONFIG)


@pytest.mark.parametrize(
    ("spec", "config", "told"),
    [
        ("linear_probe(shots=2)", {}, "shots=2"), ("knn", {"mode": "tuned"}, "mode"),
        ("knn", {"tuner": "ful"}, "ful"), ("knn", {"tuning": "epoch=3"}, "epoch"),
        ("ood(unseen='glaucoma', head='words')", {}, "words"), ("ood", {}, "no OOD images"),
        ("ood(unseen='glaucom')", {}, "glaucom"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(spec, config, told, noisy):
    with pytest.raises(UsageError, match=told):
        run_bench(spec, noisy, dataclasses.replace(CONFIG, **config))


@pytest.mark.parametrize("protocol", ["longtail", "noise", "robust", "crossed"])
def test_a_checkpoint_and_towers_tuned_anew_exclude_each_other(protocol, noisy, toy_model):
    with pytest.raises(UsageError, match=r"mode=finetune of a model"):
        run_bench(protocol, noisy, CONFIG, model=dataclasses.replace(toy_model, parents={}))


def test_a_part_of_val_is_tested_and_the_tower_did_not_learn_it(noisy, learned):
    found = run_bench(
        "calibration(calibrators=('platt',), groups=False)", noisy, dataclasses.replace(CONFIG, test_split="val")
    )
    tested = {r.patient_id for r in found.trial.test_records}
    archive = learned[0][0]
    assert tested == {r.patient_id for r in noisy.in_split(Split.VAL)}
    assert not tested & {r.patient_id for s in (Split.TRAIN, Split.VAL) for r in archive.in_split(s)}


def test_another_clinic_is_asked_through_the_same_tower(noisy, elsewhere):
    found = run_bench("linear_probe", noisy, CONFIG, test=elsewhere)
    assert {r.data for r in found.records} == {"elsewhere"}
    assert found.find("macro", "auroc_score").interval.estimate > 0.6


def test_a_run_of_all_parts_tunes_once_where_it_may(noisy, learned, tmp_path):
    parts = ("detection", "words", "calibration", "fairness", "abstain", "ood")
    whole = bench_all(noisy, CONFIG, out=tmp_path / "all", parts=parts)
    told = {o.planned.name: (o.status, o.reason) for o in whole.outcomes}
    words = told.pop("words")
    assert set(told.values()) == {("done", "")}, told
    assert words[0] == "left out"
    assert "mode=finetune" in words[1]
    assert whole.table().startswith("bench all on noisy, mode=finetune · ")
    assert "Bench · noisy, mode=finetune" in (tmp_path / "all" / "report.html").read_text()
    assert all(any("mode=finetune: full()" in n for n in o.notes) for o in whole.outcomes if o.status == "done")
    assert len(learned) == 2  # one for all of them, and one that has not seen what ood holds out


# --- towers tuned anew, fold by fold and method by method -------------------------------------------------------------


def test_every_label_is_judged_by_a_tower_that_never_saw_its_patient(noisy, monkeypatch):
    rows_of_each = watched_tune(monkeypatch, relearned)
    before = readings(noisy, "test")
    found = run_bench("noise(plant=(), folds=2)", noisy, CONFIG)
    assert readings(noisy, "test") == before
    tuned_on = [set(rows.patient_ids) for rows in rows_of_each]
    everybody = {r.patient_id for s in (Split.TRAIN, Split.VAL) for r in noisy.in_split(s)}
    assert len(tuned_on) == 4  # two folds of the labels as given, two of them shuffled
    assert tuned_on[0] | tuned_on[1] == everybody
    assert not tuned_on[0] & tuned_on[1]
    assert not set.union(*tuned_on) & {r.patient_id for r in noisy.in_split(Split.TEST)}
    rows = {r.row for r in found.records}
    assert "full() on shuffled labels" in rows
    assert not list((noisy.cache / "embeddings").glob("*relearned*"))


def test_planted_flips_are_found_by_towers(noisy):
    spec = "noise(plant=('symmetric',), rates=(0.2,), folds=2)"
    found = run_bench(spec, noisy, dataclasses.replace(CONFIG, exclusive=True))
    row = "confident_learning() on symmetric(rate=0.2)"
    assert found.find("macro", "flips_auroc_score", row).interval.estimate > 0.6
    assert found.find("macro", "auroc_score", "full()").interval.estimate > 0.6
    assert {r.selection for r in found.records} == {
        "when to stop: patients held out of the steps; what is doubted: out-of-fold scores of train and val patients"
    }


def test_ways_to_learn_from_wrong_labels_with_a_tower(noisy):
    spec = f"robust(methods=('one_stage', 'co_teaching'), plant=('symmetric',), rates=(0.2,), {SMALL})"
    found, plain = run_bench(spec, noisy, CONFIG), run_bench(spec, noisy, FROZEN)
    rows = list(dict.fromkeys(r.row for r in found.records if r.metric == "balanced_accuracy_score"))
    assert rows == [
        f"{m} on {v}" for v in ("labels as given", "symmetric(rate=0.2)") for m in ("one_stage()", "co_teaching()")
    ]
    assert any("finetune" in note for note in found.notes)
    digests = [{r.digests["model"] for r in one.records} for one in (found, plain)]
    assert not digests[0] & digests[1]


def test_all_at_once_with_a_tower_in_two_places(noisy, elsewhere):
    spec = f"crossed(methods=('one_stage',), imbalances=(2.0,), plant=(), {SMALL})"
    found = run_bench(spec, noisy, CONFIG, test=elsewhere)
    cells = {r.finding for r in found.records if r.metric == "balanced_accuracy_score"} - {"macro"}
    assert {c.rpartition(", ")[2] for c in cells} == {"own patients", "elsewhere"}
    assert any(note.startswith("1:2: ") for note in found.notes)


# --- tails of classes that are rare already ---------------------------------------------------------------------------


def rows_of_sizes(*counts):
    labels = np.repeat(np.arange(len(counts)), counts)
    ids = tuple(f"i{i}" for i in range(len(labels)))
    return Rows(tuple("abcdef"[: len(counts)]), Embeddings(ids, ids, np.zeros((len(ids), 2), np.float32), "x"), labels)


@pytest.mark.parametrize(
    ("counts", "ratio", "left"),
    [
        ((1000, 500, 30), 20.0, [600, 134, 30]),  # 30 of the rarest allow 600: 600 / 20^(1/2) = 134.2
        ((30, 1000, 500), 20.0, [30, 600, 134]),
        ((1000, 100, 300), 4.0, [400, 100, 200]),
        ((100, 60, 50), 4.0, [100, 50, 25]),  # enough of each: the commonest stays whole
        ((100, 7, 50), 10.0, [70, 7, 22]),
    ],
)  # fmt: skip
def test_a_tail_is_as_long_as_the_classes_allow(counts, ratio, left):
    assert Tail(ratio).wanted(rows_of_sizes(*counts)).tolist() == left
    assert Tail(ratio).thin(rows_of_sizes(*counts), np.random.default_rng(0)).counts.tolist() == left


def test_a_tail_that_no_length_allows_is_refused():
    with pytest.raises(DataError, match="b has 1 training images"):
        Tail(50.0).wanted(rows_of_sizes(40, 1, 30))
    with pytest.raises(DataError, match="a larger imbalance or a smaller largest"):
        Tail(4.0, 200).wanted(rows_of_sizes(200, 40, 30))
