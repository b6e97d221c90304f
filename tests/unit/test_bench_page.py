"""The page of a benchmark: complete, self-contained, harmless, and there whatever is missing."""

from __future__ import annotations

import csv
import dataclasses
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tapetum.archive import IngestConfig, ingest, open_archive
from tapetum.bench import BenchConfig, Results, run_bench
from tapetum.bench.pages.examples import Pictures, best_images, failures, measurable, nearest_texts, overlay, verdict
from tapetum.bench.pages.parts import report, table
from tapetum.bench.pages.plots import Line, control_plot, interval_bar, roc_line, roc_panel
from tapetum.bench.pages.results import page, write_page
from tapetum.bench.tables.results import Control
from tapetum.bench.trial import Scored
from tapetum.core.types import Interval, Laterality, Predictions, Record
from tapetum.knowledge import load_pack
from tapetum.learn.adapters.knn import KNN
from tapetum.phantom import EyeSpec, render_eye
from tapetum.score.reliability import roc_curve

EVIL = '<script>alert(1)</script> & "quoted"'
CONFIG = BenchConfig(
    encoders="tiny(size=64, dim=16)",
    text_encoder="tiny(dim=64)",
    text="report",
    findings=("drusen", "cataract"),
    draws=20,
    threads=1,
)
PROTOCOL = "zero_shot(shuffles=2, compare=(), unseen=True)"
VOID = {"img", "meta", "br", "path", "circle", "rect", "polyline", "link", "input", "hr"}


class Checker(HTMLParser):
    """Tags that are opened and closed in order, and what every picture says of itself."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[str] = []
        self.silent: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        of = dict(attrs)
        self.tags.append(tag)
        if (tag == "img" and not of.get("alt")) or (tag == "svg" and not (of.get("aria-label") or "aria-hidden" in of)):
            self.silent.append(tag)
        self.loads += [v or "" for k, v in attrs if k in {"src", "href", "xlink:href"} or k.startswith("on")]
        if tag not in VOID:
            self.stack.append(tag)
        elif tag in {"circle", "polyline"}:
            self.stack.append(tag)  # these hold a title

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack, f"</{tag}> closes nothing"
        assert self.stack.pop() == tag


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Forty-eight eyes of twenty-four patients; one report holds markup."""
    folder = tmp_path_factory.mktemp("clinic")
    rows: list[dict[str, str]] = []
    for number in range(24):
        sign = ("drusen", "cataract", "")[number % 3]
        for side in (Laterality.RIGHT, Laterality.LEFT):
            eye = EyeSpec(side, number, {sign: 0.9} if sign else {})
            name = f"{number}_{side.value}.png"
            _save(folder / name, render_eye(eye, size=64, rng=np.random.default_rng([number, side == "OS"])).image)
            said = f"Both eyes: {sign or 'normal fundus'}. Seen {number} years ago. {EVIL}"
            rows.append({"file": name, "patient": f"p{number}", "eye": side.value, "report": said})
    with (folder / "clinic.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    place = tmp_path_factory.mktemp("archive") / "clinic.tap"
    ingest([folder], place, IngestConfig(pack="fundus"))
    return run_bench(PROTOCOL, open_archive(place), CONFIG)


def _save(path: Path, pixels: np.ndarray) -> None:
    from PIL import Image

    Image.fromarray(pixels).save(path)


def test_page_is_whole_harmless_and_loads_nothing(results: Results, tmp_path: Path) -> None:
    place = write_page(results, tmp_path / "report.html")
    html = place.read_text(encoding="utf-8")
    assert place.stat().st_size < 3_000_000
    checker = Checker()
    checker.feed(html)
    assert checker.stack == []
    assert checker.silent == []
    assert "script" not in checker.tags
    assert "link" not in checker.tags
    assert all(v.startswith(("data:image/jpeg;base64,", "#")) for v in checker.loads)
    assert not re.search(r"https?://|@import|url\(|javascript:", html)
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;quoted&quot;" in html
    assert page(results) == html


def test_every_section_is_there(results: Results) -> None:
    html = page(results)
    anchors = re.findall(r'<section id="(\w+)">', html)
    calibrated = ["operating", "reliability"] if "operating" in anchors else []
    shown = ["control", "heat", "search", "failures", "notes", "glossary"]
    assert anchors == ["done", "results", "roc", *calibrated, *shown]
    for anchor in anchors:
        assert f'<a href="#{anchor}">' in html
    assert html.count("Not a cleared device") >= 2
    assert "report-supervised</h3>" in html
    assert "unseen finding</h3>" in html
    assert results.control is not None
    assert results.control.line() in html
    real = results.find("drusen", "auroc_score", supervision="report-supervised").interval
    assert f'<b>{real.estimate:.3f}</b> <span class="soft">[{real.low:.3f}, {real.high:.3f}]</span>' in html


def test_banner_is_shown_for_the_phantom_only(results: Results) -> None:
    assert "PHANTOM" not in page(results)
    assert "keep it where you would keep the archive" in page(results)
    marked = tuple(dataclasses.replace(r, phantom=True) for r in results.records)
    html = page(dataclasses.replace(results, records=marked))
    assert "PHANTOM: these images show computed eyes of nobody" in html
    assert "say nothing about medicine" in html


def test_page_comes_out_whatever_is_missing(results: Results, tmp_path: Path) -> None:
    main = results.scored[0]
    loose = dataclasses.replace(main, model=None)
    for poorer in (
        Results(()),
        Results(results.records),
        dataclasses.replace(results, trial=None),
        dataclasses.replace(results, scored=()),
        dataclasses.replace(results, scored=(loose,), control=None),
    ):
        html = page(poorer)
        checker = Checker()
        checker.feed(html)
        assert checker.stack == []
        assert "Not a cleared device" in html
    given = page(dataclasses.replace(results, scored=(loose,), control=None))
    assert "heat-map" not in given
    assert "chosen on validation patients" not in re.sub(r"<dd>.*?</dd>", "", given)


def test_damaged_images_cost_the_pictures_and_not_the_page(results: Results, tmp_path: Path) -> None:
    assert results.trial is not None
    empty = dataclasses.replace(results.trial.test_archive, path=tmp_path)
    trial = dataclasses.replace(results.trial, test_archive=empty)
    html = page(dataclasses.replace(results, trial=trial))
    assert "No further pictures" in html
    assert "<img" not in html
    assert '<section id="results">' in html


def test_names_and_rows_are_escaped(results: Results) -> None:
    records = tuple(dataclasses.replace(r, row=EVIL, data=EVIL, finding=EVIL) for r in results.records[:3])
    html = page(Results(records, notes=(EVIL,)))
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 4


def test_many_reads_of_the_test_set_and_alarms_are_told(results: Results) -> None:
    records = tuple(dataclasses.replace(r, test_reads=7) for r in results.records)
    main = results.scored[0]
    assert main.model is not None
    alarmed = dataclasses.replace(main.model, log={"alarms": ["the loss did not leave chance"]})
    html = page(dataclasses.replace(results, records=records, scored=(dataclasses.replace(main, model=alarmed),)))
    assert "has now been read 7 times" in html
    assert "the loss did not leave chance" in html


def test_undefined_findings_are_listed_and_not_tabled() -> None:
    nan = Interval(math.nan, math.nan, math.nan, "none")
    known = Interval(0.7, 0.6, 0.8, "bootstrap")
    records = [_record("glaucoma", known, positives=12), _record("macular_hole", nan, positives=0)]
    html = page(Results(tuple(records)))
    assert "1 findings cannot be measured here" in html
    assert "macular hole (0)" in html
    assert '<th scope="row">macular hole' not in html
    assert "†" not in html
    assert "3†" in page(Results((_record("glaucoma", known, positives=3),)))


def _record(finding: str, interval: Interval, positives: int) -> Record:
    return Record(
        "zero_shot", "ridge()", "report-supervised", finding, "auroc_score", interval, 40, 20, positives, (0,), "none",
        1, {"archive": "0" * 64}, "clinic", False,
    )  # fmt: skip


def _scored(results: Results, logits: list[float], labels: list[float], threshold: float = math.nan) -> Scored:
    """Chosen scores for the first test images, as probabilities too."""
    assert results.trial is not None
    records = results.trial.test_records[: len(logits)]
    column = np.array(logits)[:, None]
    p = Predictions(
        tuple(r.image_id for r in records), tuple(r.patient_id for r in records), ("OD",) * len(records), ("drusen",),
        column, column, np.array([threshold]), "by hand",
    )  # fmt: skip
    return Scored("by hand", "given predictions", p, np.array(labels)[:, None], "labels")


def test_failures_are_the_worst_of_either_side(results: Results) -> None:
    assert results.trial is not None
    scored = _scored(results, [0.9, 0.1, 0.8, 0.2, 0.7, 0.3], [0, 1, 1, 0, 0, math.nan], threshold=0.5)
    cases = failures(scored, 0, Pictures(results.trial.test_archive))
    assert [c.prob for c in cases] == [0.9, 0.7, 0.1, 0.8]
    assert [c.verdict for c in cases] == ["false alarm", "false alarm", "missed", "found"]
    assert [c.prob for c in best_images(scored, 0, Pictures(results.trial.test_archive), count=3)] == [0.9, 0.8, 0.7]


def test_verdicts() -> None:
    assert verdict(0.0, 0.2, 0.5) == "rightly not called"
    assert verdict(1.0, 0.5, 0.5) == "found"
    assert verdict(math.nan, 0.5, 0.5) == "truth unknown"
    assert verdict(1.0, math.nan, 0.5) == "present"


def test_measurable_columns_have_both_classes_and_come_by_positives(results: Results) -> None:
    p = results.scored[0].predictions
    wide = dataclasses.replace(p, findings=("a", "b", "c"), logits=np.zeros((len(p.image_ids), 3)),
                               probs=np.zeros((len(p.image_ids), 3)), thresholds=np.zeros(3))  # fmt: skip
    labels = np.zeros((len(p.image_ids), 3))
    labels[0, 0] = labels[:2, 2] = 1
    assert measurable(Scored("x", "supervised", wide, labels, "labels")) == [2, 0]


def test_search_by_image_never_offers_the_patients_own_report(results: Results) -> None:
    assert results.trial is not None
    model = results.scored[0].model
    assert model is not None
    pictures = Pictures(results.trial.test_archive)
    found = nearest_texts(results.trial, model, load_pack("fundus"), pictures, images=4, hits=99)
    assert found
    texts = {r.report for r in results.trial.test_records}
    for case, hits in found:
        # every report of this clinic names its own year, so that no two patients share one
        assert {hit.text for hit in hits} == texts - {case.report}
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert not any(hit.same for hit in hits)
        ill = "drusen" if "eyes: drusen" in case.report else "cataract"
        for hit in hits:
            assert (ill in hit.shared) == (f"eyes: {ill}" in hit.text)


def test_a_model_without_weights_per_feature_has_no_heat_maps_and_says_so(results: Results) -> None:
    main = results.scored[0]
    assert main.model is not None
    assert results.trial is not None
    adapter = KNN(k=3).fit(results.trial.test_embeddings.features, np.nan_to_num(main.labels))
    adapted = dataclasses.replace(
        main.model, aligner=None, adapter_spec="knn(k=3)", adapter=adapter, findings=CONFIG.findings
    )
    html = page(dataclasses.replace(results, scored=(dataclasses.replace(main, model=adapted),)))
    assert "No heat-maps: knn(k=3) has no weight per feature" in html
    assert '<section id="failures">' in html


def test_overlay_is_grey_at_the_median_and_below_and_on_black() -> None:
    shown = np.full((40, 40, 3), (200, 100, 50), dtype=np.uint8)
    shown[:, :10] = 0
    grid = np.zeros((4, 4), np.float32)
    grid[1, 2] = 1.0
    grid[3, 0] = 9.0  # on the black surround: no colour, no part in the scale
    out = overlay(grid, shown).astype(int)
    assert np.ptp(out[5:15, 22:28].mean((0, 1))) > 40
    assert np.ptp(out[30:, 32:], axis=2).max() <= 1
    assert out[:, :8].max() == 0


def test_roc_line_keeps_the_corners_only() -> None:
    curve = roc_curve(np.array([0.9, 0.8, 0.7, 0.6]), np.array([1, 1, 0, 0]))
    line = roc_line("x", "c1", curve)
    assert line.x.tolist() == [0.0, 0.0, 1.0]
    assert line.y.tolist() == [0.0, 1.0, 1.0]
    panel = roc_panel("ROC <of> x", [Line("a & b", "c1", line.x, line.y)], (0.25, 0.5))
    assert 'points="34.0,160.0 34.0,8.0 186.0,8.0"' in panel
    assert 'cx="72.0" cy="84.0"' in panel
    assert "ROC &lt;of&gt; x" in panel
    assert "a &amp; b" in panel
    assert 'class="op"' not in roc_panel("x", [line], (math.nan, 0.5))


def test_interval_bar_stands_where_the_numbers_are() -> None:
    bar = interval_bar(Interval(0.5, 0.25, 0.75, "m"), chance=0.5)
    assert "M27.0 7H77.0" in bar
    assert 'cx="52.0"' in bar
    bare = interval_bar(Interval(0.5, math.nan, math.nan, "m"))
    assert "bar" not in bare


def test_control_plot_shows_every_shuffle_and_the_real_value() -> None:
    control = Control(0.8, (0.45, 0.451, 0.55), {"drusen": (0.4, 0.5, 0.6)}, 0.25, 0.484, 0.03, True)
    plot = control_plot(control)
    heights = re.findall(r'<circle class="c2dot" cx="[\d.]+" cy="([\d.]+)"', plot)
    assert len(heights) == 3
    assert len(set(heights)) == 2  # two shuffles that would lie on each other are piled up
    assert "real 0.800" in plot


def test_long_reports_are_cut_but_kept() -> None:
    long = "word " * 100
    html = report(long, 50)
    assert html.count("word") == 10 + 100
    assert "…" in html
    assert "no report" in report("")


def test_tables_name_their_rows() -> None:
    html = table(["finding", "n"], [["a", "1"]], totals=frozenset({0}))
    assert '<tr class="total"><th scope="row">a</th><td>1</td></tr>' in html
