"""Rows, notes and refusals of the protocol on concept bottlenecks."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tapetum.bench import BenchConfig, run_bench
from tapetum.bench.protocols import concepts as protocol
from tapetum.core.errors import UsageError
from tapetum.core.types import Interval
from tapetum.learn import AdaptConfig, adapt
from tapetum.score.stats import PairedDifference
from toys import COLOURS, ENCODER, TEXT

CONFIG = BenchConfig(encoders=ENCODER, text_encoder=TEXT, text="report", prompt_set="name", threads=1, draws=40)
FINDINGS = tuple(sorted(COLOURS))
SPEC = "concepts(adapter='concepts(penalty=0.1)', controls=2, shown=2)"


@pytest.fixture(scope="module")
def results(toy_archive, toy_model):
    return run_bench(SPEC, toy_archive, CONFIG, model=toy_model)


def test_rows_and_what_they_are_compared_with(results):
    rows = list(dict.fromkeys((r.row, r.supervision) for r in results.records))
    assert rows == [
        ("concepts(penalty=0.1)", "reports + labels"), ("linear_probe()", "supervised"),
        (protocol.RANDOM, "negative control"), (protocol.SHUFFLED, "negative control"),
    ]  # fmt: skip
    for row, _ in rows[1:]:
        apart = results.find("macro", "auroc_difference", row).interval.estimate
        own, first = (results.find("macro", "auroc_score", r).interval.estimate for r in (row, rows[0][0]))
        assert apart == pytest.approx(own - first, abs=1e-9)
    assert not [r for r in results.records if r.metric == "auroc_difference" and r.row == rows[0][0]]
    assert len({r.digests["model"] for r in results.records}) == len(rows)


def test_sentences_are_named_with_their_weights(results):
    notes = [n for n in results.notes if "sentences speak" in n]
    assert [n.split(",")[0] for n in notes] == list(FINDINGS)
    assert all(n.count(" | ") == 1 for n in notes)


def test_the_bottleneck_is_that_of_adapt_without_the_validation_patients(results, toy_archive, toy_model):
    config = AdaptConfig("concepts(penalty=0.1)", ENCODER, FINDINGS, threads=1, cross_fit=False)
    model = adapt(toy_archive, config, model=toy_model)
    again = run_bench("fairness(exchanges=0)", toy_archive, dataclasses.replace(CONFIG, findings=FINDINGS), model=model)
    for finding in FINDINGS:
        both = [r.find(finding, "auroc_score", "concepts(penalty=0.1)") for r in (results, again)]
        assert both[0].interval.estimate == pytest.approx(both[1].interval.estimate)


@pytest.mark.parametrize(
    ("supervision", "estimate", "p", "said"),
    [
        ("negative control", -0.1, 0.01, "the sentences do better"),
        ("negative control", -0.1, 0.2, "no difference can be told, and nothing shows that it matters"),
        ("negative control", 0.1, 0.01, "it does better than the sentences, and nothing shows"),
        ("supervised", 0.1, 0.01, "it does better than the sentences"),
        ("supervised", 0.1, 0.2, "no difference can be told"),
    ],
)
def test_what_a_difference_says(supervision, estimate, p, said):
    row = protocol._Row("other", supervision, np.zeros((1, 2, 1)))
    interval = Interval(estimate, estimate - 0.1, estimate + 0.1, "by hand")
    note = protocol._said(row, PairedDifference(interval, p), 7)
    assert note.startswith("other − bottleneck of 7 sentences")
    assert said in note
    assert ("nothing shows" in note) == ("nothing shows" in said)


def test_what_cannot_be_is_refused(toy_archive, toy_model):
    for wrong in ("controls=0", "adapter='clap'", "baseline='concepts'"):
        with pytest.raises(UsageError, match="controls="):
            run_bench(f"concepts({wrong})", toy_archive, CONFIG, model=toy_model)
    with pytest.raises(UsageError, match="no pack"):
        run_bench("concepts", toy_archive, CONFIG, model=dataclasses.replace(toy_model, pack=""))
    taught = adapt(toy_archive, AdaptConfig("prototypes", ENCODER, FINDINGS, threads=1))
    with pytest.raises(UsageError, match="knows no words"):
        run_bench("concepts", toy_archive, CONFIG, model=taught)
    with pytest.raises(UsageError, match="exclusive"):
        run_bench("concepts", toy_archive, dataclasses.replace(CONFIG, exclusive=True))
