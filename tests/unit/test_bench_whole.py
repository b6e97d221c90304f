"""The whole run: what is asked, what is left out and why, one reading, going on, the folder, the page, the card."""

from __future__ import annotations

import dataclasses
import json
import math
import re

import pytest

from tapetum.archive import open_archive
from tapetum.bench import BenchConfig, read_records
from tapetum.bench.readings import readings
from tapetum.bench.trust.tail_methods import STANDARD
from tapetum.bench.whole import PARTS, Outcome, Planned, Whole, bench_all, planned
from tapetum.bench.whole import run as running
from tapetum.bench.whole.page import whole_page
from tapetum.bench.whole.plan import PROTOCOLS, shares_findings, unseen_label
from tapetum.bench.whole.result import DONE, FAILED
from tapetum.core.errors import DataError, LeakageError, UsageError
from tapetum.core.registry import Spec
from tapetum.core.types import Interval, Record, Split
from toys import COLOURS, ENCODER, REPORTS, TEXT, clinic

LABELS = {name: name for name in COLOURS}
CONFIG = BenchConfig(encoders=ENCODER, text_encoder=TEXT, text="report", prompt_set="name", threads=1, draws=20)
QUICK = ("detection", "words", "calibration")


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """One of these tests' own: the readings of its test set are counted here."""
    return clinic(tmp_path_factory.mktemp("whole") / "mine", labels=LABELS)


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    return clinic(tmp_path_factory.mktemp("second") / "second", patients=16, seed=9, labels=LABELS)


@pytest.fixture(scope="module")
def alien(tmp_path_factory):
    """Images of something else: no label, no report and no finding in common."""
    return clinic(
        tmp_path_factory.mktemp("alien") / "alien", patients=12, seed=5, pack="", labels=dict.fromkeys(COLOURS, "cell")
    )


@pytest.fixture(scope="module")
def done(archive, tmp_path_factory):
    """A run of three parts, and its folder."""
    out = tmp_path_factory.mktemp("out") / "all"
    return bench_all(archive, CONFIG, out=out, parts=QUICK), out


def by_name(plan):
    return {one.name: one for one in plan}


# --- the plan --------------------------------------------------------------------------------------------------------


def test_every_declared_protocol_is_one_or_is_told_to_be_missing(archive):
    for one in planned(archive, CONFIG):
        if one.spec.partition("(")[0] not in PROTOCOLS.names():
            assert one.left_out == "not part of this version"
    assert len({part.name for part in PARTS}) == len(PARTS)


def test_protocols_that_no_part_asks_are_told(done):
    asked = {part.spec.partition("(")[0] for part in PARTS}
    told = re.search(r"not asked here: (.*?) \(tapetum", done[0].table())
    assert told
    assert set(told[1].split(", ")) == set(PROTOCOLS.names()) - asked
    assert {"few_shot", "knn", "retrieval"} <= set(told[1].split(", "))


def test_without_a_second_archive_shift_is_left_out_and_says_so(archive):
    plan = by_name(planned(archive, CONFIG))
    assert "--test OTHER_ARCHIVE names none" in plan["shift"].left_out
    assert not plan["shift"].partial
    assert "detection_elsewhere" not in plan


def test_another_clinic_is_a_shift_and_other_images_are_ood(archive, second, alien):
    assert shares_findings(archive, second, CONFIG)
    assert not shares_findings(archive, alien, CONFIG)
    clinic_, other = by_name(planned(archive, CONFIG, second)), by_name(planned(archive, CONFIG, alien))
    assert (clinic_["shift"].left_out, clinic_["shift"].where) == ("", "other")
    assert (clinic_["crossed"].where, other["crossed"].where) == ("other", "own")
    assert clinic_["detection_elsewhere"].where == "other"
    assert clinic_["detection_elsewhere"].title == "Detection, other archive"
    assert "no finding in common" in other["shift"].left_out
    assert (other["ood"].spec, other["ood"].where, other["ood"].left_out) == ("ood", "other", "")
    assert "detection_elsewhere" not in other


def test_the_long_tail_is_asked_of_one_method_of_each_kind(archive):
    """The whole table has its own command, and takes longer than all other questions together."""
    asked = Spec.parse(by_name(planned(archive, CONFIG))["longtail"].spec).options["methods"]
    assert set(asked) <= set(STANDARD)
    assert (asked[0], len(set(asked))) == (STANDARD[0], 9)


def test_a_grade_here_is_the_disease_there(archive):
    """One archive names grades, the other the disease: with `findings=` they share it, without they do not."""
    config = dataclasses.replace(CONFIG, findings=("diabetic_retinopathy",))
    told = {"cataract": "nonproliferative_dr", "glaucoma": "proliferative_dr"}

    def named(labels, name):
        records = tuple(dataclasses.replace(r, labels=tuple(labels(r))) for r in archive.records)
        return dataclasses.replace(archive, records=records, label_map={}, name=name)

    grades = named(lambda r: [told.get(t, "normal_fundus") for t in r.labels], "grades")
    disease = named(lambda r: ["diabetic_retinopathy" if set(r.labels) & set(told) else "glaucoma"], "disease")
    assert shares_findings(grades, disease, config)
    assert not shares_findings(grades, disease, dataclasses.replace(config, findings=("glaucoma",)))
    assert not shares_findings(grades, disease, dataclasses.replace(config, findings=("no such finding",)))


def test_the_unseen_label_is_the_rarest_with_enough_training_images(archive):
    assert unseen_label(archive) == ""
    counts = {"glaucoma": 24, "cataract": 22, "macular_hole": 19, "normal_fundus": 60}
    labels = [name for name, n in counts.items() for _ in range(n)]
    train = archive.in_split(Split.TRAIN)
    many = [dataclasses.replace(train[0], image_id=f"{i:064d}", labels=(name,)) for i, name in enumerate(labels)]
    assert unseen_label(dataclasses.replace(archive, records=tuple(many))) == "cataract"


def test_what_the_archive_lacks_is_told_before_anything_runs(tmp_path):
    bare = clinic(tmp_path / "bare", patients=8, seed=3, reports=dict.fromkeys(REPORTS, ""))
    plan = by_name(planned(bare, CONFIG))
    assert plan["detection"].left_out == "bare has no labels"
    assert plan["detection"].partial
    assert plan["words"].left_out == "bare has no reports"
    assert not plan["words"].partial


def test_several_labels_of_an_image_leave_out_what_learns_one_class_each(archive):
    first = archive.records[0]
    both = dataclasses.replace(first, labels=("glaucoma", "cataract"))
    several = dataclasses.replace(archive, records=(both, *archive.records[1:]))
    assert by_name(planned(archive, CONFIG))["longtail"].left_out == ""
    assert "several labels" in by_name(planned(several, CONFIG))["longtail"].left_out


def test_one_finding_leaves_out_what_learns_classes(archive):
    plan = by_name(planned(archive, dataclasses.replace(CONFIG, findings=("glaucoma",))))
    for name in ("longtail", "robust", "crossed"):
        assert plan[name].left_out == "one finding is asked for: it learns two classes or more"
        assert not plan[name].partial
    assert not plan["calibration"].left_out


def test_several_towers_leave_out_what_tunes_one(archive):
    config = dataclasses.replace(CONFIG, mode="finetune")
    two = dataclasses.replace(config, encoders=f"{config.encoders} + {config.encoders.replace('16', '8')}")
    for name in ("longtail", "robust", "crossed"):
        assert not by_name(planned(archive, config))[name].left_out
        plan = by_name(planned(archive, two))[name]
        assert plan.left_out.startswith("several towers")
        assert plan.partial
    assert not by_name(planned(archive, two))["calibration"].left_out


def test_an_unknown_part_is_refused_with_the_nearest(archive):
    with pytest.raises(UsageError) as caught:
        planned(archive, CONFIG, only=("calibrations",))
    assert "'calibration'" in caught.value.expected


# --- the run ---------------------------------------------------------------------------------------------------------


def test_all_parts_are_one_reading(done, archive):
    whole, out = done
    assert readings(archive, "test") == 1
    assert whole.reads == 1
    assert {r.test_reads for r in whole.records} == {1}
    assert [(o.planned.name, o.status) for o in whole.outcomes] == [(name, DONE) for name in QUICK]
    assert not whole.partial
    assert not (out.parent / "all_unfinished").exists()


def test_the_folder_holds_everything(done):
    whole, out = done
    assert read_records(out / "records.jsonl") == [
        r for name in QUICK for r in read_records(out / name / "records.jsonl")
    ]
    assert len(whole.records) == len(read_records(out / "records.jsonl"))
    assert (out / "table.txt").read_text() == whole.table() + "\n"
    summary = json.loads((out / "summary.json").read_text())
    assert [p["name"] for p in summary["parts"]] == list(QUICK)
    assert len(summary["parts"][0]["main"]) == 3
    assert {p.name for p in (out / "checklists").iterdir()} == {"tripod_ai.md", "claim.md", "stard_ai.md"}
    assert json.loads((out / "meta.json").read_text())["kind"] == "records"


def test_the_card_tells_the_quality_of_its_own_model_only(done):
    whole, out = done
    card, config = (out / "card.md").read_text(), json.loads((out / "model" / "config.json").read_text())
    assert f"`{config['digest']}`" in card
    assert card.count("## Measured results") == 1
    assert "## Measured results: linear_probe on mine" in card
    beside = card.partition("## Beside it")[2].partition("\n## ")[0]
    assert "not of this very model" in beside
    assert whole.outcomes[2].planned.title in beside


def test_the_page_loads_nothing_and_its_anchors_are_unique(done):
    page = (done[1] / "report.html").read_text()
    assert "<script" not in page
    assert not re.search(r"(src|href)=.?https?:", page)
    anchors = re.findall(r'\bid="([\w-]+)"', page)
    assert len(anchors) == len(set(anchors))
    for name in QUICK:
        assert f'<section id="{name}">' in page
        assert f'href="#{name}"' in page
    assert set(re.findall(r'href="#([\w-]+)"', page)) <= set(anchors)
    assert page.count("<h1>") == 1
    assert 'id="detection-failures"' in page
    assert 'id="calibration-reliability"' in page
    assert 'id="calibration-failures"' not in page, "pictures stand once"
    assert page.index("Read first") < page.index('id="summary"') < page.index('id="detection"')
    assert "Only the authors can answer" in (done[1] / "checklists" / "tripod_ai.md").read_text()


def test_run_again_it_takes_over_and_reads_nothing(done, archive):
    again = bench_all(archive, CONFIG, out=done[1], parts=QUICK)
    assert all(one.again for one in again.outcomes)
    assert readings(archive, "test") == 1
    assert again.records == done[0].records
    assert (done[1] / "model" / "config.json").exists()


def test_other_settings_are_another_run(archive, done, tmp_path):
    import shutil

    shutil.copytree(done[1], tmp_path / "all")
    before = readings(archive, "test")
    changed = bench_all(archive, dataclasses.replace(CONFIG, draws=21), out=tmp_path / "all", parts=("detection",))
    assert not changed.outcomes[0].again
    assert changed.reads == before + 1
    assert any("2 different settings" in words for _, words in changed.warnings)
    assert not (tmp_path / "all" / "words").exists()


def broken(monkeypatch, name, error):
    """A protocol that fails; all others stay."""

    class Family:
        @staticmethod
        def build(spec):
            def fail(trial):
                raise error

            return fail if spec.startswith(name) else PROTOCOLS.build(spec)

    monkeypatch.setattr(running, "PROTOCOLS", Family)


@pytest.mark.parametrize(
    ("error", "said"),
    [(DataError("too few images"), "too few images"), (ZeroDivisionError("oops"), "internal error, please report")],
)
def test_a_part_that_fails_is_told_and_the_others_go_on(error, said, archive, tmp_path, monkeypatch):
    broken(monkeypatch, "calibration", error)
    whole = bench_all(archive, CONFIG, out=tmp_path / "all", parts=("calibration", "detection"))
    of = {one.planned.name: one for one in whole.outcomes}
    assert of["calibration"].status == FAILED
    assert of["detection"].status == DONE
    assert whole.partial
    assert said in of["calibration"].reason
    assert said in whole.table()
    assert said in (tmp_path / "all" / "report.html").read_text()
    assert whole.warnings[0][1].startswith("FAILED")
    assert not (tmp_path / "all" / "calibration").exists()


def test_after_a_kill_the_same_command_goes_on(archive, tmp_path, monkeypatch):
    with monkeypatch.context() as within:
        broken(within, "linear_probe", KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            bench_all(archive, CONFIG, out=tmp_path / "all", parts=("words", "calibration", "detection"))
    assert not (tmp_path / "all").exists()
    whole = bench_all(archive, CONFIG, out=tmp_path / "all", parts=("words", "calibration", "detection"))
    assert {one.planned.name: one.again for one in whole.outcomes} == dict.fromkeys(QUICK, False)
    with monkeypatch.context() as within:
        broken(within, "calibration", KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            bench_all(archive, CONFIG, out=tmp_path / "two", parts=QUICK)
    whole = bench_all(archive, CONFIG, out=tmp_path / "two", parts=QUICK)
    again = {one.planned.name: one.again for one in whole.outcomes}
    assert again == {"detection": True, "words": True, "calibration": False}
    assert (tmp_path / "two" / "model").exists()


def test_classes_are_told_only_to_protocols_that_know_them(archive, tmp_path):
    """`words` refuses exclusive=true; in a whole run it is asked finding by finding instead."""
    exclusive = dataclasses.replace(CONFIG, exclusive=True)
    before = readings(archive, "test")
    whole = bench_all(archive, exclusive, out=tmp_path / "all", parts=("detection", "words"))
    assert [one.status for one in whole.outcomes] == [DONE, DONE]
    assert any(r.metric == "accuracy_score" for r in whole.outcomes[0].records)
    assert readings(archive, "test") == before + 1
    assert {r.test_reads for r in whole.records} == {before + 1}


def test_two_clinics(archive, second, tmp_path):
    whole = bench_all(archive, CONFIG, test=second, out=tmp_path / "all", parts=("detection",))
    own, elsewhere = whole.outcomes
    assert {r.data for r in own.records} == {"mine"}
    assert {r.data for r in elsewhere.records} == {"second"}
    assert whole.other == "second"
    assert any("patient numbers occur in both" in words for _, words in whole.warnings)


def test_a_leak_is_refused_before_anything_runs(archive, tmp_path):
    shared = dataclasses.replace(archive, digest="x", records=archive.records[:4])
    with pytest.raises(LeakageError, match="stand in both"):
        bench_all(archive, CONFIG, test=shared, out=tmp_path / "all", parts=("detection",))
    assert not list(tmp_path.iterdir())


def test_a_folder_of_something_else_is_left_alone(archive, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"x")
    with pytest.raises(Exception, match="is no artefact"):
        bench_all(archive, CONFIG, out=tmp_path / "photos", parts=("calibration",))
    assert (tmp_path / "photos" / "a.jpg").exists()
    assert open_archive(archive.path).digest == archive.digest


# --- what is shown ---------------------------------------------------------------------------------------------------


def record(metric, estimate, finding="macro", row="a", supervision="supervised"):
    interval = Interval(estimate, estimate - 0.1, estimate + 0.1, "bootstrap")
    return Record(
        "p", row, supervision, finding, metric, interval, 10, 5, 3, (0,), "none", 1, {"model": "m"}, "data", False
    )


def outcome(*records, main=(), notes=(), status=DONE):
    part = dataclasses.replace(PARTS[0], main=main)
    return Outcome(Planned(part, part.name, part.spec, "own"), status, "why" * (status != DONE), records, notes)


def test_main_numbers_are_the_named_ones_then_the_first():
    found = outcome(
        record("auroc_score", 0.5, supervision="negative control"),
        record("auroc_score", 0.9), record("auroc_score", 0.8, row="b"), record("brier_error", 0.2),
        record("ece_error", math.nan), record("other_score", 0.3), record("more_score", 0.1),
        main=("ece_error", "auroc_score @ b", "brier_error"),
    ).main  # fmt: skip
    assert [(r.metric, r.row) for r in found] == [("auroc_score", "b"), ("brier_error", "a"), ("other_score", "a")]


def test_without_a_mean_the_worst_finding_stands_there():
    found = outcome(
        record("auroc_score", 0.9, "x"), record("auroc_score", 0.6, "y"), record("gap_error", 0.1, "x"),
        record("gap_error", 0.3, "y"), record("auroc_difference", -0.2, "x"), record("auroc_difference", 0.1, "y"),
    ).main  # fmt: skip
    assert [(r.finding, r.interval.estimate) for r in found] == [("y", 0.6), ("y", 0.3), ("x", -0.2)]


def test_warnings_come_once_and_the_loud_ones_first():
    notes = (
        "truth: labels",
        "3 of 9 test images left out: they look like others",
        "ALARM in full(): border strips tell it",
        "ODIR: 678 images",
    )
    whole = Whole("d", "", False, (outcome(notes=notes), outcome(notes=notes)), ("2 groups cross splits",))
    assert [words for _, words in whole.warnings] == [notes[2], "2 groups cross splits", notes[1]]
    assert [where for where, _ in whole.warnings] == ["Detection", "audit", "Detection"]


def test_what_a_protocol_warns_of_stands_first():
    loud = dataclasses.replace(outcome(notes=("a note",)), warned=("border strips tell it",))
    whole = Whole("d", "", False, (loud,), ("2 groups cross splits",))
    assert whole.warnings[0] == ("Detection", "WARNING: border strips tell it")
    assert "Read first: 2 warnings" in whole_page(whole)
    assert whole.table().index("border strips") < whole.table().index(PARTS[0].question)


def test_the_page_of_a_run_without_answers_says_so():
    empty = Whole("d", "", True, (outcome(status=FAILED),))
    page = whole_page(empty)
    assert "FAILED: why" in page
    assert "PHANTOM" in page
    assert "&lt;i&gt;" in whole_page(dataclasses.replace(empty, data="<i>"))


def test_the_plan_reads_no_test_label(archive):
    """What is held out as unseen is chosen by training images alone."""
    hidden = tuple(dataclasses.replace(r, labels=()) if r.split == Split.TEST else r for r in archive.records)
    assert unseen_label(dataclasses.replace(archive, records=hidden)) == unseen_label(archive)
