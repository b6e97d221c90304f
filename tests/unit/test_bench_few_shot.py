"""The few-shot grid: the same draws as `adapt`, intervals by a literal loop, areas by hand, refusals."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tapetum.bench import BenchConfig, run_bench
from tapetum.bench.models.few_shot import Curves, Grid, choose_adapters, curves, run_grid
from tapetum.bench.trial import trial_of
from tapetum.core.errors import DataError, UsageError
from tapetum.learn import AdaptConfig, adapt, zero_shot
from tapetum.score.stats import paired_runs_difference, runs_auroc_interval
from toys import COLOURS, ENCODER, TEXT

CONFIG = BenchConfig(encoders=ENCODER, text_encoder=TEXT, text="report", prompt_set="name", threads=1, draws=60)
FINDINGS = tuple(sorted(COLOURS))


@pytest.fixture(scope="module")
def trial(toy_archive):
    return trial_of(toy_archive, CONFIG)


@pytest.fixture(scope="module")
def grid(trial):
    return run_grid(trial, FINDINGS, ("linear_probe()", "prototypes()"), (1, 3), 3)


@pytest.fixture(scope="module")
def found(trial, grid):
    patients = [r.patient_id for r in trial.test_records]
    return curves(grid, patients, rng=np.random.default_rng(7), draws=60)


def test_a_draw_is_that_of_adapt(trial, grid, toy_archive, toy_embeddings):
    for r in (0, 2):
        settings = AdaptConfig("prototypes", ENCODER, FINDINGS, 3, seed=CONFIG.seed + r, threads=1)
        model = adapt(toy_archive, settings, embeddings=toy_embeddings)
        np.testing.assert_allclose(grid.scores[1, 1, r], zero_shot(model, trial.test_embeddings, FINDINGS).logits)
        assert grid.support[1, r] == model.log["pairs"]


def test_words_are_used_as_adapt_uses_them(toy_archive, toy_embeddings, toy_model):
    trial = trial_of(toy_archive, CONFIG, model=toy_model)
    assert "zero_shot()" in choose_adapters(trial, (), "linear_probe")[0]
    grid = run_grid(trial, FINDINGS, ("zero_shot()",), (2,), 1)
    settings = AdaptConfig("zero_shot", ENCODER, FINDINGS, 2, seed=CONFIG.seed, threads=1)
    model = adapt(toy_archive, settings, embeddings=toy_embeddings, model=toy_model)
    np.testing.assert_allclose(
        grid.scores[0, 0, 0], zero_shot(model, trial.test_embeddings, FINDINGS).logits, atol=1e-9
    )


def test_intervals_are_those_of_several_runs(trial, grid, found):
    patients = [r.patient_id for r in trial.test_records]
    for a, s in ((0, 0), (1, 1)):
        one = runs_auroc_interval(grid.scores[a, s], grid.labels, patients, rng=np.random.default_rng(7), draws=60)
        mine = found.auroc(a, s)
        np.testing.assert_allclose([mine.estimate, mine.low, mine.high], [one.estimate, one.low, one.high])
    pair = paired_runs_difference(
        grid.scores[1, 0], grid.scores[0, 0], grid.labels, patients, rng=np.random.default_rng(7), draws=60
    )
    mine = found.difference(1, 0, 0)
    np.testing.assert_allclose(
        [mine.estimate, mine.low, mine.high], [pair.interval.estimate, pair.interval.low, pair.interval.high]
    )
    assert f"p = {pair.p_value:.3g}" in mine.method


def by_hand():
    """Two adapters, three numbers of shots, two draws: macro AUROC told outright."""
    each = np.array([[[0.5, 0.5], [0.6, 0.8], [0.9, 0.9]], [[0.6, 0.6], [0.7, 0.9], [1.0, 1.0]]])
    return Curves(each, np.repeat(each.mean(2)[:, :, None], 50, axis=2), "by hand", 9)


def test_the_area_by_hand():
    # log2 of 1, 2, 8 is 0, 1, 3: (0.5 + 0.7) / 2 · 1 + (0.7 + 0.9) / 2 · 2 = 2.2, over a width of 3.
    area = by_hand().area(0, (1, 2, 8))
    assert area.estimate == pytest.approx(2.2 / 3)
    assert (area.low, area.high) == pytest.approx((2.2 / 3, 2.2 / 3))
    assert by_hand().area(1, (1, 2, 8), minus=0).estimate == pytest.approx(0.1)
    single = Curves(by_hand().each[:, :1], by_hand().drawn[:, :1], "one number of shots", 9)
    assert single.area(0, (4,)).estimate == pytest.approx(0.5)


def test_range_and_p_value_by_hand():
    spread = by_hand().range(0, 1)
    assert (spread.estimate, spread.low, spread.high) == pytest.approx((0.7, 0.6, 0.8))
    assert "standard deviation 0.1414" in spread.method
    apart = by_hand().difference(1, 0, 1)
    assert apart.estimate == pytest.approx(0.1)
    assert f"p = {2 / 51:.3g}" in apart.method  # never below 2 / (draws + 1)


def test_one_patient_has_no_bounds():
    labels = np.array([[0.0], [1.0]])
    grid = Grid(("a()",), (1,), np.array([[[[[0.1], [0.2]]]]]), labels, np.ones((1, 1)), (0.0,), ("",))
    alone = curves(grid, ["p", "p"], rng=np.random.default_rng(0), draws=10).auroc(0, 0)
    assert alone.estimate == 1
    assert np.isnan([alone.low, alone.high]).all()
    none = dataclasses.replace(grid, labels=np.zeros((2, 1)))
    with pytest.raises(DataError, match="both classes"):
        curves(none, ["p", "q"], rng=np.random.default_rng(0), draws=10)


def test_adapters_without_words_are_left_out_and_told(trial):
    specs, notes = choose_adapters(trial, (), "knn(k=5)")
    assert specs[0] == "knn(k=5)"
    assert {"knn()", "linear_probe()", "prototypes()"} < set(specs)
    assert "zero_shot()" not in specs
    assert "zero_shot()" in notes[0]
    assert choose_adapters(trial, ("knn( k = 5 )", "prototypes"), "knn(k=5)") == (("knn(k=5)", "prototypes()"), [])


def test_what_cannot_be_is_refused(trial):
    with pytest.raises(UsageError, match="no model here knows words"):
        choose_adapters(trial, ("zero_shot",), "linear_probe")
    with pytest.raises(UsageError, match="unknown name"):
        choose_adapters(trial, ("knm",), "linear_probe")
    for shots, draws in (((0, 1), 2), ((4, 2), 2), ((), 2), ((1,), 0)):
        with pytest.raises(UsageError, match="draws="):
            run_grid(trial, FINDINGS, ("prototypes()",), shots, draws)
    with pytest.raises(DataError, match="label"):
        run_grid(trial, ("drusen",), ("prototypes()",), (1,), 1)


def test_rows_and_metrics_of_the_results(toy_archive):
    results = run_bench(
        "few_shot(adapters=('knn',), shots=(1, 4), draws=2, baseline='prototypes')", toy_archive, CONFIG
    )
    assert [r.row for r in results.records[:1]] == ["prototypes()"]
    assert {r.row for r in results.records} == {"prototypes()", "knn()"}
    metrics = {r.metric for r in results.records if r.row == "knn()"}
    assert metrics == {
        "shot_curve_score", "auroc_1_shot_score", "auroc_4_shot_score", "shot_curve_difference",
        "auroc_1_shot_difference", "auroc_4_shot_difference", "auroc_1_shot_range", "auroc_4_shot_range",
    }  # fmt: skip
    assert not any("difference" in r.metric for r in results.records if r.row == "prototypes()")
    assert len({r.digests["model"] for r in results.records}) == 2
    assert "shot_curve_score" in results.table()
