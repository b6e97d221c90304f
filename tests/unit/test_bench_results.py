"""Results: tables, files, and back again."""

from __future__ import annotations

import json
import math

import pytest

from tapetum.bench import Results, read_records
from tapetum.bench.tables.results import Control, as_json
from tapetum.core.errors import ArtefactError
from tapetum.core.store import read_meta
from tapetum.core.types import Interval, Record


def record(finding="glaucoma", metric="auroc_score", estimate=0.8, supervision="supervised", phantom=False):
    interval = Interval(estimate, math.nan, 0.9, "patient-cluster bootstrap")
    return Record(
        "zero_shot", "ridge()", supervision, finding, metric, interval, 10, 5, 3, (0,), "val", 2,
        {"archive": "abc", "model": "def"}, "toy", phantom,
    )  # fmt: skip


CONTROL = Control(0.9, (0.5, 0.45), {"a": (0.5, math.nan)}, 1 / 3, 0.475, 0.025, True)


def test_records_survive_storing_nan_included(tmp_path):
    records = (record(), record("macro", estimate=math.nan))
    Results(records, control=CONTROL).save(tmp_path / "out", page=False)
    again = read_records(tmp_path / "out" / "records.jsonl")
    assert repr(again) == repr(list(records))
    for line in (tmp_path / "out" / "records.jsonl").read_text(encoding="utf-8").splitlines():
        json.loads(line, parse_constant=pytest.fail)
    control = json.loads((tmp_path / "out" / "control.json").read_text(), parse_constant=pytest.fail)
    assert control["per_finding"]["a"] == [0.5, None]
    assert read_meta(tmp_path / "out", "records").parents == {"archive": "abc", "model": "def"}


def test_json_has_every_field():
    assert set(as_json(record())) == set(Record.__dataclass_fields__)


@pytest.mark.parametrize("text", ["{", '{"a": 1}', "[]", '{"interval": 3}'])
def test_damaged_records_are_named_by_line(tmp_path, text):
    file = tmp_path / "records.jsonl"
    file.write_text(json.dumps(as_json(record())) + "\n" + text + "\n")
    with pytest.raises(ArtefactError, match="line 2"):
        read_records(file)
    with pytest.raises(ArtefactError):
        read_records(tmp_path / "missing.jsonl")


def test_the_table_keeps_rows_apart_and_says_undefined():
    records = (record(), record("macro", estimate=math.nan), record(supervision="unseen finding", estimate=0.7))
    table = Results(records, notes=("a note",), control=CONTROL).table()
    assert "test set read 2 time(s)" in table
    assert table.index("ridge() · supervised") < table.index("0.800") < table.index("ridge() · unseen finding")
    assert table.index("ridge() · unseen finding") < table.index("0.700")
    assert "undefined" in table
    assert "a note" in table
    assert "PHANTOM" not in table
    assert "PHANTOM" in Results((record(phantom=True),)).table()


def test_the_control_says_whether_it_holds():
    assert CONTROL.line().endswith("p = 0.333: holds")
    failed = Control(0.4, (0.5, 0.45), {}, 1.0, 0.475, 0.025, False)
    assert "DOES NOT HOLD" in failed.line()


def test_finding_a_record():
    results = Results((record(), record(supervision="unseen finding", estimate=0.7)))
    assert results.find("glaucoma", "auroc_score").interval.estimate == 0.8
    assert results.find("glaucoma", "auroc_score", supervision="unseen finding").interval.estimate == 0.7
    with pytest.raises(KeyError):
        results.find("glaucoma", "auroc_score", row="knn()")
