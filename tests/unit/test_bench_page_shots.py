"""The few-shot part of the page: where curves lie, names that do not overlap, hostile names."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from tapetum.bench import BenchConfig, run_bench
from tapetum.bench.pages.results import page
from tapetum.bench.pages.shots import _apart, shot_plot, shots_section
from tapetum.core.types import Interval
from toys import ENCODER, TEXT

CONFIG = BenchConfig(encoders=ENCODER, text_encoder=TEXT, text="report", prompt_set="name", threads=1, draws=40)


def at(value, half=0.02):
    return Interval(value, value - half, value + half, "by hand")


def test_points_by_hand():
    # Scale 0.5..0.9: the frame is 278 high and ends at 292; 0.52 stands at 292 − 0.02 / 0.4 · 278.
    svg = shot_plot((1, 4), {"knn()": [at(0.52), at(0.88)]})
    points = re.search(r'points="([^"]+)"', svg)[1]
    (x0, y0), (x1, y1) = ([float(v) for v in p.split(",")] for p in points.split())
    assert (x0, x1) == (56.0, 458.0)
    assert y0 == pytest.approx(292 - 0.05 * 278, abs=0.1)
    assert y1 == pytest.approx(292 - 0.95 * 278, abs=0.1)
    assert "knn() 0.880" in svg


def test_names_stand_a_line_apart_in_the_order_of_the_ends():
    ends = [100.0, 101.0, 99.0, 290.0, 289.0, math.nan]
    places = _apart(ends)
    assert min(abs(a - b) for i, a in enumerate(places) for b in places[:i]) >= 15 - 1e-9
    assert list(np.argsort(places)) == [2, 0, 1, 4, 3, 5]
    assert max(places) <= 292


def test_a_curve_without_numbers_and_a_hostile_name_do_no_harm():
    nothing = Interval(math.nan, math.nan, math.nan, "")
    svg = shot_plot((2,), {"<script>": [nothing], "knn()": [at(0.7)]})
    assert "<script>" not in svg
    assert "&lt;script&gt;" in svg
    assert "nan" not in svg


def test_the_page_shows_curves_and_differences(toy_archive):
    results = run_bench(
        "few_shot(adapters=('knn',), shots=(1, 2), draws=2, baseline='prototypes')", toy_archive, CONFIG
    )
    shown = page(results)
    assert "Few-shot curves" in shown
    assert 'class="wide"' in shown
    assert "Minus prototypes()" in shown
    assert "1 shot<" in shown
    assert not shots_section(run_bench("linear_probe", toy_archive, CONFIG))
