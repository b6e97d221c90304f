"""The comparison: its plan, its prices, its table by hand."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math

import numpy as np
import pytest
from tests.toys import ENCODER, REPORTS, TEXT, clinic

from tapetum.bench.comparison import CompareConfig, cells_of, compare
from tapetum.bench.comparison.cells import LeftOut, Measured
from tapetum.bench.comparison.cost import Cost, learned_values
from tapetum.bench.comparison.page import comparison_page
from tapetum.bench.comparison.plan import Cell
from tapetum.bench.comparison.result import Comparison, lines_of
from tapetum.bench.tables.measures import Context
from tapetum.core.errors import DataError, UsageError
from tapetum.core.store import read_meta
from tapetum.learn import AdaptConfig, adapt
from tapetum.score.stats.multiple import holm

PRICE = Cost(1000, 10, 0.5, 2.0, 100, 1.0)


def plan(**settings):
    return CompareConfig(**{"encoders": ENCODER, "text_encoder": TEXT, "draws": 50, "runs": 2, **settings})


def test_cells_in_order_and_in_canonical_form():
    cells = cells_of(plan(encoders="tiny(), tiny(seed=1) + tiny(seed=2)", modes="knn(k=3), zero_shot", shots="all,2"))
    assert [(c.encoder, c.mode, c.shots) for c in cells[:3]] == [
        ("tiny()", "knn(k=3)", 0), ("tiny()", "knn(k=3)", 2), ("tiny()", "zero_shot", -1),
    ]  # fmt: skip
    assert cells[3].encoder == "tiny(seed=1) + tiny(seed=2)"
    assert [c.supervision for c in cells[:3]] == ["all labels", "2 shots", "report-supervised"]
    # an aligner that starts from words has seen every training report
    assert Cell("tiny()", "clap", 1).supervision == "reports + 1 shot"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"modes": "linear_prob"}, "linear_probe"),
        ({"modes": "knn(neighbours=3)"}, "neighbours"),
        ({"modes": "knn, knn"}, "twice"),
        ({"modes": ""}, "names nothing|cannot read"),
        ({"encoders": "tiny(, knn"}, "cannot read"),
        ({"encoders": "tiny(), tiny()"}, "twice"),
        ({"shots": "0"}, "shots='0'"),
        ({"shots": "1,some"}, "shots='some'"),
        ({"runs": 0}, "runs=0"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(settings, words):
    with pytest.raises(UsageError, match=words):
        cells_of(plan(**settings))


def test_the_price_of_learning():
    assert PRICE.learn_s == pytest.approx(100 * 0.002 + 1.0)
    assert dataclasses.replace(PRICE, trains_towers=True).learn_s == 1.0


def test_holm_by_hand():
    np.testing.assert_allclose(holm(np.array([0.04, 0.01, np.nan, 0.03])), [0.06, 0.03, np.nan, 0.06])
    np.testing.assert_allclose(holm(np.array([0.6, 0.5])), [1, 1])
    assert holm(np.array([np.nan])).tolist() == pytest.approx([np.nan], nan_ok=True)


def measured(encoder, scores, mode="knn", shots=0):
    return Measured(Cell(encoder, mode, shots), scores, PRICE)


def test_lines_by_hand():
    labels = np.array([[0.0], [1.0], [0.0], [1.0], [np.nan]])
    right, wrong = np.array([[0.0], [1.0], [0.2], [0.9], [0.5]]), np.array([[1.0], [0.0], [0.9], [0.2], [0.5]])
    within = Context("compare", tuple("abcde"), 0, 100, "", 1, {"archive": "x"}, "toy", True)
    found = [
        measured("one", np.stack([wrong, right])), measured("two", np.stack([right, right])),
        measured("two", right[None], shots=-1, mode="zero_shot"),
    ]  # fmt: skip
    lines, records = lines_of(found, labels, within)
    assert [line.auroc.estimate for line in lines] == [0.5, 1.0, 1.0]
    assert [line.versus is None for line in lines] == [True, False, True]
    assert lines[1].versus is not None
    assert lines[1].versus.interval.estimate == 0.5
    assert lines[0].spread == pytest.approx(np.std([0, 1], ddof=1))
    assert math.isnan(lines[2].spread)
    assert [r.images for r in records] == [4, 4, 4]
    assert records[0].row == "one · knn"
    whole = Comparison(lines, (LeftOut(Cell("one", "lora", 0), "<no> tokens"),), ("a note",), records, ("drusen",))
    rows = list(csv.DictReader(io.StringIO(whole.csv())))
    assert [row["auroc"] for row in rows] == ["0.5", "1", "1"]
    assert [row["versus_first"] for row in rows] == ["", "0.5", ""]
    assert "PHANTOM" in whole.table()
    page = comparison_page(whole)
    assert "&lt;no&gt; tokens" in page
    assert "<no>" not in page
    assert page.count('<svg class="curve"') == 1


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return clinic(tmp_path_factory.mktemp("compare"), patients=60, labels={name: name for name in REPORTS})


def test_the_whole_table_is_saved_and_read_again_from_the_cache(archive, tmp_path):
    said: list[str] = []
    settings = plan(modes="zero_shot, linear_probe", shots="2, all", encoders=f"{ENCODER}, tiny(size=32, dim=8)")
    found = compare(archive, settings, say=said.append)
    assert len(said) == len(found.lines) == 6
    assert not found.left_out
    again = compare(archive, settings)
    assert [line.auroc for line in again.lines] == [line.auroc for line in found.lines]
    assert [line.cost for line in again.lines] == [line.cost for line in found.lines]
    assert again.records[0].test_reads == found.records[0].test_reads + 1
    place = found.save(tmp_path / "out")
    assert read_meta(place, "records").kind == "records"
    assert {p.name for p in place.iterdir()} >= {"records.jsonl", "table.txt", "comparison.csv", "report.html"}
    first = json.loads((place / "records.jsonl").read_text().splitlines()[0])
    assert first["protocol"] == "compare"


def test_the_same_numbers_as_the_adapter_alone(archive):
    found = compare(archive, plan(modes="linear_probe", shots="all"))
    model = adapt(archive, AdaptConfig("linear_probe", ENCODER))
    assert found.lines[0].cost.learned == learned_values(model)
    assert found.lines[0].cost.images == model.log["pairs"]


def test_a_cell_that_cannot_be_is_left_out_and_the_others_go_on(archive):
    bare = dataclasses.replace(archive, records=tuple(dataclasses.replace(r, report="") for r in archive.records))
    # another seed: cells are remembered by the archive's digest, which knows nothing of a report taken away here
    found = compare(bare, plan(modes="zero_shot, knn", shots="all", seed=1))
    assert [line.cell.mode for line in found.lines] == ["knn"]
    assert [one.cell.mode for one in found.left_out] == ["zero_shot"]
    assert found.left_out[0].reason
    with pytest.raises(DataError, match="none of 1 cells"):
        compare(bare, plan(modes="zero_shot", seed=1))


def test_without_labels_there_is_nothing_to_compare(archive):
    bare = dataclasses.replace(archive, records=tuple(dataclasses.replace(r, labels=()) for r in archive.records))
    with pytest.raises(DataError, match="no labels"):
        compare(bare, plan())


def test_what_is_left_out_at_every_number_of_labels_is_told_once():
    gone = tuple(LeftOut(Cell("one", "prompts", shots), "no tokens") for shots in (1, 5, 0))
    whole = Comparison((), (*gone, LeftOut(Cell("one", "zero_shot", -1), "no reports")), (), (), (), ("a",) * 9)
    assert whole.absent == (
        "one · prompts · 1 shot, 5 shots, all labels: no tokens", "one · zero_shot · report-supervised: no reports",
    )  # fmt: skip
    assert "and 3 more alarms" in whole.table()


def test_every_tuner_has_the_same_budget(archive):
    found = compare(archive, plan(modes="full, scratch", shots="all", runs=1, tuning="epochs=1, batch=16, augment=''"))
    assert "trained networks, all alike: epochs=1, batch=16, augment=''" in found.notes
    with pytest.raises((UsageError, DataError), match="epoch"):
        compare(archive, plan(modes="full", shots="all", runs=1, tuning="epoch=1"))
