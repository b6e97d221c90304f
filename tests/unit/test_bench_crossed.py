"""The crossing table: every cell is what it says, the mean is over cells, and the second clinic is only tested."""

from __future__ import annotations

import numpy as np
import pytest

from tapetum.bench import BenchConfig, run_bench
from tapetum.bench.readings import readings
from tapetum.bench.trial import trial_of
from tapetum.bench.trust.crossing import Teaching, places, run_teaching, teachings
from tapetum.bench.trust.label_noise import AS_GIVEN
from tapetum.bench.trust.tail_rows import Tail
from tapetum.core.errors import DataError, UsageError
from tapetum.core.types import Split
from tapetum.learn.classifying.plan import Pace
from toys import COLOURS, ENCODER, TEXT, clinic

CONFIG = BenchConfig(encoders=ENCODER, text_encoder=TEXT, threads=1, draws=60)
METHODS = "methods=('one_stage', \"one_stage(loss='balanced_softmax')\")"
SPEC = f"crossed({METHODS}, imbalances=(2.0,), rates=(0.2,), seeds=2, epochs=4"


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    """Another clinic with the same colours, other patients."""
    labels = {name: name for name in COLOURS}
    return clinic(tmp_path_factory.mktemp("second") / "second", patients=24, seed=9, labels=labels)


@pytest.fixture(scope="module")
def results(toy_archive, second):
    return run_bench(f"{SPEC})", toy_archive, CONFIG, test=second)


def test_there_is_a_cell_for_every_combination(results, second):
    cells = [r.finding for r in results.records if r.row == "one_stage()" and r.metric == "balanced_accuracy_score"]
    taught = [f"{t}, {m}" for t in ("as they are", "1:2") for m in (AS_GIVEN, "symmetric(rate=0.2)")]
    assert cells == ["macro", *(f"{t}, {place}" for t in taught for place in ("own patients", second.name))]


def test_cells_whose_names_begin_alike_are_numbered_in_the_table(results, second):
    lines = results.table().splitlines()
    (head,) = (line for line in lines if "(1)" in line and "(8)" in line)
    assert head.split()[-8:] == [f"({i})" for i in range(1, 9)]
    assert "  (1) as they are, labels as given, own patients" in lines
    assert f"  (8) 1:2, symmetric(rate=0.2), {second.name}" in lines


def test_macro_is_the_mean_of_the_cells_and_the_worst_cell_the_least(results):
    for row in {r.row for r in results.records}:
        of = {r.finding: r for r in results.records if (r.row, r.metric) == (row, "balanced_accuracy_score")}
        cells = [r.interval.estimate for f, r in of.items() if f != "macro"]
        assert of["macro"].interval.estimate == pytest.approx(np.mean(cells))
        assert results.find("macro", "worst_cell_score", row).interval.estimate == min(cells)


def test_records_of_each_place_speak_of_its_images(results, toy_archive, second):
    for record in results.records:
        if record.finding.endswith(second.name):
            assert (record.data, record.images) == (second.name, len(second.records))
        elif record.finding != "macro":
            assert record.data == toy_archive.name
            assert record.images == len(toy_archive.in_split(Split.TEST))


def test_differences_are_to_the_first_method_in_the_same_cell(results):
    other = "one_stage(loss='balanced_softmax')"
    for record in results.records:
        if record.metric == "balanced_accuracy_difference":
            ours, first = (
                results.find(record.finding, "balanced_accuracy_score", row).interval.estimate
                for row in (other, "one_stage()")
            )
            assert record.row == other
            assert record.interval.estimate == pytest.approx(ours - first)


def test_what_is_planted_is_seen_and_the_tested_rows_stay(toy_archive):
    trial = trial_of(toy_archive, CONFIG)
    train, tested, _ = places(trial, "crossed", "nothing")
    before = tested[0].rows.labels.copy()
    pace, found = Pace(epochs=30), {}
    for name in (AS_GIVEN, "symmetric(rate=0.6)"):
        (cell,) = run_teaching(train, tested, Teaching(Tail(), name), ["one_stage()"], [0], pace, 0)
        found[name] = cell.found.values["balanced_accuracy"][0].mean()
    assert found["symmetric(rate=0.6)"] < found[AS_GIVEN]
    np.testing.assert_array_equal(tested[0].rows.labels, before)
    (thin,) = run_teaching(train, tested, Teaching(Tail(4.0), AS_GIVEN), ["one_stage()"], [0], pace, 0)
    counts = np.sort(thin.found.runs.counts)[::-1]
    assert counts[0] / counts[-1] == pytest.approx(4, rel=0.3)


def test_the_plain_cell_comes_first():
    made = teachings((10.0,), 50, ("pair(rate=0.1)",))
    assert [t.name for t in made] == [
        "as they are, labels as given", "as they are, pair(rate=0.1)", "1:10, labels as given", "1:10, pair(rate=0.1)",
    ]  # fmt: skip
    assert [t.tail.largest for t in made] == [0, 0, 50, 50]


@pytest.mark.parametrize("wrong", ["rates=(1.5,)", "imbalances=(0.5,)", "seeds=0", "methods=()"])
def test_what_cannot_be_is_refused(toy_archive, wrong):
    with pytest.raises(UsageError):
        run_bench(f"crossed({wrong})", toy_archive, CONFIG)


def test_an_imbalance_that_a_class_is_too_small_for_is_refused(toy_archive):
    with pytest.raises(DataError, match="imbalance"):
        run_bench("crossed(methods=('one_stage',), imbalances=(1.01,), largest=999)", toy_archive, CONFIG)


def test_where_it_is_one_part_of_a_run_it_is_no_further_reading(toy_archive):
    trial = trial_of(toy_archive, CONFIG, protocol="all")
    assert trial.test_reads == (before := readings(toy_archive, "test"))
    _, tested, _ = places(trial, "crossed", "nothing")
    assert readings(toy_archive, "test") == before
    assert {of.within.test_reads for of in tested} == {before}
