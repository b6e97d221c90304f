"""The long-tail protocol: rows, thinning, groups, differences, refusals; on a small clinic of coloured squares."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from tapetum.bench import BenchConfig, run_bench
from tapetum.bench.tables.measures import Context
from tapetum.bench.trust.tail_methods import FINDINGS, PICTURES, STANDARD
from tapetum.bench.trust.tail_rows import Rows, Tail
from tapetum.bench.trust.tailed import Runs, measure, tail_records
from tapetum.core.errors import DataError, UsageError
from tapetum.core.registry import Family
from tapetum.core.types import Embeddings
from tapetum.learn.classifying import starting
from tapetum.learn.pretext.run import SelfSupervised
from tapetum.score.stats.intervals import bootstrap_interval
from tapetum.score.stats.multiple import holm
from toys import ENCODER, REPORTS, clinic

CONFIG = BenchConfig(encoders=ENCODER, threads=1, draws=60)
TUNED = dataclasses.replace(CONFIG, mode="finetune")
FAST = "epochs=4, batch=16, learning_rate=0.01"


def rows(counts=(60, 30, 12), images=2, seed=0):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    names = tuple(f"{i:03d}" for i in range(len(labels)))
    patients = tuple(f"p{i // images:03d}" for i in range(len(labels)))
    features = np.random.default_rng(1).normal(size=(len(labels), 4)).astype(np.float32)
    return Rows(tuple("abc"[: len(counts)]), Embeddings(names, patients, features, "toy()"), labels)


def context(given, draws=300):
    return Context("longtail", given.embeddings.patient_ids, 0, draws, "none", 1, {"split": "test"}, "toy", False)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_tail_is_thinned_to_the_very_counts_by_patients(seed):
    given = rows((64, 40, 30))
    thinned = Tail(16, 48).thin(given, np.random.default_rng(seed))
    assert thinned.counts.tolist() == [48, 12, 3]
    kept = set(thinned.embeddings.image_ids)
    place = {name: i for i, name in enumerate(given.embeddings.image_ids)}
    np.testing.assert_array_equal([given.labels[place[i]] for i in thinned.embeddings.image_ids], thinned.labels)
    # at most one patient of each class is cut in two
    cut = 0
    for patient in set(given.embeddings.patient_ids):
        of = [i for i, p in enumerate(given.embeddings.patient_ids) if p == patient]
        for c in range(3):
            mine = [given.embeddings.image_ids[i] in kept for i in of if given.labels[i] == c]
            cut += len(set(mine)) == 2
    assert cut <= 3
    other = Tail(16, 48).thin(given, np.random.default_rng(seed + 9))
    assert set(other.embeddings.image_ids) != kept


def test_classes_are_ordered_by_frequency_before_they_are_thinned():
    thinned = Tail(4).thin(rows((10, 40, 20)), np.random.default_rng(0))
    assert thinned.counts.tolist() == [10, 40, 20]


def test_an_imbalance_out_of_reach_is_refused_with_the_class_that_lacks_images():
    with pytest.raises(DataError, match=r"c has 12 training images, 30 are needed"):
        Tail(2, 60).thin(rows((60, 45, 12)), np.random.default_rng(0))
    with pytest.raises(DataError, match=r"c has 12 training images"):
        Tail(1000).thin(rows(), np.random.default_rng(0))


def test_measures_and_their_differences_are_those_of_other_code():
    given, rng = rows(), np.random.default_rng(3)
    logits = rng.normal(size=(4, 102, 3)) + np.array([0.5, 0.5, 1.5, 1.5])[:, None, None] * np.eye(3)[given.labels]
    runs = Runs(("first()", "second()"), (0, 1), np.array([60.0, 30, 12]), logits)
    within = context(given)
    found = measure(runs, given, (), within)
    records = tail_records(within, found, given)
    of = {(r.row, r.finding, r.metric): r.interval for r in records}

    def balanced(*columns):
        truth = columns[-1]
        each = [np.mean([(c[truth == k] == k).mean() for k in np.unique(truth)]) for c in columns[:-1]]
        return float(np.mean(each))

    called = [z.argmax(axis=1) for z in logits]
    for name, pair in (("first()", called[:2]), ("second()", called[2:])):
        mine = of[name, "macro", "balanced_accuracy_score"]
        assert mine.estimate == pytest.approx(balanced(*pair, given.labels))
        assert mine.low < mine.estimate < mine.high
        alone = bootstrap_interval(
            balanced, [*pair, given.labels], given.embeddings.patient_ids, rng=np.random.default_rng(5), draws=300
        )
        # with runs drawn too the interval is not narrower than that of patients alone, up to chance
        assert mine.high - mine.low > 0.8 * (alone.high - alone.low)
    gap = of["second()", "macro", "balanced_accuracy_difference"]
    apart = [of[n, "macro", "balanced_accuracy_score"].estimate for n in ("second()", "first()")]
    assert gap.estimate == pytest.approx(apart[0] - apart[1])
    assert gap.low > 0
    assert ("first()", "macro", "balanced_accuracy_difference") not in of
    head = of["first()", "macro", "head_recall_score"].estimate
    assert head == pytest.approx(of["first()", "a", "recall_score"].estimate)
    worst = of["second()", "macro", "worst_recall_score"]
    assert worst.estimate == pytest.approx(min(of["second()", c, "recall_score"].estimate for c in "abc"))


def test_p_values_are_adjusted_over_all_methods_but_the_first():
    given, rng = rows(), np.random.default_rng(3)
    base = rng.normal(size=(1, 102, 3)) + np.eye(3)[given.labels]
    logits = np.concatenate([base, base + 0.05 * rng.normal(size=base.shape), base + 1.5 * np.eye(3)[given.labels]])
    within = context(given)

    def p_values(methods):
        runs = Runs(methods, (0,), np.array([60.0, 30, 12]), logits[: len(methods)])
        records = tail_records(within, measure(runs, given, (), within), given)
        return [r.interval.estimate for r in records if r.metric == "balanced_accuracy_difference (p)"]

    alone, both = p_values(("a()", "b()")), p_values(("a()", "b()", "c()"))
    assert both[0] == pytest.approx(holm(np.array([alone[0], both[1] / 2]))[0], abs=1e-9)
    assert both[1] <= 2 * 2 / 301 + 1e-9, "the better one is found"
    assert both[0] > 0.05


def test_one_patient_has_no_bounds_and_one_run_is_told():
    given = dataclasses.replace(rows(), embeddings=dataclasses.replace(rows().embeddings, patient_ids=("p",) * 102))
    runs = Runs(("first()",), (0,), np.ones(3), np.random.default_rng(0).normal(size=(1, 102, 3)))
    within = context(given, 20)
    record = tail_records(within, measure(runs, given, (), within), given)[0]
    assert np.isnan(record.interval.low)
    assert "runs" not in record.interval.method


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A clinic in which an image has one class, and its labels name two findings on some images."""
    labels = {n: n for n in REPORTS} | {"glaucoma": "glaucoma;cataract"}
    folder = tmp_path_factory.mktemp("tail")
    return clinic(folder / "one", patients=40, labels={n: n for n in REPORTS}), clinic(
        folder / "two", patients=40, labels=labels
    )


def test_images_with_several_classes_are_refused_and_taken_as_findings(two):
    with pytest.raises(DataError, match="several of the classes"):
        run_bench(f"longtail(methods=('one_stage',), {FAST})", two[1], CONFIG)
    found = run_bench(f"longtail(methods=('nearest_mean',), {FAST})", two[0], CONFIG)
    assert found.find("macro", "balanced_accuracy_score").interval.estimate > 0.8
    binary = "one_stage(loss='binary_cross_entropy')"
    together = run_bench(f'longtail(together=True, seeds=1, methods=("{binary}",), {FAST})', two[1], CONFIG)
    record = together.find("macro", "auroc_score")
    assert record.interval.estimate > 0.8
    assert record.seeds == (0,)
    assert not [r for r in together.records if "recall" in r.metric]
    assert "head AUROC" in together.table()


def test_chosen_findings_leave_other_images_out_and_say_so(two):
    config = dataclasses.replace(CONFIG, findings=("glaucoma", "macular_hole"))
    found = run_bench(f"longtail(methods=('one_stage',), seeds=1, {FAST})", two[0], config)
    record = found.find("macro", "balanced_accuracy_score")
    assert record.images < len(two[0].in_split("test"))
    assert any("left out: no label of these" in note for note in found.notes)


def test_a_tower_that_learns_in_two_stages(two):
    found = run_bench(f"longtail(methods=('crt(units=8)',), seeds=1, {FAST})", two[0], TUNED)
    assert found.find("macro", "auroc_score").interval.estimate > 0.6


def test_a_start_without_labels_is_a_row_of_its_own(two):
    spec = f"longtail(methods=('one_stage',), seeds=1, starts=('moco',), start_epochs=1, {FAST})"
    found = run_bench(spec, two[0], TUNED)
    rows = list(dict.fromkeys(r.row for r in found.records))
    assert rows == ["one_stage()", "one_stage() from moco()"]
    plain, moved = (found.find("macro", "auroc_score", row).interval.estimate for row in rows)
    assert moved > 0.8
    assert "from moco(): 1 epochs without labels on the same training images first, batch 64" in found.notes
    assert found.find("macro", "auroc_difference", rows[1]).interval.estimate == pytest.approx(moved - plain)


def test_a_start_looks_at_training_images_alone_and_its_tower_is_what_learns_on(two, monkeypatch):
    looked = []

    def watched(archive, embedder, config, *, image_ids):
        looked.append((config.objective, config.epochs, config.seed, tuple(image_ids)))
        state = {name: torch.zeros_like(v) for name, v in embedder.runners[0].encoder.state_dict().items()}
        return SelfSupervised({0: state}, {}, ("all images look alike",))

    monkeypatch.setattr(starting, "self_supervise", watched)
    spec = "longtail(methods=('one_stage',), seeds=2, starts=('simclr',), start_epochs=3"
    found = run_bench(f"{spec}, imbalance=2.0, {FAST})", two[0], TUNED)
    train = {r.image_id for r in two[0].in_split("train")}
    assert [row[:3] for row in looked] == [("simclr()", 3, 0), ("simclr()", 3, 1)]
    assert all(set(ids) < train for *_, ids in looked)
    assert looked[0][3] != looked[1][3]  # each seed has thinned images of its own
    assert found.warnings == ("all images look alike",)
    # A tower of zeros tells nothing apart, however it is taught: no gradient reaches it.
    assert found.find("macro", "auroc_score", "one_stage() from simclr()").interval.estimate == 0.5


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ("methods=('one_stag',)", UsageError), ("methods=('gcl',)", UsageError), ("seeds=0", UsageError),
        ("cut=(3, 1)", UsageError), ("imbalance=2.0, largest=20", DataError), ("starts=('moco',)", UsageError),
        ("methods=('crt',), together=True", UsageError),
        ("methods=(\"one_stage(mixing='cutmix')\",)", UsageError),
        ("methods=(\"one_stage(loss='asymmetric')\",)", UsageError),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(two, options, error):
    rest = "" if "methods" in options else ", methods=('one_stage',)"
    rest += "" if "seeds" in options else ", seeds=1"
    with pytest.raises(error):
        run_bench(f"longtail({options}{rest}, {FAST})", two[0], CONFIG)


@pytest.mark.parametrize("options", ["together=True", "start_epochs=0", "starts=('mocco',)"])
def test_what_cannot_be_is_refused_where_a_tower_learns(two, options):
    with pytest.raises(UsageError):
        run_bench(f"longtail({options}, methods=('one_stage',), seeds=1, {FAST})", two[0], TUNED)


def test_the_standard_tables_name_methods_that_exist_each_once():
    methods, parts = Family("tapetum.learn.methods"), Family("tapetum.learn.losses")
    assert len(set(STANDARD)) == len(STANDARD) >= 40
    assert len(set(PICTURES)) == len(PICTURES)
    for spec in (*STANDARD, *FINDINGS, *PICTURES):
        built = methods.build(spec)
        for family, part in (("mixing", getattr(built, "mixing", "")), ("augment", getattr(built, "augment", ""))):
            assert not part or Family(f"tapetum.learn.{family}").member(part)
        if hasattr(built, "loss"):
            parts.build(built.loss, **({"rng": None} if "gaussian" in built.loss else {}))
