"""What every protocol promises; a new file in the family is tested by being there."""

from __future__ import annotations

import dataclasses
import functools
import math

import pytest

from tapetum.bench import BenchConfig, Results, run_bench
from tapetum.bench.readings import readings
from tapetum.bench.tables.metric_words import METRICS
from tapetum.bench.tables.results import SHOWN, as_json
from tapetum.core.errors import UsageError
from tapetum.core.registry import Family
from tapetum.core.types import Split
from toys import COLOURS, ENCODER, TEXT

PROTOCOLS = Family("tapetum.bench.protocols")
QUICK = {
    "abstain": "abstain(gate='knn(k=3)')",
    "zero_shot": "zero_shot(shuffles=2, compare=())",
    "calibration": "calibration(calibrators=('platt', 'temperature'))",
    "concepts": "concepts(adapter='concepts(penalty=0.1)', controls=1)",
    "masked": "masked(region='centre', steps=(0.5,))",
    "noise": "noise(plant=('symmetric',), rates=(0.1,))",
    "robust": "robust(methods=('one_stage', 'co_teaching'), plant=('pair',), rates=(0.2,), seeds=2)",
    "few_shot": "few_shot(adapters=('prototypes',), shots=(2, 8), draws=2)",
    "ood": "ood(scores=('mahalanobis', 'energy', 'knn'), unseen='cataract')",
    "fairness": "fairness(exchanges=20)",
    "corrupted": "corrupted(corruptions=('jpeg', 'cast'), severities=(0.5,))",
    "crossed": (
        "crossed(methods=('one_stage', 'crt'), imbalances=(2.0,), rates=(0.05,), seeds=2, batch=16, learning_rate=0.01)"
    ),
    "longtail": "longtail(methods=('one_stage', 'crt'), seeds=2)",
    "shift": "shift(by='laterality', methods=('vrex',), rates=(0.03,), strengths=(1.0,), decays=(0.1,), batch=16)",
}
SUPERVISION = {
    "report-supervised", "unseen finding", "supervised", "unsupervised", "negative control", "reports + labels",
}  # fmt: skip
CONFIG = BenchConfig(encoders=ENCODER, text_encoder=TEXT, text="report", prompt_set="name", threads=1, draws=40)
each_protocol = pytest.mark.parametrize("name", PROTOCOLS.names())


@pytest.fixture(scope="module")
def run(toy_archive):
    return functools.cache(lambda name: run_bench(QUICK.get(name, name), toy_archive, CONFIG))


@each_protocol
def test_it_gives_results_that_can_be_printed(name, run):
    results = run(name)
    assert isinstance(results, Results)
    assert results.records
    assert name in results.table()


@each_protocol
def test_what_its_table_shows_has_words(name, run):
    results = run(name)
    shown = set(results.columns or SHOWN) & {r.metric for r in results.records}
    # p values need none, and an AUROC at a severity says it all
    assert {m for m in shown if not m.endswith("(p)") and not m.startswith("auroc_at_")} <= set(METRICS)


@each_protocol
def test_every_record_is_complete(name, run, toy_archive):
    parts = {"test": (Split.TEST,), "train+val": (Split.TRAIN, Split.VAL), "train": (Split.TRAIN,)}
    for record in run(name).records:
        asked = [r for part in parts[record.digests["split"]] for r in toy_archive.in_split(part)]
        assert record.protocol == name
        assert record.row
        assert record.supervision in SUPERVISION
        assert record.selection
        assert record.test_reads >= 1
        assert {"archive", "test", "config", "split", "code", "model"} <= set(record.digests)
        assert record.images <= len(asked)
        assert record.patients <= len({r.patient_id for r in asked})
        several = record.finding in ("macro", "head", "tail", "absent")  # findings, of which an image may have more
        assert record.positives <= record.images or several
        assert record.data == toy_archive.name
        assert not record.phantom
        assert record.interval.method
        if not math.isnan(record.interval.low):
            assert record.interval.low <= record.interval.estimate <= record.interval.high
        as_json(record)


@each_protocol
def test_a_toy_with_a_plain_signal_is_solved(name, run):
    main = run(name).records[0]
    assert main.interval.estimate > 0.85
    assert main.metric.endswith("_score")


@each_protocol
def test_equal_runs_give_equal_numbers_and_each_is_one_reading_that_every_record_counts(name, run, toy_archive):
    first, before = run(name), readings(toy_archive, "test")
    again = run_bench(QUICK.get(name, name), toy_archive, CONFIG)
    ours, theirs = ([(r.row, r.finding, r.metric, repr(r.interval)) for r in x.records] for x in (first, again))
    assert ours == theirs
    assert readings(toy_archive, "test") == before + 1
    tested = [r.test_reads for r in again.records if r.digests["split"] == "test"]
    assert tested
    assert set(tested) == {before + 1}


@each_protocol
def test_records_of_the_main_row_name_their_own_model(name, run):
    results = run(name)
    digests = {(r.row, r.supervision): r.digests["model"] for r in results.records}
    if name == "zero_shot":
        assert digests["ridge()", "report-supervised"] != digests["ridge()", "unseen finding"]
    for scored in results.scored:
        assert digests[scored.row, scored.supervision].startswith(scored.predictions.model[:16])


@each_protocol
def test_validation_patients_can_be_tested_instead(name, toy_archive):
    results = run_bench(QUICK.get(name, name), toy_archive, dataclasses.replace(CONFIG, test_split="val"))
    assert results.records[0].digests["split"] == "val"
    for scored in results.scored:
        val = {r.image_id for r in toy_archive.in_split(Split.VAL)}
        assert set(scored.predictions.image_ids) == val


@each_protocol
def test_an_unknown_option_is_refused(name, toy_archive):
    with pytest.raises(UsageError, match="unknown option"):
        run_bench(f"{name}(shotz=3)", toy_archive, CONFIG)


def test_an_unknown_protocol_is_refused_naming_the_nearest(toy_archive):
    with pytest.raises(UsageError) as caught:
        run_bench("zeroshot", toy_archive, CONFIG)
    assert "zero_shot" in caught.value.expected


def test_findings_can_be_chosen(toy_archive):
    config = dataclasses.replace(CONFIG, findings=("cataract", "glaucoma"))
    results = run_bench("linear_probe", toy_archive, config)
    assert {r.finding for r in results.records} == {"macro", "cataract", "glaucoma"}
    assert set(COLOURS) > {"cataract", "glaucoma"}
