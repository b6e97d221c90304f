"""The protocol `noise`: what it reads, what it finds, what it says of labels as they are and of shuffled ones."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from tapetum.bench import BenchConfig, run_bench
from tapetum.bench.readings import readings
from tapetum.bench.trial import trial_of
from tapetum.bench.trust.label_noise import AS_GIVEN, SHUFFLED, learned_on, plant, versions_of
from tapetum.core.errors import DataError, UsageError
from tapetum.core.types import Split
from toys import COLOURS, ENCODER, TEXT, clinic

CONFIG = BenchConfig(encoders=ENCODER, text_encoder=TEXT, text="report", prompt_set="name", threads=1, draws=60)
CLASSES = dataclasses.replace(CONFIG, exclusive=True)
SPEC = "noise(plant=('symmetric',), rates=(0.2,), methods=('confident_learning', 'self_confidence'))"


@pytest.fixture(scope="module")
def big(tmp_path_factory):
    """160 patients, so that a class has enough anchors."""
    return clinic(tmp_path_factory.mktemp("clinic") / "big", patients=160, labels={name: name for name in COLOURS})


@pytest.fixture(scope="module")
def classes(big):
    return run_bench(SPEC, big, CLASSES)


@pytest.fixture(scope="module")
def findings(big):
    return run_bench(SPEC, big, CONFIG)


def value(results, finding, metric, row):
    return results.find(finding, metric, row).interval


def test_planted_flips_are_found_and_their_share_is_estimated(classes):
    on = "on symmetric(rate=0.2)"
    for method in ("confident_learning()", "self_confidence()"):
        assert value(classes, "macro", "flips_auroc_score", f"{method} {on}").estimate > 0.9
    planted = value(classes, "macro", "planted_rate", "truth of symmetric(rate=0.2)").estimate
    for row in ("anchors", "confident joint"):
        assert abs(value(classes, "macro", "noise_rate", f"{row} {on}").estimate - planted) < 0.1
        assert value(classes, "macro", "noise_rate", f"{row} on {AS_GIVEN}").estimate < 0.03
        assert value(classes, "macro", "noise_rate", f"{row} on {SHUFFLED}").estimate > 0.3


def test_findings_are_judged_one_by_one(findings):
    on = "on symmetric(rate=0.2)"
    for finding in COLOURS:
        assert value(findings, finding, "flips_auroc_score", f"confident_learning() {on}").estimate > 0.75
        assert value(findings, finding, "noise_rate", f"anchors on {AS_GIVEN}").estimate < 0.05
    rates = [value(findings, f, "noise_rate", f"anchors {on}").estimate for f in COLOURS]
    mean = value(findings, "macro", "noise_rate", f"anchors {on}")
    assert mean.estimate == pytest.approx(np.mean(rates))
    assert math.isnan(mean.low)


def test_doubted_labels_are_told_by_class_head_and_tail(classes, findings):
    row = "confident_learning(), as many as anchors say, on symmetric(rate=0.2)"
    for name in (*COLOURS, "head"):
        assert value(classes, name, "doubt_precision_score", row).estimate > 0.5
        assert value(classes, name, "kept_precision_score", row).estimate > 0.8
    assert findings.find("absent", "kept_precision_score", row).images <= 240
    with pytest.raises(KeyError):
        classes.find("absent", "kept_precision_score", row)


def test_the_probe_is_tested_with_noise_and_without_the_doubted(classes):
    clean = value(classes, "macro", "auroc_score", "logistic()")
    noisy = value(classes, "macro", "auroc_score", "logistic() on symmetric(rate=0.2)")
    apart = value(classes, "macro", "auroc_difference", f"logistic() on symmetric(rate=0.2), minus {AS_GIVEN}")
    assert apart.estimate == pytest.approx(noisy.estimate - clean.estimate)
    assert clean.estimate > 0.98
    row = "logistic() on symmetric(rate=0.2), doubted left out"
    back = value(classes, "macro", "auroc_difference", f"{row}, minus with them")
    assert back.estimate == pytest.approx(value(classes, "macro", "auroc_score", row).estimate - noisy.estimate)
    control = classes.find("macro", "auroc_score", f"logistic() on {SHUFFLED}", "negative control")
    assert abs(control.interval.estimate - 0.5) < 0.1
    assert control.digests["split"] == "train+val"


def test_suspicion_reads_no_test_set(big):
    before = readings(big, "test")
    results = run_bench("noise(plant=(), listed=3)", big, CLASSES)
    assert readings(big, "test") == before
    assert {r.digests["split"] for r in results.records} == {"train+val"}
    assert {r.test_reads for r in results.records} == {before}
    learned = [r for split in (Split.TRAIN, Split.VAL) for r in big.in_split(split)]
    assert {r.images for r in results.records if r.finding == "macro"} == {len(learned)}
    run_bench("noise(plant=('pair',), rates=(0.1,))", big, CLASSES)
    assert readings(big, "test") == before + 1


def test_a_wrong_label_is_named(tmp_path):
    """Two images are labelled as what they are not: they lead the list."""
    labels = {name: name for name in COLOURS}
    wrong = [("w1", "", "cataract"), ("w2", "", "macular_hole")]  # of the colour of a normal fundus
    archive = clinic(tmp_path / "wrong", patients=80, labels=labels, noise=8.0, extra=wrong)
    odd = {r.image_id[:16]: r for r in archive.records if r.source.startswith("x") and r.split != Split.TEST}
    assert odd
    results = run_bench("noise(plant=(), listed=4)", archive, CLASSES)
    named = [note.split(": ")[1][:16] for note in results.notes if note.startswith(("in doubt: ", "unlikely: "))]
    assert set(named[: len(odd)]) == set(odd)
    first = next(note for note in results.notes if named[0] in note)
    assert "looks like normal_fundus" in first
    assert any("cataract" in note and "to be read again" in note for note in results.notes)


def test_grades_are_planted_in_their_order(tmp_path):
    grades = dict(zip(COLOURS, ("10", "2", "0", "1"), strict=True))
    archive = clinic(tmp_path / "graded", labels=grades, pack="")
    trial = trial_of(archive, dataclasses.replace(CONFIG, ordinal=True))
    learned = learned_on(trial, archive.label_names)
    assert learned.findings == ("0", "1", "2", "10")
    made = plant(learned, "adjacent(rate=0.5)", np.random.default_rng(0))
    moved = made.labels.argmax(1) - learned.labels.argmax(1)
    assert set(np.unique(moved)) == {-1, 0, 1}
    assert ((moved != 0) == made.flipped.all(axis=1)).all()
    with pytest.raises(UsageError):
        learned_on(trial, tuple(COLOURS))


def test_out_of_fold_scores_do_not_know_the_label(big):
    """A label that nothing in the image tells cannot be repeated: flips at random leave the AUROC of them near what
    the other images allow, and shuffled labels are scored at 0.5."""
    trial = trial_of(big, CLASSES)
    learned = learned_on(trial, tuple(COLOURS))
    versions, notes = versions_of(trial, learned, (), "logistic()", 4)
    assert [v.name for v in versions] == [AS_GIVEN, SHUFFLED]
    assert not notes
    shuffled = versions[1].questions[0]
    called = shuffled.probs.argmax(axis=1)
    assert abs((called == shuffled.given).mean() - 0.25) < 0.12


@pytest.mark.parametrize(
    "spec",
    [
        "noise(by='oracle')",
        "noise(methods=())",
        "noise(methods=('trust_me',))",
        "noise(rates=(0.0,))",
        "noise(plant=('noisy',))",
        "noise(probe='clap')",
        "noise(folds=1)",
    ],
)
def test_invalid_use_is_refused(spec, toy_archive):
    with pytest.raises(UsageError):
        run_bench(spec, toy_archive, CONFIG)


def test_an_archive_without_labels_is_refused(tmp_path):
    with pytest.raises(DataError):
        run_bench("noise", clinic(tmp_path / "bare", patients=12), CONFIG)


def test_a_finding_of_one_class_is_refused(toy_archive):
    config = dataclasses.replace(CONFIG, findings=("glaucoma", "drusen"))
    with pytest.raises((DataError, UsageError)):
        run_bench("noise", toy_archive, config)
