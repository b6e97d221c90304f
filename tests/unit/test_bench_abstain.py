"""Leaving the doubtful to a person: what the Records say, by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tapetum.bench import BenchConfig, run_bench
from tapetum.core.errors import UsageError
from tapetum.score.selective import error_at_coverage
from toys import ENCODER, TEXT

CONFIG = BenchConfig(encoders=ENCODER, text_encoder=TEXT, threads=1, draws=60)
SPEC = "abstain(gate='knn(k=3)')"


@pytest.fixture(scope="module")
def results(toy_archive):
    return run_bench(SPEC, toy_archive, CONFIG)


def test_errors_are_those_of_the_decisions(results):
    (scored,) = results.scored
    p = scored.predictions
    wrong = (p.probs >= p.thresholds) != (scored.labels == 1)
    known = ~np.isnan(p.probs) & ~np.isnan(p.thresholds) & ~np.isnan(scored.labels)
    for kind in ("near the threshold", "unlike the known", "blind"):
        found = results.find("macro", "error_at_100_coverage", kind).interval.estimate
        assert found == pytest.approx(wrong[known].mean())
    odds = np.log(p.probs / (1 - p.probs)) - np.log(p.thresholds / (1 - p.thresholds))
    half = error_at_coverage(-np.abs(odds[known]), wrong[known], coverage=0.5)
    assert results.find("macro", "error_at_50_coverage", "near the threshold").interval.estimate == pytest.approx(half)


def test_only_blind_doubt_is_a_control(results):
    controls = {r.row for r in results.records if r.supervision == "negative control"}
    assert controls == {"blind"}


def test_a_model_of_reports_is_not_called_supervised(toy_archive, toy_model):
    config = dataclasses.replace(CONFIG, findings=("cataract", "glaucoma"))
    found = run_bench(SPEC, toy_archive, config, model=toy_model)
    sides = {r.supervision for r in found.records if not r.row.startswith(("blind", "gate"))}
    assert sides == {"report-supervised"}


def test_what_cannot_be_is_refused(toy_archive):
    with pytest.raises(UsageError, match="exclusive"):
        run_bench(SPEC, toy_archive, dataclasses.replace(CONFIG, exclusive=True))
    with pytest.raises(UsageError, match="a score of features"):
        run_bench("abstain(gate='energy')", toy_archive, CONFIG)
    with pytest.raises(UsageError, match="alpha"):
        run_bench("abstain(alpha=0.0)", toy_archive, CONFIG)
