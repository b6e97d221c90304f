"""The protocol `robust`: the same wrong labels for all, none of the truth handed on, ratios by hand, grades."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import numpy as np
import pytest

from tapetum.bench import BenchConfig, run_bench
from tapetum.bench.tables.measures import Context
from tapetum.bench.trust import robustness as robustness_module
from tapetum.bench.trust.label_noise import AS_GIVEN
from tapetum.bench.trust.robustness import (
    Features,
    Version,
    in_order,
    kappas,
    lost_classes,
    plant,
    run_version,
    trusted_records,
)
from tapetum.bench.trust.tail_rows import Rows
from tapetum.bench.trust.tailed import Runs
from tapetum.core.errors import UsageError
from tapetum.core.registry import Family
from tapetum.core.types import Embeddings
from tapetum.learn.classifying.plan import Pace
from tapetum.learn.classifying.taught import Taught
from tapetum.score.planted import Planted
from toys import ENCODER, TEXT

CONFIG = BenchConfig(encoders=ENCODER, text_encoder=TEXT, text="report", prompt_set="name", threads=1, draws=60)
PACE = Pace(epochs=6, batch=32, learning_rate=0.02)


def rows(labels, names, prefix="p", seed=0):
    rng = np.random.default_rng(seed)
    labels = np.asarray(labels)
    seen = rng.normal(size=(len(labels), 6)).astype(np.float32)
    seen[np.arange(len(labels)), labels] += 3
    who = tuple(f"{prefix}{i // 2}" for i in range(len(labels)))
    return Rows(names, Embeddings(tuple(f"{prefix}i{i}" for i in range(len(labels))), who, seen, "made up"), labels)


@pytest.fixture
def features():
    names = ("common", "other", "rare")
    train, test = rows([0] * 60 + [1] * 40 + [2] * 8, names), rows([0, 1, 2] * 12, names, "q", 1)
    return Features.of(train, test, 0, np.random.default_rng(0))


def context(patients, draws=50):
    return Context("robust", tuple(patients), 0, draws, "nothing", 1, {}, "made up", False)


class Spy:
    """A method that remembers what it was taught."""

    NEEDS = ("classes",)
    seen: ClassVar[list[Taught]] = []

    def fit(self, taught, pace, rng):
        Spy.seen.append(taught)
        return lambda asked: np.zeros((len(asked), taught.classes))


def test_neither_flips_nor_rate_reach_a_method(features, monkeypatch):
    """All that a method gets is equal to what it would get from somebody who knows the given labels alone."""
    Spy.seen.clear()
    monkeypatch.setattr(robustness_module, "method_of", lambda spec: Spy())
    version = run_version(features, "symmetric(rate=0.3)", ["spy"], [0], PACE)
    (taught,) = Spy.seen
    assert version.planted[0].flipped.any()
    assert taught.labels.tolist() == version.planted[0].labels.tolist()
    # A second run whose true labels are those given before, and which plants nothing: the flips are now the truth.
    blind = dataclasses.replace(features, train=dataclasses.replace(features.train, labels=taught.labels))
    run_version(blind, AS_GIVEN, ["spy"], [0], PACE)
    again = Spy.seen[1]
    for field in dataclasses.fields(Taught):
        ours, theirs = getattr(taught, field.name), getattr(again, field.name)
        assert np.array_equal(ours, theirs) if isinstance(ours, np.ndarray) else ours == theirs, field.name


def test_flips_are_the_same_for_all_methods_and_anew_for_each_seed(features):
    version = run_version(features, "pair(rate=0.4)", ["one_stage", "co_teaching"], [0, 1], PACE)
    first, second = (p.labels for p in version.planted)
    assert (first != second).any()
    assert np.array_equal(plant(features.train, "pair(rate=0.4)", np.random.default_rng([0, 2])).labels, first)
    assert version.runs.logits.shape == (4, 36, 3)
    assert set(version.trust) == {"co_teaching"}
    assert version.trust["co_teaching"].shape == (2, 108)
    assert set(version.rates) == {"anchors", "confident"}


def test_whom_a_method_trusted_by_hand(features):
    """Of 8 labels given as rare 3 are flips; a method trusts 4 right ones and 1 wrong one of them."""
    train = features.train
    given, flipped = train.labels.copy(), np.zeros(108, bool)
    given[[0, 1, 2]], flipped[[0, 1, 2]] = 2, True
    given[[100, 101, 102]], flipped[[100, 101, 102]] = 0, True
    trust = np.zeros(108)
    trust[[0, 103, 104, 105, 106]] = 1
    trust[3:60] = 0.5
    version = Version(
        "made up", (Planted(given, flipped),), np.zeros((1, 108, 3)), {}, Runs(("m",), (0,), train.counts, np.zeros(0)),
        {"m": trust[None]},
    )  # fmt: skip
    found = trusted_records(context(train.embeddings.patient_ids), features, version)
    of = {(r.finding, r.metric): r.interval.estimate for r in found}
    assert of["rare", "trusted_precision_score"] == pytest.approx(4 / 5)
    assert of["rare", "trusted_recall_score"] == pytest.approx(4 / 5)  # 5 right labels of the class are left
    assert of["tail", "trusted_recall_score"] == of["rare", "trusted_recall_score"]
    assert of["common", "trusted_precision_score"] == 1.0
    assert of["common", "trusted_recall_score"] == pytest.approx(0.5)
    assert lost_classes(found) == ["m on made up learned little from right labels of other (0 %)"]
    assert math.isnan(of["other", "trusted_precision_score"])  # nothing of it was trusted
    assert of["other", "trusted_recall_score"] == 0
    assert of["macro", "trusted_precision_score"] == pytest.approx((4 + 28.5) / (5 + 28.5))


def test_kappas_are_those_of_the_metric_and_paired(features):
    rng = np.random.default_rng(0)
    runs = Runs(("a", "b"), (0, 1), features.train.counts, rng.normal(size=(4, 36, 3)))
    found = kappas(context(features.test.embeddings.patient_ids), features.test, runs)
    metric = Family("tapetum.score.metrics").build("cohen_kappa_score(weights='quadratic')")
    by_hand = [metric(np.eye(3)[z.argmax(axis=1)], features.test.labels) for z in runs.logits]
    assert found["a"][0].estimate == pytest.approx(np.mean(by_hand[:2]))
    assert found["a"][1] is None
    assert found["b"][1].estimate == pytest.approx(np.mean(by_hand[2:]) - np.mean(by_hand[:2]))


def test_grades_stand_in_their_order():
    made = in_order(rows([0, 1, 2, 0], ("10", "2", "0")))
    assert made.classes == ("0", "2", "10")
    assert made.labels.tolist() == [2, 1, 0, 2]
    with pytest.raises(UsageError):
        in_order(rows([0, 1], ("mild", "severe")))


def test_tested_labels_stay_as_they_are_and_kappa_is_there_for_grades(tmp_path):
    from toys import COLOURS, clinic

    grades = dict(zip(COLOURS, ("0", "1", "2", "3"), strict=True))
    archive = clinic(tmp_path / "graded", labels=grades, pack="")
    config = dataclasses.replace(CONFIG, ordinal=True)
    spec = "robust(methods=('one_stage',), plant=('adjacent',), rates=(0.3,), seeds=2, epochs=40, learning_rate=0.02)"
    results = run_bench(spec, archive, config)
    for name in (AS_GIVEN, "adjacent(rate=0.3)"):
        kappa = results.find("macro", "quadratic_kappa_score", f"one_stage() on {name}")
        assert kappa.interval.estimate > 0.6
        assert kappa.seeds == (0, 1)
    planted = results.find("macro", "planted_rate", "shares on adjacent(rate=0.3)")
    assert 0.15 < planted.interval.estimate < 0.45
    assert planted.digests["split"] == "train"
    with pytest.raises(KeyError):
        results.find("macro", "planted_rate", f"shares on {AS_GIVEN}")
    assert "quadratic κ" in results.table()


@pytest.mark.parametrize(
    "spec",
    [
        "robust(methods=())",
        "robust(seeds=0)",
        "robust(rates=(1.0,))",
        "robust(methods=('co_teching',))",
        "robust(plant=('noisy',))",
        "robust(components=-1)",
    ],
)
def test_invalid_use_is_refused(spec, toy_archive):
    with pytest.raises(UsageError):
        run_bench(spec, toy_archive, CONFIG)


def test_the_page_names_what_it_shows(toy_archive, tmp_path):
    """The tile on top says macro AUROC, and is it, though balanced accuracy is the first record."""
    results = run_bench("robust(methods=('one_stage',), plant=(), seeds=1, learning_rate=0.02)", toy_archive, CONFIG)
    assert results.records[0].metric == "balanced_accuracy_score"
    far = dataclasses.replace(
        results.records[0], interval=dataclasses.replace(results.records[0].interval, estimate=0.123)
    )
    results = dataclasses.replace(results, records=(far, *results.records[1:]))
    area = results.find("macro", "auroc_score").interval
    page = results.html(tmp_path / "page.html").read_text(encoding="utf-8")
    assert f"<b>{area.estimate:.3f}</b><span>macro AUROC" in page
    assert "<b>0.123</b>" not in page
