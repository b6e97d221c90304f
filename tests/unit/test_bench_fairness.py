"""Shortcuts are found where they were planted and not claimed elsewhere; groups are compared at one threshold."""

from __future__ import annotations

import csv
import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tapetum.archive import Archive, IngestConfig, ingest, open_archive
from tapetum.bench import BenchConfig, Results, run_bench
from tapetum.bench.tables.measures import Context
from tapetum.bench.trust.acquisition import (
    ACQUISITION,
    BORDER,
    DEVICE,
    MISSING,
    Bins,
    border_strips,
    corners,
    traces_of,
)
from tapetum.bench.trust.shortcuts import Told, warnings_of
from tapetum.bench.trust.subgrouped import Compared, attribute_records, gap_notes
from tapetum.core.errors import LeakageError, UsageError
from tapetum.core.types import Embeddings, Interval
from tapetum.score.subgroups import Resampling, subgroup_aurocs
from toys import ENCODER

FINDINGS = ("A:1", "B:1", "C:1")  # red, green, blue middle
CONFIG = BenchConfig(encoders=ENCODER, threads=1, draws=60, findings=FINDINGS, copies="keep")
LOOSE = "fairness(exchanges=60, half_width=0.35)"


def clinic(folder: Path, *, planted: bool, patients: int = 100) -> Archive:
    """Three findings, each a colour of the middle. Planted: in 19 of 20 patients A comes with a bright border, B is not
    graded, C has another camera; otherwise border, grade and camera say nothing."""
    rng = np.random.default_rng(3)
    (folder / "in").mkdir(parents=True)
    lines: list[dict[str, str]] = []
    for p in range(patients):
        ill = rng.random(3) < 0.5
        border, ungraded, device = np.where(rng.random(3) < 0.95, ill, ~ill) if planted else rng.random(3) < 0.5
        for eye in ("OD", "OS"):
            pixels = rng.normal(90, 12, (64, 64, 3)) + np.array([60, 0, 0])
            pixels[16:48, 16:48] += 50 * ill + rng.normal(0, 12, 3)
            pixels[:2] += 60 * border
            name = f"{p}{eye}.png"
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / "in" / name)
            lines.append({
                **{n: str(int(i)) for n, i in zip("ABC", ill, strict=True)},
                "image": name, "patient": f"p{p:03d}", "eye": eye,
                "GRADE": "" if ungraded else str(int(rng.integers(3))), "camera": "one" if device else "two",
                "sex": "FM"[p % 2], "age": str(20 + p % 60),
            })  # fmt: skip
    with (folder / "in" / "t.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    config = IngestConfig(labels="A+B+C+GRADE", name=folder.name, fractions=(0.3, 0.1, 0.6), modality="fundus")
    ingest(folder / "in", folder / "a.tap", config)
    return open_archive(folder / "a.tap")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return clinic(tmp_path_factory.mktemp("clean"), planted=False)


@pytest.fixture(scope="module")
def clean(archive: Archive) -> Results:
    return run_bench(LOOSE, archive, CONFIG)


def test_planted_shortcuts_are_warned_of_and_each_by_its_own_name(tmp_path):
    results = run_bench(LOOSE, clinic(tmp_path, planted=True, patients=60), CONFIG)
    found = sorted(w for w in results.warnings if "A model can learn this" in w)
    assert [w[:4] for w in found] == ["A:1:", "B:1:", "C:1:"]
    assert "border" in found[0]
    assert "which values were filled in tells it" in found[1]
    assert "the camera tells it" in found[2]
    for finding, kind in zip(FINDINGS, (BORDER, MISSING, DEVICE), strict=True):
        assert results.find(finding, "auroc_score", kind).interval.low > 0.7
        assert results.find(finding, "explained_share", kind).interval.estimate > 0.6
    lines = results.table().splitlines()
    assert all(line.startswith("WARNING: ") for line in lines[2:5])


def test_nothing_is_claimed_where_nothing_was_planted(clean):
    assert not [w for w in clean.warnings if "A model can learn this" in w]
    assert clean.find("B:1", "auroc_score", MISSING).interval.low < 0.5
    assert "WARNING" not in clean.table()


def test_probes_have_a_negative_control(clean):
    rows = {r.row for r in clean.records if r.supervision == "negative control"}
    assert rows == {BORDER, ACQUISITION, MISSING, DEVICE}
    for row in rows:
        interval = clean.find("macro", "auroc_score", row, "negative control").interval
        assert interval.low < 0.5 < interval.high


def test_groups_stand_below_their_finding_worst_first(clean):
    mine = [r for r in clean.records if r.row == "logistic() by sex" and r.metric == "auroc_score"][:3]
    assert mine[0].finding == "A:1"
    assert {r.finding for r in mine[1:]} == {"A:1, F", "A:1, M"}
    assert mine[1].interval.estimate <= mine[2].interval.estimate
    assert sum(r.images for r in mine[1:]) == mine[0].images
    gap = clean.find("A:1", "auroc_gap", "logistic() by sex").interval.estimate
    assert gap == pytest.approx(mine[2].interval.estimate - mine[1].interval.estimate)
    found = clean.find(mine[1].finding, "sensitivity_score").interval
    missed = clean.find(mine[1].finding, "missed_error").interval
    assert missed.estimate == pytest.approx(1 - found.estimate)
    assert missed.low == pytest.approx(1 - found.high)


def test_too_few_is_said_in_the_table(archive):
    results = run_bench("fairness(exchanges=20)", archive, dataclasses.replace(CONFIG, findings=("A:1",)))
    assert "too few to say" in results.table()
    assert math.isnan(results.find("A:1, F", "auroc_score").interval.estimate)
    assert any("too few to say, fewer than two groups" in note for note in results.notes)


def test_too_few_exchanges_for_so_many_comparisons_are_said():
    rng = np.random.default_rng(0)
    scores, truth, who = rng.normal(size=400), (rng.random(400) < 0.5).astype(float), np.arange(400)
    masks = {"F": who < 200, "M": who >= 200}
    found = subgroup_aurocs(scores, truth, masks, who, rng=rng, resampling=Resampling(20, 19, 0.2))
    one = Compared("sex", "f", masks, truth, found, None, holm=0.05)
    assert any("ask for more exchanges" in note for note in gap_notes([one], 9, 19)[1])
    assert not any("ask for more" in note for note in gap_notes([one], 9, 20)[1])


def test_what_the_features_hold_is_told_and_what_they_do_not_is_not():
    rng = np.random.default_rng(0)
    who = tuple(str(i) for i in range(400))
    sex, device = rng.random(400) < 0.5, rng.random(400) < 0.5
    rows = Embeddings(who, who, rng.normal(size=(400, 5)).astype(np.float32) + 2 * sex[:, None], "made")
    seen, asked = np.arange(400) < 200, np.arange(400) >= 200

    def groups(part):
        unknown = np.arange(400)[part] % 10 == 0
        return {
            "sex": {"F": sex[part] & ~unknown, "M": ~sex[part] & ~unknown, "unknown": unknown},
            "device": {"one": device[part], "two": ~device[part]},
            "size": {"1x1": device[part] & unknown, "2x2": ~(device[part] & unknown)},
        }

    within = Context("fairness", who[200:], 0, 200, "none", 1, {}, "made", phantom=False)
    first, second = (rows.rows([who[i] for i in np.flatnonzero(p)]) for p in (seen, asked))
    records, notes = attribute_records(within, first, groups(seen), second, groups(asked), "logistic", 0.1)
    found = {r.finding: r for r in records}
    assert list(found) == ["sex: F", "device: one", "size: 1x1"]
    assert found["sex: F"].interval.low > 0.9
    assert found["sex: F"].images == 180
    assert found["device: one"].interval.low < 0.5 < found["device: one"].interval.high
    assert found["size: 1x1"].interval.method.startswith("too few to say")
    assert "size 1x1" in notes[0]


def test_warnings_need_certainty_a_large_part_and_patients():
    sure = Told(BORDER, "f", Interval(0.9, 0.85, 0.95, "m"), 0.95, 0.89, 1e-6, clear=True)
    assert len(warnings_of([sure], 0.5)) == 1
    assert not warnings_of([dataclasses.replace(sure, p_value=0.04), sure.__class__(
        DEVICE, "f", sure.interval, 0.95, 0.89, 0.04, clear=True
    )], 0.5)  # fmt: skip
    assert not warnings_of([dataclasses.replace(sure, share=0.4)], 0.5)
    assert not warnings_of([dataclasses.replace(sure, clear=False)], 0.5)
    assert not warnings_of([], 0.5)
    more = dataclasses.replace(sure, kind=ACQUISITION, interval=Interval(0.92, 0.9, 0.95, "m"))
    assert "border, corners" in warnings_of([more], 0.5)[0]
    assert warnings_of([sure, more], 0.5) == warnings_of([sure], 0.5)
    other = dataclasses.replace(sure, finding="g", interval=Interval(0.99, 0.9, 1.0, "m"))
    assert [w[:2] for w in warnings_of([sure, other], 0.5)] == ["g:", "f:"]


def test_strips_and_corners_by_hand():
    image = np.zeros((100, 200, 3), np.uint8)
    image[:3] = 100  # the strip at the top is 3 pixels high
    found = border_strips(image)
    assert found["top mean"] == 100
    assert found["top deviation"] == 0
    assert found["bottom mean"] == 0
    assert found["left mean"] == pytest.approx(3.0)
    assert corners(image) == pytest.approx(
        {"corner top left": 50, "corner top right": 50, "corner bottom left": 0, "corner bottom right": 0}
    )


def test_bins_by_hand():
    few = {"bits": np.array([8.0, 12.0, 8.0]), "same": np.ones(3), "name": np.array(["a", "b", "a"])}
    bins = Bins.fit(few)
    assert bins.names == ("bits", "name")
    assert bins(few).tolist() == [[1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0]]
    assert bins({"bits": np.array([16.0]), "name": np.array(["c"])}).tolist() == [[0, 0, 0, 0]]
    many = {"mean": np.arange(80.0)}
    assert Bins.fit(many)(many).sum(axis=0).tolist() == [10] * 8
    assert Bins.fit(many)({"mean": np.array([-5.0, 500.0])}).argmax(axis=1).tolist() == [0, 7]


def test_traces_see_the_file_and_the_table(archive):
    record = next(r for r in archive.records if len(r.labels) == 3)
    traces = traces_of(archive, [record])
    assert traces[MISSING]["column GRADE"].tolist() == [0]
    assert traces[MISSING]["column A"].tolist() == [1]
    assert traces[ACQUISITION]["format"].tolist() == ["PNG"]
    assert traces[ACQUISITION]["images of the patient"].tolist() == [2]
    assert traces[DEVICE]["device"].tolist() == [record.device]
    assert set(traces[BORDER]) < set(traces[ACQUISITION])


@pytest.mark.parametrize(
    ("spec", "change", "found"),
    [
        ("fairness(explained=2)", {}, "explained"),
        ("fairness(ages=(60, 40))", {}, "ages"),
        ("fairness(adapter='nothing')", {}, "nothing"),
        ("fairness", {"exclusive": True}, "exclusive"),
    ],
)
def test_what_cannot_be_is_refused(toy_archive, spec, change, found):
    config = dataclasses.replace(CONFIG, findings=("cataract",), **change)
    with pytest.raises(UsageError, match=found):
        run_bench(spec, toy_archive, config)


def test_a_checkpoint_is_tested_as_it_is(toy_archive, toy_model):
    config = dataclasses.replace(CONFIG, findings=("cataract",))
    results = run_bench("fairness(exchanges=20)", toy_archive, config, model=toy_model)
    assert results.records[0].supervision == "report-supervised"
    assert results.scored[0].model is toy_model
    with pytest.raises(LeakageError, match="val"):
        run_bench("fairness", toy_archive, dataclasses.replace(config, test_split="val"), model=toy_model)
